"""Helpers that know nothing of the rest of the project: ``from utils import MetricTracker, inf_loop``."""

from utils.util import *
