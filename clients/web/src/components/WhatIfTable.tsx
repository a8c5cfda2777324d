import clsx from "clsx";
import { Check } from "lucide-react";
import type { ReactNode } from "react";
import type { WhatIfOption } from "@/api/types";
import { absoluteInZone, duration, wallClock } from "@/format/duration";
import { plural } from "@/format/units";
import { isBetter, startOf, variantsOf } from "@/model/jobs/whatif";
import type { Variant } from "@/model/jobs/whatif";
import { NineOfTen } from "./ExpectedStart";
import { useNow } from "./Time";

/** Starts of a job's variants, one thing changed each. `action`: the button that makes one so. */
export function WhatIfTable({
  options,
  action,
}: {
  options: readonly WhatIfOption[];
  action?: (option: WhatIfOption) => ReactNode;
}) {
  const now = useNow(60_000);
  const [asked] = options;
  if (!asked || options.length < 2) return null;
  return (
    <div
      className="panel relative max-h-96 overflow-auto"
      tabIndex={0}
      role="region"
      aria-label="What if"
      data-what-if
    >
      <table className="w-full text-sm">
        <caption className="sr-only">Expected start with one change at a time</caption>
        <thead className="sticky top-0 bg-panel text-left text-xs text-muted">
          <tr className="[&>th]:px-3 [&>th]:py-1.5 [&>th]:font-medium">
            <th>If it asked for</th>
            <th>Expected start</th>
            <th>Compared with now</th>
            {action && (
              <th>
                <span className="sr-only">Use it</span>
              </th>
            )}
          </tr>
        </thead>
        <tbody>
          {variantsOf(options, now).map((variant, i) => (
            <tr
              key={i}
              className={clsx(
                "border-t border-line [&>td]:px-3 [&>td]:py-1",
                variant.option.varies === "nothing" && "bg-sunken font-medium",
              )}
            >
              <td className="whitespace-nowrap">
                {variant.text}
                {variant.option.varies === "nothing" && (
                  <span className="font-normal text-muted"> as asked</span>
                )}
              </td>
              <td>
                <Start option={variant.option} now={now} />
              </td>
              <td className="whitespace-nowrap">
                <Against variant={variant} asked={asked} now={now} />
              </td>
              {action && (
                <td className="text-right">
                  {variant.option.varies !== "nothing" && action(variant.option)}
                </td>
              )}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Start({ option, now }: { option: WhatIfOption; now: number }) {
  const stops = option.would_preempt ?? [];
  const at = startOf(option, now);
  return (
    <>
      {option.starts_now ? (
        <span className="text-good">now</span>
      ) : at === undefined ? (
        <span className="text-muted">not known</span>
      ) : (
        <time dateTime={new Date(at).toISOString()} title={absoluteInZone(at)} className="tabular">
          about {wallClock(at, now)}
        </time>
      )}
      {!option.starts_now && at !== undefined && (
        <NineOfTen at={option.expected_start_p90} median={at} now={now} />
      )}
      {stops.length > 0 && (
        <span className="block text-xs text-warn">
          preempts {plural(stops.length, "job")}: {stops.join(", ")}
        </span>
      )}
    </>
  );
}

function Against({ variant, asked, now }: { variant: Variant; asked: WhatIfOption; now: number }) {
  if (variant.option.varies === "nothing") return null;
  if (isBetter(variant, asked, now))
    return (
      <span className="inline-flex items-center gap-1 text-good">
        <Check aria-hidden className="size-3.5" />
        {variant.sooner === undefined ? "starts" : `${duration(variant.sooner / 1000)} sooner`}
      </span>
    );
  if (variant.sooner !== undefined && variant.sooner <= -60_000)
    return <span className="text-muted">{duration(-variant.sooner / 1000)} later</span>;
  // One of the two starts has no known time: nothing can be said of their difference.
  return <span className="text-muted">{variant.sooner === undefined ? "–" : "no difference"}</span>;
}
