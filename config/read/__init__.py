"""Reads config files and overrides into one tree of values."""
