import { Check, Copy as CopyIcon } from "lucide-react";
import { useState } from "react";
import { Button } from "./Button";

/** Over plain HTTP by host name there is no clipboard API: select a hidden field and copy that. */
export async function copyText(text: string): Promise<boolean> {
  try {
    if (navigator.clipboard) {
      await navigator.clipboard.writeText(text);
      return true;
    }
  } catch {
    // Refused by the browser: the old way below may still be allowed.
  }
  const field = document.createElement("textarea");
  field.value = text;
  field.setAttribute("aria-hidden", "true");
  field.style.position = "fixed";
  field.style.opacity = "0";
  (document.querySelector("dialog[open]") ?? document.body).append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}

export function CopyButton({ text, label }: { text: string; label: string }) {
  const [copied, setCopied] = useState<boolean | null>(null);
  const Icon = copied ? Check : CopyIcon;
  return (
    <Button
      small
      kind="quiet"
      aria-label={label}
      title={label}
      onClick={() => {
        void copyText(text).then((done) => {
          setCopied(done);
          setTimeout(() => setCopied(null), 2_000);
        });
      }}
    >
      <Icon aria-hidden className="size-3.5" />
      {copied === true ? "Copied" : copied === false ? "Cannot copy" : "Copy"}
    </Button>
  );
}

/** Text in a box with its copy button: commands, YAML, tokens. */
export function CodeBlock({ text, label, wrap = true }: { text: string; label: string; wrap?: boolean }) {
  return (
    <figure aria-label={label} className="panel overflow-hidden">
      <figcaption className="flex items-center justify-between border-b border-line px-3 py-1">
        <span className="text-xs text-muted">{label}</span>
        <CopyButton text={text} label={`Copy: ${label}`} />
      </figcaption>
      <pre
        tabIndex={0}
        className={`overflow-auto px-3 py-2 text-xs leading-5 ${wrap ? "wrap-anywhere whitespace-pre-wrap" : ""}`}
      >
        {text}
      </pre>
    </figure>
  );
}
