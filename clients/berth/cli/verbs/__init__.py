"""Verbs of the command line, one file each; expensive imports stand inside the functions."""
