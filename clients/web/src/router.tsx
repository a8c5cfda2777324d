/** Routes: the screen for each address. Filters are typed search parameters. */
import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  redirect,
} from "@tanstack/react-router";
import { JobScreen } from "@/screens/job/JobScreen";
import { readJobsSearch } from "@/screens/jobs/filter";
import { JobsScreen } from "@/screens/jobs/JobsScreen";
import { OverviewScreen } from "@/screens/overview/OverviewScreen";
import { QueueScreen } from "@/screens/queue/QueueScreen";
import { Shell } from "@/shell/Shell";
import { ErrorScreen } from "@/shell/ErrorScreen";
import { NotFound } from "@/shell/NotFound";

const root = createRootRoute({ component: Shell, notFoundComponent: NotFound });
const at = <P extends string>(path: P) => ({ getParentRoute: () => root, path });
/** A text of the address; the router reads one of digits as a number. */
const text = (value: unknown): string | undefined => {
  const found = typeof value === "number" ? String(value) : value;
  return typeof found === "string" && found !== "" ? found : undefined;
};
const whole = (value: unknown): number | undefined => {
  const number = Number(value);
  return value !== undefined && value !== "" && Number.isInteger(number) ? number : undefined;
};

const overview = createRoute({
  ...at("/"),
  component: OverviewScreen,
  validateSearch: (search: Record<string, unknown>): { gpu?: number; reserve?: true } =>
    optional({
      gpu: whole(search["gpu"]),
      reserve: search["reserve"] === true ? (true as const) : undefined,
    }),
});
const queue = createRoute({
  ...at("/queue"),
  component: QueueScreen,
  validateSearch: (search: Record<string, unknown>): { explain?: number } =>
    optional({ explain: whole(search["explain"]) }),
});
const jobs = createRoute({ ...at("/jobs"), component: JobsScreen, validateSearch: readJobsSearch });
const job = createRoute({
  ...at("/jobs/$jobId"),
  beforeLoad: ({ params }) => {
    throw redirect({ to: "/jobs/$jobId/$tab", params: { jobId: params.jobId, tab: "log" }, replace: true });
  },
});
const jobTab = createRoute({
  ...at("/jobs/$jobId/$tab"),
  component: JobScreen,
  validateSearch: (
    search: Record<string, unknown>,
  ): {
    attempt?: number;
    line?: number;
    q?: string;
    regex?: true;
    rank?: number;
    level?: "warnings" | "errors";
  } =>
    optional({
      attempt: whole(search["attempt"]),
      line: whole(search["line"]),
      q: text(search["q"]) ?? (typeof search["q"] === "number" ? String(search["q"]) : undefined),
      regex: search["regex"] === true ? (true as const) : undefined,
      rank: whole(search["rank"]),
      level: search["level"] === "errors" || search["level"] === "warnings" ? search["level"] : undefined,
    }),
});
const compare = createRoute({
  ...at("/compare"),
  component: lazyRouteComponent(() => import("@/screens/compare/CompareScreen"), "CompareScreen"),
  validateSearch: (search: Record<string, unknown>): { ablation?: string; jobs?: string; metric?: string } =>
    optional({
      ablation: text(search["ablation"]),
      jobs: text(search["jobs"]),
      metric: text(search["metric"]),
    }),
});
const submit = createRoute({
  ...at("/submit"),
  component: lazyRouteComponent(() => import("@/screens/submit/SubmitScreen"), "SubmitScreen"),
  validateSearch: (search: Record<string, unknown>): { like?: number; fix?: true } =>
    optional({
      like: whole(search["like"]),
      fix: search["fix"] === true ? (true as const) : undefined,
    }),
});
const users = createRoute({
  ...at("/users"),
  component: lazyRouteComponent(() => import("@/screens/users/UsersScreen"), "UsersScreen"),
});
const waste = createRoute({
  ...at("/waste"),
  component: lazyRouteComponent(() => import("@/screens/waste/WasteScreen"), "WasteScreen"),
  validateSearch: (search: Record<string, unknown>): { days?: number; user?: string; sort?: string } =>
    optional({ days: whole(search["days"]), user: text(search["user"]), sort: text(search["sort"]) }),
});
const events = createRoute({
  ...at("/events"),
  component: lazyRouteComponent(() => import("@/screens/events/EventsScreen"), "EventsScreen"),
  validateSearch: (search: Record<string, unknown>): { kind?: string; user?: string; job?: number } =>
    optional({ kind: text(search["kind"]), user: text(search["user"]), job: whole(search["job"]) }),
});
const settings = createRoute({
  ...at("/settings"),
  component: lazyRouteComponent(() => import("@/screens/settings/SettingsScreen"), "SettingsScreen"),
});

/** The object without its undefined members, as exact optional types want it. */
function optional<T extends object>(members: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(members).filter(([, v]) => v !== undefined)) as never;
}

export const router = createRouter({
  routeTree: root.addChildren([
    overview,
    queue,
    jobs,
    job,
    jobTab,
    compare,
    submit,
    users,
    waste,
    events,
    settings,
  ]),
  defaultPreload: "intent",
  defaultErrorComponent: ErrorScreen,
  scrollRestoration: true,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
