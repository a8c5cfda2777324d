export type { Job } from "@/api/types";
import type { Ablation } from "@/api/types";

export type AblationRun = Ablation["runs"][number];
