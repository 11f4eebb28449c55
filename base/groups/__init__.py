"""Groups: several runs of one config, such as a search, or a repetition over seeds and folds."""
