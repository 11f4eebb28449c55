"""A project that a user owns: what it takes from the framework, and where it comes from."""
