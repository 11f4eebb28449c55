"""Defines what a config may contain, and checks it before a run."""
