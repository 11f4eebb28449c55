"""What an epoch is made of."""
