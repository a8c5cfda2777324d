"""Training runs: session, callbacks, evaluation, stop signals, prediction."""
