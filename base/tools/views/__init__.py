"""Views of each form of data, for reports and trackers."""
