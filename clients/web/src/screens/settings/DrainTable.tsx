import { Link } from "@tanstack/react-router";
import type { Gpu } from "@/api/types";
import { Section } from "@/components/Layout";

/** List of GPUs, open or draining, with links to their details. */
export function DrainTable({ gpus, admin }: { gpus: readonly Gpu[]; admin: boolean }) {
  return (
    <Section
      title="GPUs"
      note={
        admin
          ? "select a GPU to drain it or to stop draining"
          : "only admins (root and the user the server runs as) can drain a GPU"
      }
    >
      <ul className="panel grid gap-x-6 px-4 py-2 text-sm sm:grid-cols-2 xl:grid-cols-4">
        {gpus.map((gpu) => (
          <li key={gpu.uuid} className="flex min-h-7 items-center gap-2">
            <Link to="/" search={{ gpu: gpu.index }} className="text-accent underline">
              GPU {gpu.index}
            </Link>
            <span className="truncate text-muted">
              {gpu.draining ? `draining${gpu.drain_reason ? `: ${gpu.drain_reason}` : ""}` : "open"}
            </span>
          </li>
        ))}
      </ul>
    </Section>
  );
}
