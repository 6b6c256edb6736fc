"""Ids of owners, hosts, networks and machines.

Owns the tables `names` and `machines`.  Lives as long as one transaction.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, Table, insert, select

from spalloc_server._history.tables import machines, names

#: Hosts with so many bits of their addresses in common are one network.
NETWORK_BITS = 24


def network_of(host: str) -> str | None:
    """Return the network of an IPv4 address, such as ``10.1.2.0/24``; None of any other text."""
    try:
        network = ipaddress.IPv4Network(f"{host}/{NETWORK_BITS}", strict=False)
    except ValueError:
        return None
    return str(network)


def insert_row(connection: Connection, table: Table, values: Mapping[str, Any]) -> int:
    """Insert a row into a table with keys that count up by themselves; returns its key."""
    key = connection.execute(insert(table).values(**values)).inserted_primary_key
    assert key is not None
    return int(key[0])


class Names:
    """Finds ids, and gives new ones.

    Parameters
    ----------
    connection : Connection
        Of a transaction that outlives this.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._ids: dict[tuple[str, str], int] = {}

    def owner(self, name: str) -> int:
        """Return the id of an owner."""
        return self._id("owner", name)

    def host(self, name: str | None) -> int | None:
        """Return the id of a host; None for none."""
        return None if not name else self._id("host", name)

    def principal(self, name: str | None) -> int | None:
        """Return the id of a principal; None for none."""
        return None if not name else self._id("party", name)

    def network(self, host: str | None) -> int | None:
        """Return the id of a host's network; None if it has none."""
        network = None if not host else network_of(host)
        return None if network is None else self._id("network", network)

    def machine(self, name: str) -> int:
        """Return the id of a machine."""
        found = self._ids.get(("machine", name))
        if found is None:
            found = self._connection.scalar(select(machines.c.id).where(machines.c.name == name))
            if found is None:
                found = insert_row(self._connection, machines, {"name": name})
            self._ids["machine", name] = found
        return found

    def pseudonym(self, kind: str, name: str) -> int:
        """Return the id of a pseudonym."""
        return self._id(kind, name, pseudonym=True)

    def _id(self, kind: str, name: str, *, pseudonym: bool = False) -> int:
        found = self._ids.get((kind, name))
        if found is None:
            found = self._connection.scalar(
                select(names.c.id).where(names.c.kind == kind, names.c.name == name)
            )
            if found is None:
                row = {"kind": kind, "name": name, "pseudonym": pseudonym}
                found = insert_row(self._connection, names, row)
            self._ids[kind, name] = found
        return found
