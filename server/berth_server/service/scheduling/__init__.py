"""Scheduling: from the database to a snapshot, from a plan to attempts with leases."""
