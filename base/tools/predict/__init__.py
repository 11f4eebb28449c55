"""``test.py --predict``: predictions for data that have no targets."""
