"""Moves a pytorch-template project into this framework: ``python -m utils.migrate PROJECT --to NEW_FOLDER``."""
