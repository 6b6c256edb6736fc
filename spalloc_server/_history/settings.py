"""Small things that are kept in the database by name."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from spalloc_server._history.tables import settings

#: The first day, since 1970-01-01, of which the sums have not been deleted.
KEPT_FROM = "kept_from"


def read_setting(connection: Connection, name: str) -> str | None:
    """Return a setting; None if it was never written."""
    return connection.scalar(select(settings.c.value).where(settings.c.name == name))


def write_setting(connection: Connection, name: str, value: str) -> None:
    """Write a setting."""
    changed = connection.execute(
        update(settings).where(settings.c.name == name).values(value=value)
    )
    if not changed.rowcount:
        connection.execute(insert(settings).values(name=name, value=value))
