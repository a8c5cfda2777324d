"""Rules about attempts: the worker's reports, endings, ports, and the one status setter."""
