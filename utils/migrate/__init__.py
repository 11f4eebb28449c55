"""Moves a pytorch-template project to Plainloop: ``python -m utils.migrate --help``."""
