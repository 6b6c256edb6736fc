"""Endpoints: the places where connections come in, and how each is opened.

Owns their forms (TCP by address, Unix sockets by path, with or without a proxy in front) and the
opening of their sockets.  Must not know the connections that come in.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import socket
import stat
import struct
from enum import Enum
from functools import cache
from pathlib import Path
from typing import NamedTuple

#: Anybody on this computer may connect to a Unix socket; the policy says who is served.
_MODE_FOR_ALL = 0o666
#: Only the proxy's group may connect where identities are told by a proxy.
_MODE_FOR_PROXY = 0o660
#: Of `SO_PEERCRED`: process, user and group, each an int.
_CREDENTIALS = struct.Struct("3i")
#: The user ids that this process can tell apart, and the one that it sees in the place of others;
#: see user_namespaces(7).
_UID_MAP, _OVERFLOW_UID = Path("/proc/self/uid_map"), Path("/proc/sys/kernel/overflowuid")
_ALL_UIDS = ["0", "0", "4294967295"]


class Kind(Enum):
    """Who connects at an endpoint, and how a client's identity is known there."""

    #: Clients, known by their IP address.
    tcp = "tcp"
    #: Users of this computer, known by their user id.
    unix = "unix"
    #: A proxy, whose header tells of the client.
    proxy = "proxy"


class Endpoint(NamedTuple):
    """A place where connections come in.

    Attributes
    ----------
    kind : Kind
    address : str
        Of TCP: a host or address of this computer, empty for all IPv4 addresses, ``::`` for
        all IPv6 ones.  Otherwise the absolute path of a Unix socket.
    port : int or None
        TCP; None for the server's own port.
    group : str or None
        Of a proxy's Unix socket: the group that may connect.
    """

    kind: Kind
    address: str
    port: int | None = None
    group: str | None = None

    @property
    def is_unix(self) -> bool:
        """Whether this is a Unix socket."""
        return self.address.startswith("/")

    def __str__(self) -> str:
        if self.is_unix:
            return self.address
        where = self.address or "any address"
        return where if self.port is None else f"{where}, port {self.port}"


class HiddenUserError(OSError):
    """A local user who cannot be told from others, since the process runs in a user namespace."""

    def __str__(self) -> str:
        return (
            "the user is hidden from this process, which sees a few user ids only "
            "(PrivateUsers=yes of systemd, or a container)"
        )


def tcp_endpoints(addresses: str) -> list[Endpoint]:
    """Return the endpoints for addresses separated by commas; empty for all of IPv4.

    Raises
    ------
    ValueError
        If an address is empty beside others.
    """
    names = [name.strip() for name in addresses.split(",")]
    if len(names) > 1 and not all(names):
        raise ValueError(
            f"addresses {addresses!r}: an address is empty; expected them separated by commas, "
            "0.0.0.0 for all of IPv4, :: for all of IPv6"
        )
    return [Endpoint(Kind.tcp, name) for name in dict.fromkeys(names)]


def proxy_endpoint(text: str, group: str | None = None) -> Endpoint:
    """Return the endpoint for a proxy: an absolute path, or ``ADDRESS:PORT``.

    Raises
    ------
    ValueError
        If it is neither.
    """
    if text.startswith("/"):
        return Endpoint(Kind.proxy, text, group=group)
    address, colon, port = text.rpartition(":")
    address = address.removeprefix("[").removesuffix("]")
    if not colon or not address or not port.isdecimal() or not 0 <= int(port) < 65536:
        raise ValueError(
            f"{text!r} is no place for a proxy: expected an absolute path, or ADDRESS:PORT"
        )
    return Endpoint(Kind.proxy, address, int(port))


def open_unix(endpoint: Endpoint, backlog: int) -> socket.socket:
    """Listen on a Unix socket; one that a dead server left behind is replaced.

    Returns
    -------
    socket.socket
        Non-blocking, not registered anywhere.

    Raises
    ------
    OSError
        If it cannot be had, or another process listens there; nothing is left behind.
    """
    path = Path(endpoint.address)
    _remove_if_dead(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.setblocking(False)
        listening.bind(str(path))
        try:
            # Before anybody can connect: nobody is admitted until listen().
            if endpoint.group is not None:
                shutil.chown(path, group=endpoint.group)
            path.chmod(_MODE_FOR_PROXY if endpoint.kind is Kind.proxy else _MODE_FOR_ALL)
            listening.listen(backlog)
        except LookupError as e:
            path.unlink()
            raise OSError(errno.EINVAL, f"there is no group {endpoint.group!r}") from e
        except BaseException:
            path.unlink()
            raise
    except BaseException:
        listening.close()
        raise
    return listening


def close_unix(listening: socket.socket) -> None:
    """Close a Unix socket, and remove its path if it is still this socket's."""
    with contextlib.suppress(OSError):
        path = Path(listening.getsockname())
        if stat.S_ISSOCK(path.lstat().st_mode) and _nobody_else_listens(path, listening):
            path.unlink()
    listening.close()


def _nobody_else_listens(path: Path, listening: socket.socket) -> bool:
    """Whether a connection to a path would come in at this socket."""
    listening.close()
    return not _is_served(path)


def _remove_if_dead(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise OSError(errno.EEXIST, "a file that is no socket is in the way")
    if _is_served(path):
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    path.unlink()


def _is_served(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as trial:
        trial.setblocking(False)
        try:
            trial.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True  # its queue is full, or it is not ours to try
        return True


def user_id_of(client: socket.socket) -> int:
    """Return the user id of the process that connected to a Unix socket.

    Raises
    ------
    HiddenUserError
        If this process cannot tell the user from others.
    OSError
        If the connection is gone.
    """
    told = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    uid = int(_CREDENTIALS.unpack(told)[1])
    if uid == _stand_in_uid():
        raise HiddenUserError
    return uid


@cache
def _stand_in_uid() -> int | None:
    """Return the user id that stands for all that are hidden; None if none are."""
    if _UID_MAP.read_text().split() == _ALL_UIDS:
        return None
    return int(_OVERFLOW_UID.read_text())
