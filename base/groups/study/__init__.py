"""The trials of a search, in the storage of Optuna."""
