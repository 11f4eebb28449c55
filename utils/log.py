"""Loggers before a run has set up its logging."""

from __future__ import annotations

import logging
import sys


def get_logger(name: str, level: int) -> logging.Logger:
    """Returns a logger; where nothing has set up logging yet, it prints plain lines."""
    if not logging.getLogger().handlers:
        logging.basicConfig(format="%(message)s", stream=sys.stdout, level=logging.INFO)
    logger = logging.getLogger(name)
    logger.setLevel(level)
    return logger
