"""Samplers, splits, workers, caches and transforms of data loaders."""
