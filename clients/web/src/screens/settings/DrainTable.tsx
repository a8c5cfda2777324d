import { Link } from "@tanstack/react-router";
import type { Gpu } from "@/api/types";
import { Section } from "@/components/Layout";

/** Which GPUs take jobs; the switch is on each GPU's own card. */
export function DrainTable({ gpus, admin }: { gpus: readonly Gpu[]; admin: boolean }) {
  return (
    <Section
      title="GPUs"
      note={
        admin
          ? "open one to drain it or let jobs on again"
          : "an admin can drain a GPU: root, or the user the server runs as"
      }
    >
      <ul className="panel grid gap-x-6 px-4 py-2 text-sm sm:grid-cols-2 xl:grid-cols-4">
        {gpus.map((gpu) => (
          <li key={gpu.uuid} className="flex min-h-7 items-center gap-2">
            <Link to="/" search={{ gpu: gpu.index }} className="text-accent underline">
              GPU {gpu.index}
            </Link>
            <span className="truncate text-muted">
              {gpu.draining ? `draining${gpu.drain_reason ? `: ${gpu.drain_reason}` : ""}` : "takes jobs"}
            </span>
          </li>
        ))}
      </ul>
    </Section>
  );
}
