import { Link } from "@tanstack/react-router";
import { EmptyState } from "@/components/Feedback";

export function NotFound() {
  return (
    <EmptyState screen title="Page not found">
      <Link to="/" className="text-accent underline">
        Back to the overview
      </Link>
    </EmptyState>
  );
}
