"""Corpora, prompts, encoding and packing."""
