"""Tests the runs of a group, and joins their predictions."""
