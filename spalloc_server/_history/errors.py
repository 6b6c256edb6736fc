"""Troubles with a history, told to people."""


class HistoryError(Exception):
    """A database that cannot be used, or a question that it cannot answer; for people."""


class TooSlow(HistoryError):  # noqa: N818 - not a mistake of anybody's
    """A question that took longer than allowed, and was given up."""
