import type { ErrorComponentProps } from "@tanstack/react-router";
import { Button } from "@/components/Button";
import { EmptyState } from "@/components/Feedback";

/** Shown where a screen failed to draw: a new version of the page is the usual cause. */
export function ErrorScreen({ error }: ErrorComponentProps) {
  return (
    <EmptyState screen title="This screen could not be shown">
      <p className="mb-3">
        {error instanceof Error ? error.message : "Something broke"}. If Berth was upgraded meanwhile, loading
        the page again mends it; what runs is not affected.
      </p>
      <Button onClick={() => location.reload()}>Load the page again</Button>
    </EmptyState>
  );
}
