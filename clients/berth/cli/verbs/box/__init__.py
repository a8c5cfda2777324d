"""Verbs for the box: daemons, GPUs, reservations, sign-in and checks."""
