import clsx from "clsx";
import { useBox } from "@/api/queries";
import type { Attempt, Job } from "@/api/types";
import { EmptyState, Skeleton } from "@/components/Feedback";
import { Message } from "@/components/Message";
import { Section } from "@/components/Layout";
import { jobColor } from "@/model/jobs/job";
import { islands, named } from "@/model/gpus/topology";
import { lookOf } from "@/screens/overview/holders";

/** Placement of the attempt: its GPUs on the box, the links between them, and its fence. */
export function PlacementTab({ job, attempt }: { job: Job; attempt: Attempt | undefined }) {
  const box = useBox().data;
  if (!attempt)
    return <EmptyState title="Not placed yet">Its GPUs are shown here when it has started.</EmptyState>;
  if (!box) return <Skeleton rows={3} />;
  const own = new Set(attempt.gpu_uuids);
  const color = jobColor(job.id);
  const launch = attempt.launch;
  return (
    <>
      <Section
        title={attempt.gpu_indices.length === 0 ? "No GPU" : named(attempt.gpu_indices)}
        note={`attempt ${attempt.id}`}
      >
        {attempt.placement && (
          <div className="mb-3 max-w-3xl text-sm" data-placement={attempt.placement.rule}>
            <h3 className="sr-only">Why these GPUs</h3>
            <p>
              <Message parts={attempt.placement.sentence_parts} text={attempt.placement.sentence} />
            </p>
            {attempt.placement.free_indices.length > attempt.gpu_indices.length && (
              <p className="mt-0.5 text-xs text-muted">
                Free when it started: {named(attempt.placement.free_indices)}.
              </p>
            )}
          </div>
        )}
        <div className="flex flex-wrap gap-3">
          {islands(box).map((island) => (
            <div key={island.gpus[0]?.uuid} className="rounded-lg border border-dashed border-line p-2">
              {island.label && <p className="mb-1.5 text-xs text-muted">{island.label}</p>}
              <ul className="flex flex-wrap gap-1.5">
                {island.gpus.map((gpu) => (
                  <li
                    key={gpu.uuid}
                    style={
                      own.has(gpu.uuid) ? { borderColor: color, boxShadow: `inset 0 0 0 1.5px ${color}` } : {}
                    }
                    className={clsx(
                      "flex size-14 flex-col items-center justify-center rounded-md border border-line",
                      !own.has(gpu.uuid) && "text-muted",
                    )}
                  >
                    <span className="font-semibold tabular">{gpu.index}</span>
                    <span className="text-2xs">
                      {own.has(gpu.uuid)
                        ? "this job"
                        : gpu.holder.kind === "job"
                          ? `job ${gpu.holder.job_id}`
                          : lookOf(gpu).word}
                    </span>
                  </li>
                ))}
              </ul>
            </div>
          ))}
        </div>
      </Section>
      <Links box={box} own={attempt.gpu_indices} />
      {launch && (
        <Section title="What the job sees">
          <dl className="panel grid grid-cols-[auto_1fr] gap-x-4 gap-y-1 px-4 py-3 text-sm">
            <dt className="text-muted">Fence</dt>
            <dd>{launch.fence}</dd>
            <dt className="text-muted">CUDA_VISIBLE_DEVICES</dt>
            <dd>
              <code>{launch.cuda_visible_devices || "(none)"}</code>
            </dd>
            <dt className="text-muted">MASTER_PORT</dt>
            <dd>
              <code>{launch.master_port ?? attempt.master_port ?? "–"}</code>
            </dd>
            <dt className="text-muted">UUIDs</dt>
            <dd className="text-xs leading-5 wrap-anywhere">
              <code>{attempt.gpu_uuids.join(", ") || "–"}</code>
            </dd>
          </dl>
        </Section>
      )}
    </>
  );
}

function Links({
  box,
  own,
}: {
  box: NonNullable<ReturnType<typeof useBox>["data"]>;
  own: readonly number[];
}) {
  const links = box.links ?? [];
  if (own.length < 2 || links.length === 0) return null;
  const place = (index: number) => (box.gpus ?? []).findIndex((g) => g.index === index);
  return (
    <Section
      title="Links between its GPUs"
      note="NV18: 18 NVLinks; PIX, PXB, PHB, NODE, SYS: increasingly far over PCIe"
    >
      <div
        className="panel inline-block max-w-full relative overflow-x-auto"
        tabIndex={0}
        role="region"
        aria-label="Link matrix"
      >
        <table className="text-sm tabular">
          <caption className="sr-only">Link between each pair of its GPUs</caption>
          <thead>
            <tr>
              <th className="px-3 py-1.5">
                <span className="sr-only">GPU</span>
              </th>
              {own.map((i) => (
                <th key={i} scope="col" className="px-3 py-1.5 text-xs font-medium text-muted">
                  GPU {i}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {own.map((a) => (
              <tr key={a} className="border-t border-line">
                <th scope="row" className="px-3 py-1.5 text-xs font-medium text-muted">
                  GPU {a}
                </th>
                {own.map((b) => {
                  const link = a === b ? "–" : (links[place(a)]?.[place(b)] ?? "?");
                  return (
                    <td
                      key={b}
                      className={clsx(
                        "px-3 py-1.5 text-center",
                        link.startsWith("NV") ? "text-good" : "text-muted",
                      )}
                    >
                      {link}
                    </td>
                  );
                })}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Section>
  );
}
