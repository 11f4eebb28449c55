"""Which samples make which batch, and where they are kept."""
