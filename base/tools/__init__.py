"""Tools that observe a training from outside, or read the files of a run."""
