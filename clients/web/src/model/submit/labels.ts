/** Labels of the submit form by the names of the job's fields. */
export const LABELS = {
  command: "Command",
  script: "Script",
  workdir: "Working directory",
  gpus: "GPUs",
  time_limit: "Time limit",
  name: "Name",
  gpu_memory: "Minimum memory per GPU",
  python: "Python environment",
  priority: "Priority",
  retries: "Retries after a failure",
  depends_on: "Start after jobs",
  env: "Environment",
  labels: "Labels",
  not_before: "Not before",
  grace: "Grace period",
  notify: "Notify URLs",
} as const;
