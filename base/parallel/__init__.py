"""Strategies that spread a model over processes and devices."""
