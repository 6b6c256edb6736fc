"""The one place that holds the version; see ``spalloc_server.__version__``."""

#: Three plain integers, at least 0.4.0 and below 2.0.0: every published
#: client parses the answer to ``version`` with ``int()`` and refuses others.
__version__ = "1.1.0"
