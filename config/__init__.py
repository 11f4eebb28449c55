"""The experiments (``*.json``, ``*.yaml``) and the code that reads them."""

from .parser import ConfigParser, CustomArgs, Section
from .source import ConfigError

__all__ = ["ConfigError", "ConfigParser", "CustomArgs", "Section"]
