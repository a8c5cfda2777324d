"""A training run: session, callbacks, evaluation, stop signals, prediction."""
