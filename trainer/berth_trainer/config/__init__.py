"""Command line, config file, and the configuration of transformers and DeepSpeed."""
