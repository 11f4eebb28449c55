"""The trackers that a Writer writes to: one file each."""
