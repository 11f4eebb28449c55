"""Collectors of data other than rows of numbers."""
