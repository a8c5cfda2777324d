import type { ErrorComponentProps } from "@tanstack/react-router";
import { Button } from "@/components/Button";
import { EmptyState } from "@/components/Feedback";

/** Error boundary of a screen: a new version of the page is the usual cause. */
export function ErrorScreen({ error }: ErrorComponentProps) {
  return (
    <EmptyState screen title="This screen could not be shown">
      <p className="mb-3">
        {error instanceof Error ? error.message : "Something went wrong"}. If Berth was just upgraded, reload
        the page. Running jobs are not affected.
      </p>
      <Button onClick={() => location.reload()}>Reload the page</Button>
    </EmptyState>
  );
}
