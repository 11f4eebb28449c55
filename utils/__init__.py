"""Helpers for every other package. It exports those of pytorch-template, as ``utils`` did there."""

from utils.util import *
