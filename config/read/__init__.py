"""From files and overrides to one tree of values."""
