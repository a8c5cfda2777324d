"""Diagnosis: exit record, log tail and kernel facts give an outcome and a sentence."""

from berth_worker.diagnose.verdict import Evidence, Verdict, judge

__all__ = ["Evidence", "Verdict", "judge"]
