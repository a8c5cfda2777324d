/** The wire types under their own names; schema.d.ts is generated from the server's OpenAPI. */
import type { components } from "./schema";

type Schemas = components["schemas"];

export type Job = Schemas["Job"];
export type JobPage = Schemas["JobPage"];
export type JobState = Schemas["JobState"];
export type JobSpec = Schemas["JobSpec"];
export type JobPatch = Schemas["JobPatch"];
export type JobCounts = Schemas["JobCounts"];
export type Attempt = Schemas["Attempt"];
export type Outcome = Schemas["Outcome"];
export type LaunchFacts = Schemas["LaunchFacts"];
export type Change = Schemas["Change"];
export type DryRun = Schemas["DryRun"];
export type Box = Schemas["Box"];
export type Gpu = Schemas["Gpu"];
export type Holder = Schemas["Holder"];
export type HolderKind = Schemas["HolderKind"];
export type BerthEvent = Schemas["Event"];
export type EventPage = Schemas["EventPage"];
export type Explanation = Schemas["Explanation"];
export type Reason = Schemas["Reason"];
export type Metrics = Schemas["Metrics"];
export type LogLines = Schemas["LogLines"];
/** The event `end` of /log/stream; OpenAPI describes one event per stream only. */
export type LogEnd = { attempt?: string | null; outcome?: Outcome | null; exit_code?: number | null; size_bytes: number; job_state: JobState };
export type Ablation = Schemas["Ablation"];
export type AblationList = Schemas["AblationList"];
export type Me = Schemas["Me"];
export type UserList = Schemas["UserList"];
export type UserSummary = Schemas["UserSummary"];
export type ServerSettings = Schemas["ServerSettings"];
export type TokenList = Schemas["TokenList"];
export type NewToken = Schemas["NewToken"];
export type Health = Schemas["Health"];
export type Problem = Schemas["Problem"];
