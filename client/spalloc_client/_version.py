"""The one place where the version of the distribution is written."""

__version__ = "1.1.0"
