import { useReducer, useSyncExternalStore } from "react";
import { useBox, useMe, useSettings } from "@/api/queries";
import { ErrorMessage, Skeleton } from "@/components/Feedback";
import { PageHeader, Section } from "@/components/Layout";
import { Button, Toggle } from "@/components/Button";
import { Message } from "@/components/Message";
import { fenceSentence } from "@/model/gpus/fence";
import { keysAreOn, switchKeys } from "@/keys/useActions";
import { onThemeChange, setTheme, theme } from "@/shell/theme";
import type { Theme } from "@/shell/theme";
import { DrainTable } from "./DrainTable";
import { Tokens } from "./Tokens";

const ORIGINS = { default: "default", environment: "environment", "berth.toml": "berth.toml" } as const;

/** Settings of the server, tokens, draining GPUs, and preferences of this browser. */
export function SettingsScreen() {
  const settings = useSettings();
  const me = useMe().data;
  const box = useBox().data;
  return (
    <>
      <PageHeader
        title="Settings"
        note={
          me && (
            <>
              signed in as {me.user}
              {me.admin && ", admin"}
            </>
          )
        }
      />
      <ThisBrowser />
      <Section title="Fence">
        <p className="panel px-4 py-3 text-sm">
          {box?.fence && <span className="font-medium">{box.fence}. </span>}
          {fenceSentence(box)}
        </p>
      </Section>
      {box && (box.gpus ?? []).length > 0 && <DrainTable gpus={box.gpus ?? []} admin={me?.admin ?? false} />}
      <Tokens />
      <Section title="Server" note={settings.data && <code>{settings.data.home}</code>}>
        {settings.isError && !settings.data ? (
          <ErrorMessage error={settings.error} retry={() => void settings.refetch()} />
        ) : !settings.data ? (
          <Skeleton rows={6} />
        ) : (
          <div
            className="panel relative overflow-x-auto"
            tabIndex={0}
            role="region"
            aria-label="Server settings"
          >
            <table className="w-full text-sm">
              <caption className="sr-only">Settings and their origin</caption>
              <thead className="text-left text-xs text-muted">
                <tr className="[&>th]:px-3 [&>th]:py-1.5 [&>th]:font-medium">
                  <th>Setting</th>
                  <th>Value</th>
                  <th>Set by</th>
                  <th className="max-sm:hidden">What it does</th>
                </tr>
              </thead>
              <tbody>
                {settings.data.settings.map((s) => (
                  <tr key={s.name} className="border-t border-line align-top [&>td]:px-3 [&>td]:py-1.5">
                    <td>
                      <code className="text-xs wrap-anywhere">{s.name}</code>
                      <p className="text-xs text-muted sm:hidden">
                        <Message parts={s.description_parts} text={s.description} />
                      </p>
                    </td>
                    <td className="min-w-44 wrap-anywhere max-sm:min-w-24">
                      <code className="text-xs">
                        {s.value === null || s.value === undefined ? "–" : String(s.value)}
                      </code>
                    </td>
                    <td className="whitespace-nowrap">
                      <span
                        className={s.origin === "default" ? "text-muted" : "font-medium"}
                        title={[
                          s.environment && `${s.environment} in the environment`,
                          `${s.name} in berth.toml`,
                        ]
                          .filter(Boolean)
                          .join(", ")}
                      >
                        {ORIGINS[s.origin]}
                      </span>
                    </td>
                    <td className="min-w-56 text-muted max-sm:hidden">
                      <Message parts={s.description_parts} text={s.description} />
                    </td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </Section>
    </>
  );
}

function ThisBrowser() {
  const now = useSyncExternalStore(onThemeChange, theme);
  const [, redraw] = useReducer((n: number) => n + 1, 0);
  return (
    <Section title="This browser">
      <div className="panel flex flex-wrap items-center gap-x-8 gap-y-3 px-4 py-3 text-sm">
        <div role="group" aria-label="Theme" className="flex items-center gap-1.5">
          <span className="mr-1">Theme</span>
          {(["system", "light", "dark"] as Theme[]).map((name) => (
            <Toggle on={now === name} key={name} onClick={() => setTheme(name)}>
              {name}
            </Toggle>
          ))}
        </div>
        <label className="flex items-center gap-2">
          <input
            type="checkbox"
            className="size-4"
            checked={keysAreOn()}
            onChange={(event) => {
              switchKeys(event.target.checked);
              redraw();
            }}
          />
          Single-key shortcuts (press <kbd>?</kbd> for the list)
        </label>
        <Button
          small
          className="ml-auto"
          onClick={() => void fetch("/logout", { method: "POST" }).then(() => location.reload())}
        >
          Sign out
        </Button>
      </div>
    </Section>
  );
}
