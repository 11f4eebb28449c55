"""Training that starts from other weights."""
