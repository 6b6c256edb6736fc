"""A daemon that shares a SpiNNaker machine's boards among its users."""

from spalloc_server._version import __version__

__all__ = ("__version__",)
