"""What looks at a training from outside."""
