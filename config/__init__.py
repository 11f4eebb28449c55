"""The experiments (``*.json``, ``*.yaml``) and the code that reads them."""

from config.parser import ConfigParser, CustomArgs
from config.read.section import Section
from config.read.source import ConfigError

__all__ = ["ConfigError", "ConfigParser", "CustomArgs", "Section"]
