"""Opens the history database that the administrator names."""

from __future__ import annotations

from spalloc_web._past.history import History
from spalloc_web._settings import SettingError, Settings


def open_history(settings: Settings) -> History | None:
    """Return the history, or None if none is named.

    The database itself need not be there yet: it is opened at the first question.

    Raises
    ------
    SettingError
        If the address is none, or the distribution's extra ``history`` is not installed.
    """
    if settings.history is None:
        return None
    raise SettingError(f"history {settings.history!r}: not readable yet")
