import { ArrowDownToLine, Clock3, Download, WrapText } from "lucide-react";
import { useQuery } from "@tanstack/react-query";
import { useEffect, useEffectEvent, useRef, useState } from "react";
import { api, logUrl } from "@/api/endpoints";
import type { Attempt, Job } from "@/api/types";
import { Button, Toggle, buttonLook } from "@/components/Button";
import { EmptyState, ErrorMessage } from "@/components/Feedback";
import { bytes, count } from "@/format/units";
import { useActions } from "@/keys/useActions";
import { ExitSummary } from "./ExitSummary";
import { FindBar } from "./FindBar";
import { filterPattern, useFiltered } from "./filter";
import type { Level } from "./filter";
import { neighbour, pattern, useFind } from "./find";
import { LogView } from "./LogView";
import type { LogHandle } from "./LogView";
import { useLog } from "./useLog";
import { useRestOfWindow } from "./useRestOfWindow";

interface Props {
  job: Job;
  attempt: Attempt | undefined;
  /** 1-based, as in the address. */
  line: number | undefined;
  q: string;
  regex: boolean;
  /** Only the lines of this rank, and of this level. */
  rank: number | undefined;
  level: Level | undefined;
  onLine: (line: number | undefined) => void;
  onFind: (q: string, regex: boolean) => void;
  onFilter: (change: { rank?: number | undefined; level?: Level | undefined }) => void;
}

/** Log viewer with its toolbar: follow, find, wrap, jump, download. */
export function LogPanel({ job, attempt, line, q, regex, rank, level, onLine, onFind, onFilter }: Props) {
  const growing = attempt !== undefined && attempt.state !== "ended";
  const { buffer, version, ready, error, retry } = useLog(job.id, attempt?.number, attempt !== undefined);
  const [follow, setFollow] = useState(line === undefined);
  const [wrap, setWrap] = useState(() => localStorage.getItem("berth.wrap") === "on");
  const [times, setTimes] = useState(() => localStorage.getItem("berth.times") === "on");
  const [text, setText] = useState(q);
  const [at, setAt] = useState(-1);
  const view = useRef<LogHandle>(null);
  const [frame, height] = useRestOfWindow(growing ? 1 : 0);
  const box = useRef<HTMLInputElement>(null);
  const find = useFind(job.id, attempt?.number, ready ? q : "", regex);
  const filtered = useFiltered(job.id, attempt?.number, ready ? filterPattern(rank, level) : "", growing);
  const markers = useQuery({
    queryKey: ["markers", job.id, attempt?.number, growing],
    queryFn: ({ signal }) => api.logMarkers(job.id, attempt?.number, signal),
    enabled: ready,
    refetchInterval: growing ? 10_000 : false,
  }).data;

  const show = (to: number) => view.current?.show(filtered ? filtered.lines.place(to) : to);
  const goTo = useEffectEvent(show);
  useEffect(() => {
    if (!ready || line === undefined) return;
    setFollow(false);
    goTo(line - 1);
  }, [ready, line]);
  useEffect(() => setAt(-1), [q, regex]);

  const jump = (to: number | null | undefined) => {
    if (to == null) return;
    setFollow(false);
    show(to);
    onLine(to + 1);
  };
  const step = (direction: 1 | -1) => {
    const from = at >= 0 ? (find.matches[at]?.number ?? 0) : direction === 1 ? -1 : buffer.total;
    const next = neighbour(find.matches, from, direction);
    setAt(next);
    jump(find.matches[next]?.number);
  };
  // A search that was asked for goes to its first match; a link to a line stays there.
  const wants = useRef(line === undefined && q !== "");
  const goToFirst = useEffectEvent(() => {
    if (!wants.current) return;
    wants.current = false;
    step(1);
  });
  const found = find.matches.length > 0;
  useEffect(() => {
    if (found && ready) goToFirst();
  }, [found, ready, q, regex]);

  const toggleWrap = () => {
    localStorage.setItem("berth.wrap", wrap ? "off" : "on");
    setWrap(!wrap);
  };
  const toggleTimes = () => {
    localStorage.setItem("berth.times", times ? "off" : "on");
    setTimes(!times);
  };
  useActions([
    { label: "Time of each line", keys: "Shift+T", run: toggleTimes },
    { label: follow ? "Stop following the log" : "Follow the log", keys: "f", run: () => setFollow(!follow) },
    {
      label: "End of the log",
      keys: "Shift+G",
      run: () => {
        setFollow(growing);
        view.current?.toEnd();
      },
    },
    {
      label: "Start of the log",
      keys: "g g",
      run: () => {
        setFollow(false);
        view.current?.toStart();
      },
    },
    { label: "Next match", keys: "n", run: () => step(1) },
    { label: "Previous match", keys: "Shift+N", run: () => step(-1) },
    { label: "Wrap lines", keys: "w", run: toggleWrap },
    { label: "First traceback", keys: "t", run: () => jump(markers?.first_traceback) },
  ]);

  if (attempt === undefined) {
    return <EmptyState title="No log yet">The log starts with the job.</EmptyState>;
  }
  return (
    // oxlint-disable-next-line jsx-a11y/no-static-element-interactions -- takes Ctrl-F from within, offers nothing itself
    <div
      ref={frame}
      style={{ height }}
      className="panel flex flex-col overflow-hidden"
      onKeyDown={(event) => {
        if ((event.ctrlKey || event.metaKey) && event.key === "f") {
          event.preventDefault();
          box.current?.focus();
        }
      }}
    >
      <div
        role="toolbar"
        aria-label="Log"
        className="flex flex-wrap items-center gap-1.5 border-b border-line px-2 py-1.5"
      >
        <FindBar
          text={text}
          asked={q}
          regex={regex}
          find={find}
          at={at}
          box={box}
          onText={(next) => {
            setText(next);
            if (next === "") onFind("", regex);
          }}
          onAsk={() => {
            wants.current = true;
            onFind(text, regex);
          }}
          onRegex={() => {
            wants.current = true;
            onFind(q, !regex);
          }}
          onStep={step}
        />
        {markers?.first_traceback != null && (
          <Button small onClick={() => jump(markers.first_traceback)}>
            First traceback
          </Button>
        )}
        {markers?.last_checkpoint != null && (
          <Button small onClick={() => jump(markers.last_checkpoint)}>
            Last checkpoint
          </Button>
        )}
        <Filters ranks={markers?.ranks ?? []} rank={rank} level={level} onFilter={onFilter} />
        <span
          className="ml-auto text-xs tabular text-muted max-sm:hidden"
          title={`${count(buffer.sizeBytes)} bytes`}
        >
          {filtered && (
            <span aria-live="polite" className={filtered.error ? "text-bad" : "font-medium text-ink"}>
              {filtered.error ??
                `${count(filtered.lines.total)}${filtered.busy ? "…" : filtered.capped ? " (the first)" : ""} of `}
            </span>
          )}
          {count(buffer.total)} lines · {bytes(buffer.sizeBytes)}
        </span>
        <Toggle on={times} title="When each line was written (Shift+T)" onClick={toggleTimes}>
          <Clock3 aria-hidden className="size-3.5" />
          <span className="max-sm:sr-only">Time</span>
        </Toggle>
        <Toggle on={wrap} title="Wrap long lines (w)" onClick={toggleWrap}>
          <WrapText aria-hidden className="size-3.5" />
          <span className="max-sm:sr-only">Wrap</span>
        </Toggle>
        <a
          href={logUrl(job.id, attempt.number)}
          download={`job-${attempt.id}.log`}
          className={buttonLook("plain", true)}
          title="The whole log, byte for byte"
        >
          <Download aria-hidden className="size-3.5" />
          <span className="max-sm:sr-only">Download</span>
        </a>
        {growing ? (
          <Toggle
            on={follow}
            onClick={() => {
              setFollow(!follow);
              if (!follow) onLine(undefined);
            }}
            title="Keep the newest line in view (f)"
          >
            <ArrowDownToLine aria-hidden className="size-3.5" />
            {follow ? "Following" : "Follow"}
          </Toggle>
        ) : (
          <Button small onClick={() => view.current?.toEnd()}>
            <ArrowDownToLine aria-hidden className="size-3.5" />
            End
          </Button>
        )}
      </div>
      {error != null ? (
        <div className="p-3">
          <ErrorMessage error={error} retry={retry} />
        </div>
      ) : ready && buffer.total === 0 ? (
        <p className="flex-1 p-4 text-sm text-muted">
          {growing ? "No output yet." : "The job wrote no output."}
        </p>
      ) : (
        <LogView
          key={filtered ? "filtered" : "all"}
          buffer={filtered ? filtered.lines : buffer}
          times={times && !filtered}
          version={version}
          follow={follow}
          onUnfollow={() => setFollow(false)}
          wrap={wrap}
          marked={line === undefined ? null : line - 1}
          onMark={(number) => onLine(number + 1)}
          find={pattern(q, regex)}
          ticks={!filtered && find.matches.length > 0 ? thinned(find.matches.map((m) => m.number)) : []}
          handle={view}
        />
      )}
      {!growing && (
        <ExitSummary attempt={attempt} withMessage={attempt.number !== job.attempts?.at(-1)?.number} />
      )}
    </div>
  );
}

