/** What-if: variants of a job's request in words, the better ones marked. */
import type { JobPatch, WhatIfOption } from "@/api/types";
import { bytes, plural } from "@/format/units";

export interface Variant {
  option: WhatIfOption;
  /** The thing that differs: "4 GPUs", "limit 2h", "half a GPU". */
  text: string;
  /** It starts so much sooner (negative: later) than the request itself, ms; undefined where unknown. */
  sooner: number | undefined;
}

/** Time of the start, ms since the epoch; undefined when it is not known. */
export function startOf(option: WhatIfOption, now: number): number | undefined {
  if (option.starts_now) return now;
  return option.expected_start == null ? undefined : Date.parse(option.expected_start);
}

export function variantText(option: WhatIfOption): string {
  if (option.varies === "gpus" || option.varies === "nothing") {
    if (option.share) return `${bytes(option.gpu_memory)} of a GPU`;
    return plural(option.gpus, "GPU");
  }
  if (option.varies === "time_limit")
    return option.time_limit == null ? "no time limit" : `limit ${option.time_limit}`;
  if (option.varies === "share")
    return option.share ? `share of a GPU, ${bytes(option.gpu_memory)}` : "a whole GPU";
  return option.preemptible ? "preemptible" : "not preemptible";
}

/** Options with how much sooner each starts than the first, which is the request itself. */
export function variantsOf(options: readonly WhatIfOption[], now: number): Variant[] {
  const [asked] = options;
  const start = asked && startOf(asked, now);
  return options.map((option) => {
    const other = startOf(option, now);
    return {
      option,
      text: variantText(option),
      sooner: start === undefined || other === undefined ? undefined : start - other,
    };
  });
}

/** Whether a variant starts where the request itself does not start in sight, or a minute sooner. */
export function isBetter(variant: Variant, asked: WhatIfOption, now: number): boolean {
  if (variant.option.varies === "nothing") return false;
  if (startOf(asked, now) === undefined) return startOf(variant.option, now) !== undefined;
  return (variant.sooner ?? 0) >= 60_000;
}

/** The change of a waiting job that makes it so; undefined where the job must be submitted anew. */
export function patchOf(option: WhatIfOption): JobPatch | undefined {
  if (option.varies === "gpus") return { gpus: option.gpus };
  if (option.varies === "time_limit") return { time_limit: option.time_limit ?? null };
  if (option.varies === "preemptible") return { preemptible: option.preemptible ?? false };
  return undefined;
}
