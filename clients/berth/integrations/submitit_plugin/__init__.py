"""Plug-in for submitit: `AutoExecutor(folder, cluster="berth")` runs functions as Berth's jobs."""
