"""From files to a tree of values."""
