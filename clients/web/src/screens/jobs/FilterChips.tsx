import { X } from "lucide-react";
import { useState } from "react";
import { Button } from "@/components/Button";
import type { JobsSearch } from "./filter";

interface Props {
  search: JobsSearch;
  me: string | undefined;
  go: (change: { user?: string | undefined; label?: string | undefined; q?: string | undefined }) => void;
}

/** Active filters, each with a button to remove it, and a field to add one: "user:ada", "key=value", or a word. */
export function FilterChips({ search, me, go }: Props) {
  const [text, setText] = useState("");
  const chips = [
    search.user && { text: `user ${search.user}`, clear: () => go({ user: undefined }) },
    ...(search.label?.split(",").map((label) => ({
      text: label,
      clear: () =>
        go({
          label: search.label
            ?.split(",")
            .filter((l) => l !== label)
            .join(","),
        }),
    })) ?? []),
    search.q && { text: `“${search.q}”`, clear: () => go({ q: undefined }) },
  ].filter((chip) => typeof chip === "object");
  return (
    <div className="flex flex-wrap items-center gap-1.5">
      {me && search.user !== me && (
        <Button small onClick={() => go({ user: me })}>
          Mine
        </Button>
      )}
      {chips.map((chip) => (
        <Button key={chip.text} small aria-label={`Remove filter ${chip.text}`} onClick={chip.clear}>
          {chip.text} <X aria-hidden className="size-3" />
        </Button>
      ))}
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const wanted = text.trim();
          setText("");
          if (wanted.startsWith("user:")) go({ user: wanted.slice(5) });
          else if (/^[^=\s]+=.+$/.test(wanted))
            go({ label: [search.label, wanted].filter(Boolean).join(",") });
          else if (wanted !== "") go({ q: wanted });
        }}
      >
        <input
          aria-label="Add a filter: a word, user:NAME, or label key=value"
          placeholder="word, user:ada, key=value"
          value={text}
          onChange={(event) => setText(event.target.value)}
          className="field min-h-7 w-48 py-0.5 text-xs"
        />
      </form>
    </div>
  );
}
