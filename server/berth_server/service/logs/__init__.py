"""Reading what attempts write: log pages, log search, metrics, run files."""
