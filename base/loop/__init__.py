"""The building blocks of an epoch."""
