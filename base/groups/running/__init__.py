"""Runs the trials of a search, and the runs of a repetition."""
