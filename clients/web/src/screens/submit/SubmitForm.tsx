import clsx from "clsx";
import { Field } from "@/components/Field";
import { plural } from "@/format/units";
import type { Draft } from "@/model/submit/draft";
import { LABELS } from "@/model/submit/labels";

interface Props {
  draft: Draft;
  axes: string;
  runs: number;
  onChange: (change: Partial<Draft>) => void;
  onAxes: (axes: string) => void;
  /** Jobs may be spread over the nodes of a cluster. */
  cluster: boolean;
}

export function SubmitForm({ draft, axes, runs, onChange, onAxes, cluster }: Props) {
  const spread = cluster || draft.nodes !== "";
  const text = (name: keyof Draft) => ({
    value: String(draft[name]),
    onChange: (event: { target: { value: string } }) => onChange({ [name]: event.target.value }),
  });
  return (
    <div className="flex min-w-0 flex-col gap-4">
      <fieldset className="panel p-4">
        <legend className="sr-only">What to run</legend>
        <div role="group" aria-label="Kind" className="mb-2 flex gap-4 text-sm">
          {(["command", "script"] as const).map((kind) => (
            <label key={kind} className="flex items-center gap-1.5">
              <input
                type="radio"
                name="kind"
                className="size-4"
                checked={draft.kind === kind}
                onChange={() => onChange({ kind })}
              />
              {kind === "command" ? "Command" : "Shell script"}
            </label>
          ))}
        </div>
        <Field
          label={
            draft.kind === "command" ? "Command, exactly as you would type it" : "Script, run by /bin/bash"
          }
          note={
            draft.kind === "command"
              ? "leave CUDA_VISIBLE_DEVICES=…, --num_gpus and ports as they are: Berth adjusts them"
              : undefined
          }
        >
          {(input) => (
            <textarea
              {...input}
              required
              // oxlint-disable-next-line jsx-a11y/no-autofocus -- the page is opened to paste a command
              autoFocus
              spellCheck={false}
              rows={draft.kind === "command" ? 3 : 8}
              className="field code text-xs leading-5"
              placeholder={
                draft.kind === "command"
                  ? "deepspeed --num_gpus=4 train_deepspeed.py --config config.json"
                  : "set -e\npython prepare.py\ntorchrun --nproc-per-node 2 train.py"
              }
              {...text("command")}
            />
          )}
        </Field>
        <div
          className={clsx(
            "mt-3 grid gap-3",
            spread ? "sm:grid-cols-[2fr_1fr_1fr_1fr]" : "sm:grid-cols-[2fr_1fr_1fr]",
          )}
        >
          <Field label={LABELS.workdir} note="absolute path; default: your home">
            {(input) => (
              <input {...input} className="field" placeholder="/home/ada/twin" {...text("workdir")} />
            )}
          </Field>
          {spread && (
            <Field label={LABELS.nodes} note="default: as the command says">
              {(input) => (
                <input
                  {...input}
                  className="field"
                  inputMode="numeric"
                  placeholder="auto"
                  {...text("nodes")}
                />
              )}
            </Field>
          )}
          <Field
            label={draft.nodes.trim() === "" ? LABELS.gpus : LABELS.gpus_per_node}
            note="default: as the command says"
          >
            {(input) => (
              <input {...input} className="field" inputMode="numeric" placeholder="auto" {...text("gpus")} />
            )}
          </Field>
          <Field label={LABELS.time_limit} note="a shorter limit can start sooner">
            {(input) => <input {...input} className="field" placeholder="12h" {...text("timeLimit")} />}
          </Field>
        </div>
      </fieldset>
      <fieldset className="panel p-4">
        <legend className="sr-only">More</legend>
        <div className="grid gap-3 sm:grid-cols-3">
          <Field label={LABELS.name}>
            {(input) => (
              <input
                {...input}
                className="field"
                maxLength={200}
                placeholder="from the command"
                {...text("name")}
              />
            )}
          </Field>
          <Field label={LABELS.gpu_memory}>
            {(input) => <input {...input} className="field" placeholder="40GiB" {...text("gpuMemory")} />}
          </Field>
          <Field label={LABELS.python}>
            {(input) => (
              <input {...input} className="field" placeholder="/home/ada/envs/twin" {...text("python")} />
            )}
          </Field>
          <Field label={LABELS.priority} note="−1000 to 1000, higher first">
            {(input) => (
              <input {...input} className="field" inputMode="numeric" placeholder="0" {...text("priority")} />
            )}
          </Field>
          <Field label={LABELS.retries}>
            {(input) => (
              <input {...input} className="field" inputMode="numeric" placeholder="0" {...text("retries")} />
            )}
          </Field>
          <Field
            label={LABELS.depends_on}
            note="job numbers that must succeed; afterany:41 ended, afternotok:41 failed"
          >
            {(input) => <input {...input} className="field" placeholder="41, 42" {...text("dependsOn")} />}
          </Field>
        </div>
        <div className="mt-3 grid gap-3 sm:grid-cols-2">
          <Field label={LABELS.env} note="NAME=value, one per line; not stored in this browser">
            {(input) => (
              <textarea
                {...input}
                rows={3}
                spellCheck={false}
                className="field code text-xs leading-5"
                {...text("env")}
              />
            )}
          </Field>
          <Field label={LABELS.labels} note="key=value, to find and compare runs">
            {(input) => (
              <textarea
                {...input}
                rows={3}
                spellCheck={false}
                className="field code text-xs leading-5"
                placeholder="ablation=history, seed=1"
                {...text("labels")}
              />
            )}
          </Field>
        </div>
        <div className="mt-3 flex flex-wrap gap-x-6 gap-y-2 text-sm">
          <label className="flex items-center gap-2">
            <input
              type="checkbox"
              className="size-4"
              checked={draft.onOom}
              onChange={(event) => onChange({ onOom: event.target.checked })}
            />
            If GPU memory runs out, retry with less memory and the same global batch size
          </label>
          <label className="flex items-center gap-2">
            <input
              type="checkbox"
              className="size-4"
              checked={draft.hold}
              onChange={(event) => onChange({ hold: event.target.checked })}
            />
            Hold until released
          </label>
          <label className="flex items-center gap-2">
            <input
              type="checkbox"
              className="size-4"
              checked={draft.preemptible}
              onChange={(event) => onChange({ preemptible: event.target.checked })}
            />
            Preemptible: a job of higher priority may stop it, and it is queued again
          </label>
          <label className="flex items-center gap-2">
            <input
              type="checkbox"
              className="size-4"
              checked={draft.share}
              onChange={(event) => onChange({ share: event.target.checked })}
            />
            Share one GPU: lease only the memory given above
          </label>
          <label className="flex items-center gap-2">
            <input
              type="checkbox"
              className="size-4"
              checked={draft.snapshot}
              onChange={(event) => onChange({ snapshot: event.target.checked })}
            />
            Freeze the code: run the git work tree as it is now; later edits have no effect
          </label>
        </div>
        <details className="mt-3" open={draft.notBefore + draft.grace + draft.notify !== "" || undefined}>
          <summary className="min-h-6 text-sm text-muted">Start time, grace period, notification</summary>
          <div className="mt-2 grid gap-3 sm:grid-cols-3">
            <Field label={LABELS.not_before} note="your time zone">
              {(input) => <input {...input} type="datetime-local" className="field" {...text("notBefore")} />}
            </Field>
            <Field label={LABELS.grace} note="from SIGTERM to SIGKILL, to save a checkpoint">
              {(input) => <input {...input} className="field" placeholder="1m" {...text("grace")} />}
            </Field>
            <Field label={LABELS.notify} note="get a POST when the job ends">
              {(input) => (
                <input {...input} className="field" placeholder="https://chat.lab/hook" {...text("notify")} />
              )}
            </Field>
          </div>
        </details>
      </fieldset>
      <details className="panel p-4" open={axes !== "" || undefined}>
        <summary className="text-sm font-medium">Ablation: one job per combination</summary>
        <p className="mt-2 text-sm text-muted">
          One axis per line, like <code>lr=1e-4,3e-4</code>. Write <code>{"{lr}"}</code> in the command or the
          environment where the value goes. The jobs share the label <code>ablation</code> and can be compared
          on one page.
        </p>
        <Field label="Axes" note={runs > 0 ? plural(runs, "job") : undefined}>
          {(input) => (
            <textarea
              {...input}
              rows={3}
              spellCheck={false}
              className="field code text-xs leading-5"
              value={axes}
              onChange={(event) => onAxes(event.target.value)}
              placeholder={"lr=1e-4,3e-4\nseed=1,2,3"}
            />
          )}
        </Field>
      </details>
    </div>
  );
}
