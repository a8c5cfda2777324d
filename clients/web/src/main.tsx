import { QueryClientProvider } from "@tanstack/react-query";
import { RouterProvider } from "@tanstack/react-router";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { makeQueryClient } from "@/api/queries";
import { startKeys } from "@/keys/useActions";
import { startLive } from "@/live/live";
import { router } from "@/router";
import { applyTheme } from "@/shell/theme";
import "./styles.css";

applyTheme();
startKeys();
const client = makeQueryClient();
startLive(client);

const root = document.getElementById("root");
if (root) {
  createRoot(root).render(
    <StrictMode>
      <QueryClientProvider client={client}>
        <RouterProvider router={router} />
      </QueryClientProvider>
    </StrictMode>,
  );
}
