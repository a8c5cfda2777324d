/** Several launches pasted into one field: a job each. */
import type { JobSpec, ParsedText } from "@/api/types";

export type ParsedLaunch = NonNullable<ParsedText["jobs"]>[number];

/** True where a text may hold several launches, so that it is worth asking the server. */
export function mayBeSeveral(text: string): boolean {
  return text.trim().includes("\n") || text.includes(";");
}

/** One specification per launch, with all else that the form says; the job's name tells them apart. */
export function launchSpecs(spec: JobSpec, launches: readonly ParsedLaunch[]): JobSpec[] {
  return launches.flatMap((launch, i) => {
    if (launch.problem != null || (launch.command == null && launch.script == null)) return [];
    const { command: _command, script: _script, ...rest } = spec;
    return [
      {
        ...rest,
        ...(launch.script == null ? { command: launch.command ?? "" } : { script: launch.script }),
        ...(spec.name ? { name: `${spec.name} ${i + 1}`.slice(0, 200) } : {}),
      },
    ];
  });
}

/** "2 commands: 2 jobs, of 4 and 4 GPUs". */
export function launchesText(launches: readonly ParsedLaunch[]): string {
  const good = launches.filter((launch) => launch.problem == null);
  const gpus = good.map((launch) => String(launch.gpus ?? 1));
  const last = gpus.pop() ?? "";
  const each = new Set([...gpus, last]).size === 1 ? `${last} each` : `${gpus.join(", ")} and ${last}`;
  return `${launches.length} commands were found: ${good.length} jobs, GPUs: ${each}`;
}
