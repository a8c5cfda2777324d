import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useSearch } from "@tanstack/react-router";
import { Download } from "lucide-react";
import { api, wasteUrl } from "@/api/endpoints";
import { useMe } from "@/api/queries";
import type { WasteLine, WasteReport } from "@/api/types";
import { Button, Toggle, buttonLook } from "@/components/Button";
import { EmptyState, ErrorMessage, Skeleton } from "@/components/Feedback";
import { JobLink } from "@/components/JobLink";
import { PageHeader, Section } from "@/components/Layout";
import { Message } from "@/components/Message";
import { Bar } from "@/components/Meter";
import { SortHeader } from "@/components/SortHeader";
import { percent, plural } from "@/format/units";
import { short } from "@/model/jobs/receipt";
import { parseSort, sorted, sortText } from "@/model/table";
import type { Cell } from "@/model/table";

const DAYS = [1, 7, 30] as const;
const KINDS: Record<WasteLine["kind"], string> = {
  waiting: "Free while jobs waited",
  idle: "Held without work",
  gang_idle: "Idle beside busy GPUs",
  lost: "Lost since a checkpoint",
  memory: "Memory never used",
};

/** Waste report: GPU-hours that did nothing, by kind, user and job, each with its fix. */
export function WasteScreen() {
  const { days = 7, user, sort } = useSearch({ from: "/waste" });
  const navigate = useNavigate({ from: "/waste" });
  const me = useMe().data?.user;
  const found = useQuery({
    queryKey: ["waste", days, user],
    queryFn: ({ signal }) => api.waste({ days, ...(user === undefined ? {} : { user }) }, signal),
    refetchInterval: 300_000,
  });
  const go = (change: { days?: number; user?: string | undefined }) =>
    void navigate({
      search: (old) => {
        const next = { ...old, ...change };
        const { user: who, ...rest } = next;
        return who === undefined ? rest : { ...rest, user: who };
      },
    });
  const report = found.data;
  return (
    <>
      <PageHeader title="Waste report" note={report && report.sentence}>
        {DAYS.map((one) => (
          <Toggle key={one} on={days === one} onClick={() => go({ days: one })}>
            {one === 1 ? "1 day" : `${one} days`}
          </Toggle>
        ))}
        {me !== undefined && (
          <Toggle on={user === me} onClick={() => go({ user: user === me ? undefined : me })}>
            Mine
          </Toggle>
        )}
        {user !== undefined && user !== me && (
          <Button small onClick={() => go({ user: undefined })}>
            Only {user} ×
          </Button>
        )}
        <a href={wasteUrl(days, user)} download className={buttonLook("plain", true)}>
          <Download aria-hidden className="size-3.5" />
          CSV
        </a>
      </PageHeader>
      {found.isError && !report ? (
        <ErrorMessage error={found.error} retry={() => void found.refetch()} />
      ) : !report ? (
        <Skeleton rows={6} />
      ) : (
        <>
          <Kinds report={report} />
          {report.lines.length === 0 ? (
            <EmptyState title="Nothing was wasted">
              No GPU was free while a job waited, none was held without work, and no work was lost.
            </EmptyState>
          ) : (
            <>
              <Users report={report} />
              <Lines
                report={report}
                sort={sort}
                onSort={(next) =>
                  void navigate({
                    search: (old) => ({ ...old, sort: next }),
                    replace: true,
                    resetScroll: false,
                  })
                }
              />
            </>
          )}
        </>
      )}
    </>
  );
}

function Kinds({ report }: { report: WasteReport }) {
  const most = Math.max(1e-9, ...Object.values(report.by_kind));
  return (
    <Section
      title="By kind"
      note={`jobs held ${short(report.held_gpu_hours)} of ${short(report.capacity_gpu_hours)} GPU-hours`}
    >
      <dl className="panel grid grid-cols-[auto_auto_1fr] items-center gap-x-4 gap-y-1.5 px-4 py-3 text-sm">
        {Object.entries(KINDS).map(([kind, words]) => {
          const hours = report.by_kind[kind as WasteLine["kind"]] ?? 0;
          return (
            <div key={kind} className="contents">
              <dt>{words}</dt>
              <dd className="text-right font-medium whitespace-nowrap tabular">{short(hours)} h</dd>
              <dd aria-hidden>
                <Bar label={words} parts={[{ share: hours / most, className: "bg-warn" }]} />
              </dd>
            </div>
          );
        })}
      </dl>
      <p className="mt-1.5 text-xs text-muted">
        GPU-hours. Memory never used is not part of the sum: those GPUs worked.
      </p>
    </Section>
  );
}

