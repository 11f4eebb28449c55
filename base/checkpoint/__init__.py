"""Checkpoints: their files, when to write them, and how to resume from them."""
