"""
Pure scheduling: functions of a `Snapshot`, with no I/O and no clock.

`policy.plan` decides what starts, `placement.choose` on which GPUs, `explain.explain` says
why a job waits. Same snapshot, same answer.
"""
