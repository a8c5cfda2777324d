"""The whole command on Typer: help, completion, mistakes, and every option of every verb."""
