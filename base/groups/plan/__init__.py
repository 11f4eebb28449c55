"""What is found out before a search or a repetition starts."""
