import { Link } from "@tanstack/react-router";
import { Empty } from "@/components/Frame";

export function NotFound() {
  return (
    <Empty screen title="There is no such page">
      <Link to="/" className="text-accent underline">
        Back to the overview
      </Link>
    </Empty>
  );
}
