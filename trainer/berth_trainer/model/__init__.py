"""Loading a model and preparing it for training."""
