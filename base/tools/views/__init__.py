"""What reports and trackers show of each form of data."""
