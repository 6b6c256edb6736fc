"""Datagrams to systemd for a service of ``Type=notify``.

Owns the protocol of sd_notify(3).  Nothing happens where NOTIFY_SOCKET is unset.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)


def tell(environ: Mapping[str, str] = os.environ, **variables: str) -> bool:
    """Send assignments to the service manager in one datagram.

    Parameters
    ----------
    environ
        Of the process; NOTIFY_SOCKET is a path, or ``@`` and an abstract name.
    variables
        For example ``READY="1"``, ``STATUS="…"``.

    Returns
    -------
    bool
        Whether they were sent.
    """
    address = environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = f"\0{address[1:]}"
    text = "".join(f"{name}={' '.join(value.split())}\n" for name, value in variables.items())
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            # A manager that reads nothing must not hold up the pages.
            sender.setblocking(False)
            sender.sendto(text.encode(), address)
    except OSError as e:
        log.warning("the service manager was not told %s: %s", ", ".join(variables), e)
        return False
    return True


def watchdog_period(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return the seconds after which systemd kills a silent service; None: never."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        microseconds = int(environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 else None
