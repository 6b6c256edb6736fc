"""Descriptors of this process as a service: those it was started with, and those that outlive it.

Looks at the environment that a service manager gives, once, at the start.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable, MutableMapping
from typing import Any

from spalloc_server._wire.carrier import Carrier
from spalloc_server._wire.endpoints import Endpoint, Kind
from spalloc_server._wire.fd_store import FdStore, Inherited, take_inherited

log = logging.getLogger(__name__)

#: Name of a ``.socket`` unit's descriptor at which proxies connect.
_PROXY = "proxy"
#: Seconds that the service manager may take to say whether it keeps descriptors. # arbitrary
_PATIENCE = 1.0


def carrier_options(environ: MutableMapping[str, str] | None = None) -> dict[str, Any]:
    """Return the server's options about descriptors that it was started with, or that outlive it.

    Parameters
    ----------
    environ : mapping
        Of the process; the variables about inherited descriptors are removed from it.

    Returns
    -------
    dict
        carrier, if a service manager keeps connections; listening, if it opened sockets.
    """
    environ = os.environ if environ is None else environ
    inherited = take_inherited(environ)
    address = environ.get("NOTIFY_SOCKET", "")
    options: dict[str, Any] = {}
    if address.startswith(("/", "@")):
        try:
            carrier = _carrier(address, inherited)
        except OSError as e:
            carrier = None
            log.warning("connections end with this process: %s", e)
        if carrier is not None:
            options["carrier"] = carrier
            inherited = carrier.strangers
    listening = listening_sockets(inherited)
    if listening:
        options["listening"] = listening
    return options


def _carrier(address: str, inherited: list[Inherited]) -> Carrier | None:
    """Return a keeper of connections; None if the service manager has no room for them."""
    store = FdStore(address)
    try:
        carrier = Carrier(store, inherited)
        # Descriptors that came back prove the room.
        if len(carrier.strangers) == len(inherited) and not store.takes_descriptors(_PATIENCE):
            log.info(
                "connections end with this process: the service manager keeps none "
                "(FileDescriptorStoreMax= of the unit)"
            )
            store.close()
            return None
    except BaseException:
        store.close()
        raise
    return carrier


def listening_sockets(inherited: Iterable[Inherited]) -> dict[Endpoint, socket.socket]:
    """Return the sockets that a ``.socket`` unit opened, by endpoint; others are closed.

    A unit with ``FileDescriptorName=proxy`` is a place for proxies; others are for clients.
    """
    found: dict[Endpoint, socket.socket] = {}
    for each in inherited:
        try:
            listening = socket.socket(fileno=each.descriptor)
        except OSError as e:
            log.warning("descriptor %r is no socket and is closed: %s", each.name, e)
            os.close(each.descriptor)
            continue
        endpoint = _endpoint_of(each.name, listening)
        if endpoint is None or endpoint in found:
            log.warning("socket %r does not listen for clients and is closed", each.name)
            listening.close()
            continue
        listening.setblocking(False)
        found[endpoint] = listening
    return found


def _endpoint_of(name: str, listening: socket.socket) -> Endpoint | None:
    if not listening.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        return None
    where = listening.getsockname()
    if listening.family == socket.AF_UNIX:
        return Endpoint(Kind.proxy if name == _PROXY else Kind.unix, str(where))
    if listening.family not in (socket.AF_INET, socket.AF_INET6):
        return None
    if name == _PROXY:
        return Endpoint(Kind.proxy, where[0], where[1])
    return Endpoint(Kind.tcp, where[0])
