"""A tiny random model and dialogues for demos and tests."""
