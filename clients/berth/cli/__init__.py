"""The `berth` command: one file per verb under `verbs`. Starts light; see `main`."""
