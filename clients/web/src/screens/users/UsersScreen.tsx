import { Link } from "@tanstack/react-router";
import { useBox, useMe, useUsers } from "@/api/queries";
import { buttonLook } from "@/components/Button";
import { EmptyState, ErrorMessage, Skeleton } from "@/components/Feedback";
import { PageHeader } from "@/components/Layout";
import { Bar } from "@/components/Meter";
import { count, percent } from "@/format/units";

/** Usage per user, now and in the last week; the reader's own row comes first. */
export function UsersScreen() {
  const users = useUsers();
  const me = useMe().data?.user;
  const gpus = useBox().data?.gpus?.length ?? 0;
  if (users.isError && !users.data)
    return <ErrorMessage error={users.error} retry={() => void users.refetch()} />;
  if (!users.data) return <Skeleton rows={6} />;
  const rows = [...users.data.users].sort(
    (a, b) => Number(b.user === me) - Number(a.user === me) || b.gpu_hours_7d - a.gpu_hours_7d,
  );
  const total = rows.reduce((sum, row) => sum + row.gpu_hours_7d, 0);
  return (
    <>
      <PageHeader title="Users" note={gpus > 0 ? `the box has ${count(gpus * 24 * 7)} GPU-hours a week` : ""}>
        <Link to="/waste" className={buttonLook("plain", true)}>
          Waste report
        </Link>
      </PageHeader>
      {rows.length === 0 ? (
        <EmptyState title="No users yet" />
      ) : (
        <div className="panel relative overflow-x-auto" tabIndex={0} role="region" aria-label="Users">
          <table className="w-full text-sm">
            <caption className="sr-only">Users, their jobs and GPU-hours</caption>
            <thead className="text-left text-xs text-muted">
              <tr className="[&>th]:px-2 [&>th]:py-1.5 [&>th]:font-medium sm:[&>th]:px-3">
                <th>User</th>
                <th className="text-right">GPUs now</th>
                <th className="text-right">Running</th>
                <th className="text-right">Waiting</th>
                <th className="text-right">GPU-hours, 7 days</th>
                <th
                  className="text-right max-sm:hidden"
                  title="GPU held with a mean utilisation below 5 % over two minutes"
                >
                  Idle GPU-hours
                </th>
                <th className="text-right max-sm:hidden" title="Mean utilisation of the GPUs while held">
                  Busy
                </th>
                <th className="w-1/4 max-sm:hidden">Share of GPU-hours</th>
              </tr>
            </thead>
            <tbody>
              {rows.map((row) => {
                const share = total > 0 ? row.gpu_hours_7d / total : 0;
                return (
                  <tr
                    key={row.user}
                    className="border-t border-line hover:bg-hover [&>td]:px-2 [&>td]:py-1.5 sm:[&>td]:px-3"
                  >
                    <td>
                      <Link to="/jobs" search={{ user: row.user }} className="hover:underline">
                        {row.user}
                      </Link>
                      {row.user === me && (
                        <span className="ml-1.5 rounded bg-accent-soft px-1.5 text-xs text-accent">you</span>
                      )}
                    </td>
                    <td className="text-right tabular">{Number(row.gpus.toFixed(2))}</td>
                    <td className="text-right tabular">{row.running}</td>
                    <td className="text-right tabular">{row.pending}</td>
                    <td className="text-right tabular whitespace-nowrap">
                      {hours(row.gpu_hours_7d)}
                      {row.idle_gpu_hours_7d != null && (
                        <span className="block text-xs text-muted sm:hidden">
                          {hours(row.idle_gpu_hours_7d)} idle
                        </span>
                      )}
                    </td>
                    <td className="text-right tabular whitespace-nowrap max-sm:hidden">
                      {row.idle_gpu_hours_7d == null ? (
                        <span className="text-muted">–</span>
                      ) : (
                        hours(row.idle_gpu_hours_7d)
                      )}
                    </td>
                    <td className="text-right tabular whitespace-nowrap max-sm:hidden">
                      {percent(row.utilization_percent_7d)}
                    </td>
                    <td className="max-sm:hidden">
                      <span className="flex items-center gap-3">
                        <Bar
                          label={`${row.user}: ${percent(share * 100)} of all GPU-hours used in 7 days`}
                          parts={[{ share, className: "bg-accent" }]}
                        />
                        <span className="w-12 text-right text-xs tabular text-muted">
                          {percent(share * 100)}
                        </span>
                      </span>
                    </td>
                  </tr>
                );
              })}
            </tbody>
          </table>
        </div>
      )}
    </>
  );
}

function hours(value: number): string {
  return `${value.toFixed(value < 10 ? 2 : 1)} h`;
}
