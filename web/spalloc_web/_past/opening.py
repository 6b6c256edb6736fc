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
        If its address is none, or the reading functions are not installed.
    """
    if settings.history is None:
        return None
    try:
        from spalloc_server._history.database import (  # noqa: PLC0415 - an extra
            HistoryError,
            database_url,
        )
        from spalloc_web._past.database import Database  # noqa: PLC0415
    except ImportError as e:
        raise SettingError(
            f"history {settings.history!r} needs what reads it: install spalloc-web[history]"
        ) from e
    try:
        database_url(settings.history)
    except HistoryError as e:
        raise SettingError(f"history: {e}") from e
    return History(Database(settings.history))
