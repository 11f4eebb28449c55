"""Checkpoints: the file, when it is written, what it holds."""
