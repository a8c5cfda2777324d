/** Light, dark, or as the system says; kept in this browser. */
export type Theme = "system" | "light" | "dark";

const KEY = "berth.theme";

export function theme(): Theme {
  const kept = localStorage.getItem(KEY);
  return kept === "light" || kept === "dark" ? kept : "system";
}

export function setTheme(next: Theme): void {
  localStorage.setItem(KEY, next);
  applyTheme();
  dispatchEvent(new Event("berth-theme"));
}

export function applyTheme(): void {
  const now = theme();
  if (now === "system") delete document.documentElement.dataset["theme"];
  else document.documentElement.dataset["theme"] = now;
}

/** Call back when colours may have changed; returns what ends it. */
export function onThemeChange(run: () => void): () => void {
  const media = matchMedia("(prefers-color-scheme: dark)");
  media.addEventListener("change", run);
  addEventListener("berth-theme", run);
  return () => {
    media.removeEventListener("change", run);
    removeEventListener("berth-theme", run);
  };
}
