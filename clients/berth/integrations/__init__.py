"""Plug-ins by which other tools use the queue: submitit, Hydra, coding agents (MCP)."""
