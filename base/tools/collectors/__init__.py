"""What reports and trackers collect of each form of data that is not rows of numbers."""
