"""What may stand in a config."""
