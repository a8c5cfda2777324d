import { X } from "lucide-react";
import { useEffect, useEffectEvent, useRef, useState } from "react";
import { Button } from "@/components/Button";
import { useSettled } from "@/components/useSettled";
import type { JobsSearch } from "./filter";

interface Props {
  search: JobsSearch;
  me: string | undefined;
  go: (change: { user?: string | undefined; label?: string | undefined; q?: string | undefined }) => void;
}

/** A word that is searched for while it is typed; "user:ada" and "key=value" are taken with Enter. */
const isWord = (text: string) => !text.startsWith("user:") && !text.includes("=");

/** Active filters, each with a button to remove it, and a field to add one: "user:ada", "key=value", or a word. */
export function FilterChips({ search, me, go }: Props) {
  const [text, setText] = useState(search.q ?? "");
  const settled = useSettled(text, 300);
  const asked = useRef(search.q ?? "");
  const take = useEffectEvent((typed: string) => {
    const wanted = typed.trim();
    if (!isWord(wanted) || wanted === (search.q ?? "")) return;
    asked.current = wanted;
    go({ q: wanted });
  });
  useEffect(() => take(settled), [settled]);
  // A link, the back button or a saved view may ask for another word; the answer to what was typed
  // here must not take back what was typed since.
  const follow = useEffectEvent((q: string) => {
    if (q === asked.current) return;
    asked.current = q;
    setText(q);
  });
  useEffect(() => follow(search.q ?? ""), [search.q]);
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
        role="search"
        aria-label="Filter"
        onSubmit={(event) => {
          event.preventDefault();
          const wanted = text.trim();
          if (isWord(wanted)) {
            asked.current = wanted;
            return go({ q: wanted });
          }
          if (wanted.startsWith("user:")) go({ user: wanted.slice(5) });
          else go({ label: [search.label, wanted].filter(Boolean).join(",") });
          setText("");
        }}
      >
        <input
          type="search"
          aria-label="Filter by a word; user:NAME or a label key=value with Enter"
          placeholder="word, user:ada, key=value"
          value={text}
          onChange={(event) => setText(event.target.value)}
          className="field min-h-7 w-48 py-0.5 text-xs"
        />
      </form>
    </div>
  );
}
