import { Link } from "@tanstack/react-router";
import { useMe } from "@/api/queries";
import type { Gpu } from "@/api/types";
import { buttonLook } from "@/components/Button";
import { Dialog } from "@/components/Dialog";
import { Ago } from "@/components/Time";
import { Message } from "@/components/Message";
import { bytes, celsius, gib, percent, watts } from "@/format/units";
import { DrainForm } from "./DrainForm";
import { Reserved } from "./HolderLines";

/** Details of one GPU, with drain and reservation for admins. */
export function GpuDialog({ gpu, onClose }: { gpu: Gpu; onClose: () => void }) {
  const me = useMe().data;
  const facts: [string, string][] = [
    ["Model", gpu.name],
    ["UUID", gpu.uuid],
    ...(gpu.node == null
      ? ([
          ["PCI", gpu.pci_bus_id ?? "–"],
          ["NUMA node", gpu.numa_node == null ? "–" : String(gpu.numa_node)],
        ] satisfies [string, string][])
      : ([["Node", `${gpu.node}, its GPU ${gpu.node_index}`]] satisfies [string, string][])),
    ["Memory", `${gib(gpu.memory_used_bytes)} of ${gib(gpu.memory_total_bytes)} GiB`],
    ["Utilisation", percent(gpu.utilization_percent)],
    ["Temperature", celsius(gpu.temperature_c)],
    [
      "Power",
      gpu.power_limit_w == null ? watts(gpu.power_w) : `${watts(gpu.power_w)} of ${watts(gpu.power_limit_w)}`,
    ],
    ["MIG", gpu.mig ? "on: no jobs are placed here" : "off"],
  ];
  return (
    <Dialog title={`GPU ${gpu.index}`} onClose={onClose} wide>
      <p className="mb-3 text-sm">
        <Message parts={gpu.holder.sentence_parts} text={gpu.holder.sentence} />
      </p>
      {(gpu.reservations ?? []).map((one) => (
        <p key={one.id} className="mb-2 text-sm text-violet">
          <Reserved reservation={one} />
        </p>
      ))}
      {(gpu.health?.problems ?? []).map((problem) => (
        <p key={problem} className="mb-2 text-sm text-bad">
          {problem}
        </p>
      ))}
      <dl className="mb-4 grid grid-cols-[auto_1fr] gap-x-4 gap-y-1 text-sm sm:grid-cols-[auto_1fr_auto_1fr]">
        {facts.map(([name, value]) => (
          <div
            key={name}
            className={
              name === "UUID" ? "col-span-full grid grid-cols-subgrid sm:[&>dd]:col-span-3" : "contents"
            }
          >
            <dt className="text-muted">{name}</dt>
            <dd className="tabular wrap-anywhere">{value}</dd>
          </div>
        ))}
      </dl>
      <Processes gpu={gpu} />
      {me && !me.admin ? (
        <p className="border-t border-line pt-3 text-sm text-muted">
          Only admins (root and the user the server runs as) can drain or reserve a GPU.
        </p>
      ) : (
        <>
          <DrainForm key={`${gpu.draining}`} gpu={gpu} />
          <p className="mt-3 border-t border-line pt-3">
            <Link to="/" search={{ gpu: gpu.index, reserve: true }} className={buttonLook()}>
              Reserve this GPU
            </Link>
          </p>
        </>
      )}
    </Dialog>
  );
}

function Processes({ gpu }: { gpu: Gpu }) {
  const processes = gpu.processes ?? [];
  if (processes.length === 0) return <p className="mb-4 text-sm text-muted">No processes on this GPU.</p>;
  return (
    <div className="mb-4 relative overflow-x-auto" tabIndex={0} role="region" aria-label="Processes">
      <table className="w-full text-sm">
        <caption className="sr-only">Processes on GPU {gpu.index}</caption>
        <thead className="text-left text-xs text-muted">
          <tr>
            <th className="pr-3 font-medium">pid</th>
            <th className="pr-3 font-medium">user</th>
            <th className="pr-3 font-medium">attempt</th>
            <th className="pr-3 text-right font-medium">memory</th>
            <th className="pr-3 font-medium">since</th>
            <th className="font-medium">command</th>
          </tr>
        </thead>
        <tbody>
          {processes.map((p) => (
            <tr key={p.slurm_job ?? p.pid} className="border-t border-line">
              <td className="pr-3 tabular">{p.slurm_job == null ? p.pid : `Slurm job ${p.slurm_job}`}</td>
              <td className="pr-3">{p.user ?? "–"}</td>
              <td className="pr-3">{p.attempt ?? <span className="text-warn">external</span>}</td>
              <td className="pr-3 text-right tabular whitespace-nowrap">{bytes(p.memory_bytes)}</td>
              <td className="pr-3">
                <Ago time={p.started_at} />
              </td>
              <td className="max-w-80 truncate" title={p.command ?? ""}>
                <code className="text-xs">{p.command ?? "not readable"}</code>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
