"""Routes, one file per resource: parse, authorise, call, answer."""
