import { Link } from "@tanstack/react-router";
import { useExplanation, useJob } from "@/api/queries";
import { Dialog } from "@/components/Dialog";
import { ErrorMessage, Skeleton } from "@/components/Feedback";
import { ExplanationView } from "@/components/ExplanationView";
import { PENDING_STATES } from "@/model/jobs/job";
import { JobWhatIf } from "@/screens/job/JobWhatIf";

export function ExplainDialog({ id, onClose }: { id: number; onClose: () => void }) {
  const explanation = useExplanation(id);
  const job = useJob(id).data;
  return (
    <Dialog title={`Why job ${id} waits`} onClose={onClose} wide>
      {explanation.isError ? (
        <ErrorMessage error={explanation.error} retry={() => void explanation.refetch()} />
      ) : !explanation.data ? (
        <Skeleton rows={3} />
      ) : (
        <ExplanationView explanation={explanation.data} open />
      )}
      {job && PENDING_STATES.has(job.state) && job.gpus > 0 && <JobWhatIf job={job} />}
      <p className="mt-4 text-sm">
        <Link to="/jobs/$jobId" params={{ jobId: String(id) }} className="text-accent underline">
          Open job {id}
        </Link>
      </p>
    </Dialog>
  );
}
