import { Outlet, useNavigate, useRouterState } from "@tanstack/react-router";
import { useEffect, useState } from "react";
import { api } from "@/api/endpoints";
import { ApiError } from "@/api/request";
import { useMe } from "@/api/queries";
import { Notifications, notify } from "@/components/Notifications";
import { useActions } from "@/keys/useActions";
import { onEvents } from "@/live/live";
import { plainText } from "@/model/message";
import { HelpDialog } from "./HelpDialog";
import { CommandPalette } from "./CommandPalette";
import { Navigation } from "./Navigation";
import { SignIn } from "./SignIn";
import { StaleBanner } from "./StaleBanner";
import { TopBar } from "./TopBar";
import { useTitle } from "./useTitle";

/** Layout around every screen: navigation, top bar, stale banner and global shortcuts. */
export function Shell() {
  const me = useMe();
  const navigate = useNavigate();
  const path = useRouterState({ select: (s) => s.location.pathname });
  const [help, setHelp] = useState(false);
  const [palette, setPalette] = useState(false);

  useActions([
    { label: "Keyboard shortcuts", keys: "?", run: () => setHelp(true) },
    { label: "Submit a job", keys: "c", run: () => void navigate({ to: "/submit" }) },
    { label: "Search jobs", keys: "/", run: () => document.getElementById("search")?.focus() },
    { label: "Go to Overview", keys: "g o", run: () => void navigate({ to: "/" }) },
    { label: "Go to Queue", keys: "g q", run: () => void navigate({ to: "/queue" }) },
    { label: "Go to Jobs", keys: "g j", run: () => void navigate({ to: "/jobs" }) },
    { label: "Go to Compare", keys: "g c", run: () => void navigate({ to: "/compare" }) },
    { label: "Go to the waste report", keys: "g w", run: () => void navigate({ to: "/waste" }) },
    { label: "Go to Users", keys: "g u", run: () => void navigate({ to: "/users" }) },
    { label: "Go to Events", keys: "g e", run: () => void navigate({ to: "/events" }) },
    { label: "Go to Settings", keys: "g s", run: () => void navigate({ to: "/settings" }) },
  ]);

  useEffect(() => {
    const open = (event: KeyboardEvent) => {
      if (event.key.toLowerCase() !== "k" || !(event.ctrlKey || event.metaKey)) return;
      event.preventDefault();
      setPalette(true);
    };
    addEventListener("keydown", open);
    return () => removeEventListener("keydown", open);
  }, []);

  useTitle(path);

  useEndNotifications(me.data?.user);

  if (me.error instanceof ApiError && me.error.status === 401) return <SignIn reason={me.error} />;
  return (
    <div className="flex min-h-dvh flex-col">
      <a
        href="#main"
        className="sr-only rounded bg-accent px-3 py-2 text-on-accent focus:not-sr-only focus:fixed focus:top-2 focus:left-2 focus:z-50"
      >
        Skip to content
      </a>
      <TopBar onPalette={() => setPalette(true)} />
      <StaleBanner />
      <div className="flex min-w-0 flex-1">
        <Navigation />
        <main id="main" tabIndex={-1} className="min-w-0 flex-1 px-3 pt-4 pb-20 sm:px-5 lg:pb-6">
          <Outlet />
        </main>
      </div>
      <Notifications />
      {help && <HelpDialog onClose={() => setHelp(false)} />}
      {palette && <CommandPalette onClose={() => setPalette(false)} />}
    </div>
  );
}

/** Notify of the user's own jobs that end. */
function useEndNotifications(user: string | undefined): void {
  useEffect(() => {
    if (user === undefined) return;
    return onEvents((events) => {
      const ended = events.filter((e) => /^job\.(succeeded|failed|cancelled)$/.test(e.kind));
      // When many end at once, only three messages can be read.
      for (const event of ended.slice(-3)) {
        if (event.job_id == null) continue;
        void api.job(event.job_id).then(
          (job) => {
            if (job.user !== user) return;
            const why = job.state === "succeeded" ? "" : ` ${plainText(event.message_parts, event.message)}`;
            notify(`Job ${job.id}, ${job.name}: ${job.state}.${why}`, job.state === "failed");
          },
          () => undefined,
        );
      }
    });
  }, [user]);
}
