"""Flags, the config file, and the settings of transformers and DeepSpeed made from them."""
