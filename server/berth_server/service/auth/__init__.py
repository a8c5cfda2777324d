"""Callers, tokens, browser sessions and login links."""
