"""The experiments (``*.json``, ``*.yaml``) and the code that reads them."""

from .parser import ConfigParser, CustomArgs
from .section import Section
from .source import ConfigError

__all__ = ["ConfigError", "ConfigParser", "CustomArgs", "Section"]
