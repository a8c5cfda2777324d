import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { lazy, Suspense, useEffect, useRef } from "react";
import { ApiError } from "@/api/request";
import { useJob } from "@/api/queries";
import type { Job } from "@/api/types";
import { EmptyState, ErrorMessage, Skeleton } from "@/components/Feedback";
import { LogPanel } from "@/log/LogPanel";
import { AttemptsTab } from "./AttemptsTab";
import { FilesTab } from "./FilesTab";
import { JobHeader } from "./JobHeader";
import { PlacementTab } from "./PlacementTab";
import { SpecTab } from "./SpecTab";
import { TimelineTab } from "./TimelineTab";

const CodeTab = lazy(() => import("./CodeTab").then((m) => ({ default: m.CodeTab })));
const FailureTab = lazy(() => import("./FailureTab").then((m) => ({ default: m.FailureTab })));
const MetricsTab = lazy(() => import("./MetricsTab").then((m) => ({ default: m.MetricsTab })));

const TABS = [
  ["failure", "Failure"],
  ["log", "Log"],
  ["metrics", "Metrics"],
  ["placement", "Placement"],
  ["attempts", "Attempts"],
  ["spec", "Spec"],
  ["code", "Code"],
  ["timeline", "Timeline"],
  ["files", "Files"],
] as const;

/** Tabs that not every job has. */
function shows(tab: string, job: Job): boolean {
  if (tab === "code") return job.snapshot != null;
  if (tab === "failure") return job.state === "failed";
  return true;
}

/** One job: header with state and reason, and tabs for log, metrics, placement and the rest. */
export function JobScreen() {
  const { jobId, tab } = useParams({ from: "/jobs/$jobId/$tab" });
  const search = useSearch({ from: "/jobs/$jobId/$tab" });
  const navigate = useNavigate({ from: "/jobs/$jobId/$tab" });
  const id = Number(jobId);
  const query = useJob(id);
  const parts = useRef<HTMLElement>(null);
  const known = query.data !== undefined;
  // On a phone not all tabs are in view; the open one is.
  useEffect(() => {
    parts.current?.querySelector("[aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [tab, known]);

  if (query.error instanceof ApiError && query.error.status === 404) {
    return (
      <EmptyState screen title={`Job ${jobId} does not exist`}>
        <Link to="/jobs" className="text-accent underline">
          All jobs
        </Link>
      </EmptyState>
    );
  }
  if (query.isError && !query.data)
    return <ErrorMessage error={query.error} retry={() => void query.refetch()} />;
  const job = query.data;
  if (!job) return <Skeleton rows={4} height={60} />;
  const attempts = job.attempts ?? [];
  const attempt = attempts.find((a) => a.number === search.attempt) ?? attempts.at(-1);
  return (
    <>
      <JobHeader job={job} />
      <div className="scrolls-sideways mb-3 flex items-end gap-3 overflow-x-auto border-b border-line">
        <nav ref={parts} aria-label="Job details">
          <ul className="flex">
            {TABS.filter(([name]) => shows(name, job) || tab === name).map(([name, label]) => (
              <li key={name}>
                <Link
                  to="/jobs/$jobId/$tab"
                  params={{ jobId, tab: name }}
                  search={search.attempt === undefined ? {} : { attempt: search.attempt }}
                  resetScroll={false}
                  aria-current={tab === name ? "page" : undefined}
                  className={`inline-block px-3 py-2 max-sm:px-2 text-sm ${tab === name ? "border-b-2 border-accent font-medium text-accent" : "text-muted hover:text-ink"}`}
                >
                  {label}
                </Link>
              </li>
            ))}
          </ul>
        </nav>
        {attempts.length > 1 && (
          <label className="mb-1 ml-auto flex items-center gap-1.5 text-xs whitespace-nowrap text-muted">
            Attempt
            <select
              className="field min-h-7 w-auto py-0"
              value={attempt?.number}
              onChange={(event) => {
                const number = Number(event.target.value);
                void navigate({ search: number === attempts.at(-1)?.number ? {} : { attempt: number } });
              }}
            >
              {attempts.map((a) => (
                <option key={a.id} value={a.number}>
                  {a.number} of {attempts.length}
                </option>
              ))}
            </select>
          </label>
        )}
      </div>
      {tab === "failure" ? (
        <Suspense fallback={<Skeleton rows={4} height={80} />}>
          <FailureTab job={job} attempt={attempt} />
        </Suspense>
      ) : tab === "metrics" ? (
        <Suspense fallback={<Skeleton rows={2} height={220} />}>
          <MetricsTab job={job} attempt={attempt} />
        </Suspense>
      ) : tab === "placement" ? (
        <PlacementTab job={job} attempt={attempt} />
      ) : tab === "attempts" ? (
        <AttemptsTab job={job} />
      ) : tab === "spec" ? (
        <SpecTab job={job} attempt={attempt} />
      ) : tab === "code" ? (
        <Suspense fallback={<Skeleton rows={4} />}>
          <CodeTab job={job} />
        </Suspense>
      ) : tab === "timeline" ? (
        <TimelineTab job={job} />
      ) : tab === "files" ? (
        <FilesTab job={job} attempt={attempt} />
      ) : (
        <LogPanel
          key={attempt?.id ?? "none"}
          job={job}
          attempt={attempt}
          line={search.line}
          q={search.q ?? ""}
          regex={search.regex ?? false}
          rank={search.rank}
          level={search.level}
          onFilter={({ rank, level }) => {
            const { rank: _rank, level: _level, line: _line, ...rest } = search;
            void navigate({
              search: {
                ...rest,
                ...(rank === undefined ? {} : { rank }),
                ...(level === undefined ? {} : { level }),
              },
              replace: true,
              resetScroll: false,
            });
          }}
          onLine={(line) => {
            const { line: _old, ...rest } = search;
            // A line belongs to its attempt: the link still leads there after a retry.
            const marked = line === undefined || !attempt ? {} : { line, attempt: attempt.number };
            void navigate({ search: { ...rest, ...marked }, replace: true, resetScroll: false });
          }}
          onFind={(q, regex) => {
            const { q: _old, regex: _was, ...rest } = search;
            const asked = q === "" ? {} : { q };
            void navigate({
              search: { ...rest, ...asked, ...(regex ? { regex: true as const } : {}) },
              replace: true,
              resetScroll: false,
            });
          }}
        />
      )}
    </>
  );
}
