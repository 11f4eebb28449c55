"""A notebook: trains in a cell what a config and the classes of the cell describe."""
