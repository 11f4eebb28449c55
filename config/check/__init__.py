"""What a config may say, and the check before a run."""
