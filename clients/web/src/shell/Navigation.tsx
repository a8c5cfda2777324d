import { Link } from "@tanstack/react-router";
import { ChartLine, LayoutGrid, List, ListOrdered, ScrollText, Settings, Users } from "lucide-react";
import { useCounts } from "@/api/queries";

const SCREENS = [
  { to: "/", label: "Overview", icon: LayoutGrid },
  { to: "/queue", label: "Queue", icon: ListOrdered },
  { to: "/jobs", label: "Jobs", icon: List },
  { to: "/compare", label: "Compare", icon: ChartLine },
  { to: "/users", label: "Users", icon: Users },
  { to: "/events", label: "Events", icon: ScrollText },
  { to: "/settings", label: "Settings", icon: Settings },
] as const;

/** Main navigation: a rail at the side, on narrow windows a bar at the bottom. */
export function Navigation() {
  const counts = useCounts().data?.counts;
  const waiting = (counts?.queued ?? 0) + (counts?.waiting ?? 0) + (counts?.held ?? 0);
  const shown: Partial<Record<string, number>> = { "/queue": waiting };
  return (
    <nav
      aria-label="Screens"
      className="fixed inset-x-0 bottom-0 z-30 border-t border-line bg-panel lg:sticky lg:inset-auto lg:top-12 lg:h-[calc(100dvh-3rem)] lg:w-44 lg:shrink-0 lg:border-t-0 lg:border-r lg:py-3"
    >
      <ul className="flex justify-between overflow-x-auto lg:flex-col lg:gap-0.5 lg:px-2">
        {SCREENS.map(({ to, label, icon: Icon }) => (
          <li key={to} className="min-w-0 flex-1 lg:flex-none">
            <Link
              to={to}
              activeOptions={{ exact: to === "/", includeSearch: false }}
              activeProps={{ className: "text-accent lg:bg-accent-soft font-medium" }}
              inactiveProps={{ className: "text-muted hover:text-ink lg:hover:bg-hover" }}
              className="flex min-h-12 flex-col items-center justify-center gap-0.5 rounded-md px-1 text-2xs lg:min-h-8 lg:flex-row lg:justify-start lg:gap-2.5 lg:px-2.5 lg:text-sm"
            >
              <Icon aria-hidden className="size-4.5 shrink-0 lg:size-4" />
              <span className="truncate">{label}</span>
              {(shown[to] ?? 0) > 0 && (
                <span
                  className="ml-auto hidden rounded bg-sunken px-1.5 text-xs text-muted tabular lg:inline"
                  title={`${shown[to]} waiting`}
                >
                  {shown[to]}
                  <span className="sr-only"> waiting</span>
                </span>
              )}
            </Link>
          </li>
        ))}
      </ul>
    </nav>
  );
}