/** At most 200 ticks beside the scroll bar: more would be one bar. */
function thinned(lines: readonly number[]): number[] {
  const every = Math.max(1, Math.ceil(lines.length / 200));
  return lines.filter((_, i) => i % every === 0);
}

function Filters({
  ranks,
  rank,
  level,
  onFilter,
}: {
  ranks: readonly number[];
  onFilter: Props["onFilter"];
} & Pick<Props, "rank" | "level">) {
  return (
    <>
      {(ranks.length > 1 || rank !== undefined) && (
        <select
          aria-label="Rank"
          title="Only the lines of this rank"
          className="field min-h-7 w-auto py-0 text-xs"
          value={rank ?? ""}
          onChange={(event) =>
            onFilter({ rank: event.target.value === "" ? undefined : Number(event.target.value), level })
          }
        >
          <option value="">All ranks</option>
          {[...new Set([...ranks, ...(rank === undefined ? [] : [rank])])].map((one) => (
            <option key={one} value={one}>
              Rank {one}
            </option>
          ))}
        </select>
      )}
      <select
        aria-label="Level"
        title="Only lines with warnings or errors"
        className="field min-h-7 w-auto py-0 text-xs"
        value={level ?? ""}
        onChange={(event) =>
          onFilter({ rank, level: (event.target.value || undefined) as Level | undefined })
        }
      >
        <option value="">All levels</option>
        <option value="warnings">Warnings and errors</option>
        <option value="errors">Errors</option>
      </select>
    </>
  );
}
