"""The experiments (``*.json``, ``*.yaml``), and the code that reads, checks and builds them."""

from config.command_line import CustomArgs, parse_args
from config.parser import ConfigParser
from config.read.section import Section
from config.read.tree import ConfigError

__all__ = ["ConfigError", "ConfigParser", "CustomArgs", "Section", "parse_args"]
