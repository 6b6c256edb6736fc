"""Datagrams to systemd, or another that started this as a service of ``Type=notify``.

Owns the protocol of sd_notify(3): where to send, how it is written, how often
the watchdog wants to be fed.  Nothing happens where NOTIFY_SOCKET is unset.
Knows nothing of servers.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Mapping

log = logging.getLogger(__name__)


class ServiceManager:
    """The service manager that started this, if any.

    Parameters
    ----------
    environ : mapping
        Of the process: NOTIFY_SOCKET (a path, or ``@`` and an abstract name),
        WATCHDOG_USEC and WATCHDOG_PID are looked at.

    Attributes
    ----------
    watchdog : float or None
        Seconds without a sign of life after which the service is killed; None
        if nobody watches.
    """

    def __init__(self, environ: Mapping[str, str] = os.environ) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self.watchdog = _watchdog(environ)

    @property
    def listens(self) -> bool:
        """Whether there is anybody to tell."""
        return self._address is not None

    def tell(self, **variables: str | int) -> bool:
        """Send assignments in one datagram; returns whether they were sent.

        A manager that does not take them is no reason to fail: it is logged, and
        messages that must arrive are sent again.
        """
        if self._address is None:
            return False
        text = "".join(f"{name}={_line(value)}\n" for name, value in variables.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                # A manager that reads nothing must not hold up this program.
                sender.settimeout(1.0)
                sender.sendto(text.encode(), self._address)
        except OSError as e:
            log.warning("the service manager was not told %s: %s", ", ".join(variables), e)
            return False
        return True


def _address(text: str) -> str | None:
    if text.startswith("@"):
        return f"\0{text[1:]}"
    if text.startswith("/"):
        return text
    if text:
        log.warning("NOTIFY_SOCKET %r is neither a path nor an abstract name", text)
    return None


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """Return the watchdog's period if it is this process that is watched."""
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        microseconds = int(environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return microseconds / 1e6 if microseconds > 0 else None


def _line(value: str | int) -> str:
    return " ".join(str(value).split())
