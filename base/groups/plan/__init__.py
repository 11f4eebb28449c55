"""Checks and estimates, before a search or a repetition starts."""
