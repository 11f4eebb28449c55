"""Transfer learning: start weights, a new head, freezing and thawing."""
