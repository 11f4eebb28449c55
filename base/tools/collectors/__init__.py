"""Collectors of data that are no rows of numbers."""
