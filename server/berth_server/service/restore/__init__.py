"""Restore: what the run directories know beside a copy of the database, and its adoption."""