function Users({ report }: { report: WasteReport }) {
  if (report.users.length < 2) return null;
  return (
    <Section title="By user">
      <ul className="panel divide-y divide-line">
        {report.users.map((one) => (
          <li key={one.user} className="flex flex-wrap items-baseline gap-x-4 px-4 py-1.5 text-sm">
            <Link
              to="/waste"
              search={(old) => ({ ...old, user: one.user })}
              className="w-28 truncate hover:underline"
            >
              {one.user}
            </Link>
            <span className="w-20 text-right font-medium tabular">{short(one.gpu_hours)} h</span>
            <span className="w-12 text-right text-xs text-muted tabular">
              {report.wasted_gpu_hours > 0 && percent((100 * one.gpu_hours) / report.wasted_gpu_hours)}
            </span>
            <span className="text-xs text-muted">
              {Object.entries(one.by_kind)
                .map(([kind, hours]) => `${KINDS[kind as WasteLine["kind"]].toLowerCase()} ${short(hours)} h`)
                .join(", ")}
            </span>
          </li>
        ))}
      </ul>
    </Section>
  );
}

function Lines({
  report,
  sort: text,
  onSort,
}: {
  report: WasteReport;
  sort: string | undefined;
  onSort: (sort: string) => void;
}) {
  const sort = parseSort(text) ?? { key: "gpu_hours", down: true };
  const values: Record<string, (line: WasteLine) => Cell> = {
    kind: (line) => KINDS[line.kind],
    user: (line) => line.user,
    job: (line) => line.job_id,
    gpu_hours: (line) => line.gpu_hours,
    cost: (line) => line.cost,
  };
  const lines = sorted(report.lines, values[sort.key] ?? (() => null), sort.down);
  const priced = report.lines.some((line) => line.cost != null);
  const head = (name: string, title: string, number: boolean) => (
    <SortHeader
      name={name}
      sort={sort}
      firstDown={number}
      right={number}
      onSort={(next) => onSort(sortText(next) ?? "")}
    >
      {title}
    </SortHeader>
  );
  return (
    <Section
      title="By job"
      {...(report.left_out ? { note: `${plural(report.left_out, "smaller line")} not shown` } : {})}
    >
      <div className="panel relative overflow-x-auto" tabIndex={0} role="region" aria-label="Waste by job">
        <table className="w-full text-sm">
          <caption className="sr-only">GPU-hours that did nothing, by job</caption>
          <thead className="text-left text-xs text-muted">
            <tr className="[&>th]:px-3 [&>th]:py-1 [&>th]:font-medium">
              {head("gpu_hours", "GPU-hours", true)}
              {priced && head("cost", "Cost", true)}
              {head("kind", "Kind", false)}
              {head("job", "Job", false)}
              {head("user", "User", false)}
              <th>What happened, and the fix</th>
            </tr>
          </thead>
          <tbody>
            {lines.map((line) => (
              <tr
                key={`${line.kind} ${line.job_id}`}
                className="border-t border-line align-top [&>td]:px-3 [&>td]:py-1.5"
              >
                <td className="text-right font-medium tabular">{short(line.gpu_hours)}</td>
                {priced && (
                  <td className="text-right whitespace-nowrap tabular">
                    {line.cost == null ? "–" : `${line.cost.toFixed(2)} ${report.currency ?? ""}`}
                  </td>
                )}
                <td className="whitespace-nowrap">{KINDS[line.kind]}</td>
                <td className="max-w-56">
                  <JobLink job={{ id: line.job_id, name: line.name }} />
                </td>
                <td>{line.user}</td>
                <td className="min-w-72">
                  <Message parts={line.sentence_parts} text={line.sentence} />{" "}
                  <span className="block text-muted">
                    <Message parts={line.fix_parts} text={line.fix} />
                  </span>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Section>
  );
}
