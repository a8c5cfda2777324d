"""Background loops of the server, one per file."""
