"""Where numbers and pictures are written to."""
