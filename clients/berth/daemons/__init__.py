"""Supervision of the daemons, as `berth up` starts it. Standard library only."""
