"""`make demo`: two 4-GPU DeepSpeed runs share an 8-GPU box while you watch."""
