"""The version of the framework that this project holds."""

VERSION = "0.7.0"
