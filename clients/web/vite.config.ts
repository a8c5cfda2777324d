import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import tailwindcss from "@tailwindcss/vite";
import { fileURLToPath, URL } from "node:url";
import { defineConfig } from "vite";
import type { Plugin } from "vite";

const FIRST_LOAD_BYTES = 180_000;

/** Fails the build when what the page needs at first is too heavy, compressed. */
function weighFirstLoad(): Plugin {
  return {
    name: "weigh-first-load",
    apply: "build",
    writeBundle: {
      order: "post",
      sequential: true,
      handler({ dir = "dist" }) {
        const page = readFileSync(join(dir, "index.html"), "utf8");
        const names = [...page.matchAll(/(?:src|href)="\/(assets\/[^"]+\.(?:js|css))"/g)].map(
          (m) => m[1] ?? "",
        );
        const total = names.reduce((sum, name) => sum + readFileSync(join(dir, `${name}.gz`)).length, 0);
        if (names.length === 0 || total >= FIRST_LOAD_BYTES)
          this.error(
            `The first load takes ${total} bytes of ${FIRST_LOAD_BYTES} in ${names.length} files; load a screen lazily.`,
          );
      },
    },
  };
}

/** Lays a .gz beside every text asset: the server sends it without compressing on each request. */
function gzipSiblings(): Plugin {
  return {
    name: "gzip-siblings",
    apply: "build",
    // From the files as written: earlier, other plugins have still to put things into them.
    writeBundle({ dir = "dist" }, bundle) {
      for (const name of Object.keys(bundle)) {
        if (!/\.(js|css|svg)$/.test(name)) continue;
        writeFileSync(join(dir, `${name}.gz`), gzipSync(readFileSync(join(dir, name)), { level: 9 }));
      }
    },
  };
}

const target = process.env["BERTH_URL"] ?? "http://127.0.0.1:8787";

export default defineConfig({
  plugins: [react(), tailwindcss(), gzipSiblings(), weighFirstLoad()],
  resolve: { alias: { "@": fileURLToPath(new URL("./src", import.meta.url)) } },
  worker: { format: "es" },
  build: {
    target: "es2023",
    // A data: font or script would need a wider content security policy.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    reportCompressedSize: false,
  },
  server: { proxy: { "/api": target, "/login": target } },
  // One worker for all: they test pure functions, and starting a worker takes longer than they do.
  test: { include: ["src/**/*.test.ts"], isolate: false },
} as Parameters<typeof defineConfig>[0]);
