"""Log-ins: a name and a password become a session, or are refused without a hint.

Owns the order of checks: the delay first, then the hash, in a thread, even for names that are
nobody's, so that time tells nothing either.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spalloc_web._accounts import passwords
from spalloc_web._accounts.delays import Delays
from spalloc_web._accounts.sessions import Sessions
from spalloc_web._accounts.users import Users

log = logging.getLogger(__name__)

#: Hashes computed at a time, 32 MiB each, and log-ins that may wait for it.
AT_A_TIME, MOST_WAITING = 2, 32


class WrongError(Exception):
    """Name or password is wrong; which of them is not told."""

    def __str__(self) -> str:
        return "Name or password is wrong."


class LaterError(Exception):
    """A try that was not compared; `seconds` is when to come again."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = max(1, math.ceil(seconds))

    def __str__(self) -> str:
        unit = "second" if self.seconds == 1 else "seconds"
        return f"Too many tries that were wrong: try again in {self.seconds} {unit}."


class Accounts:
    """Users that may log in, and those that are logged in.

    Parameters
    ----------
    path : Path
        The users' file.
    clock : callable
        Returns monotonic seconds; tests replace it.

    Raises
    ------
    UsersFileError
        If the file cannot be read.

    Attributes
    ----------
    users : Users
    sessions : Sessions
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.users = Users(path)
        self.sessions: Sessions[Any] = Sessions(self.users, clock)
        self._delays = Delays(clock)
        self._hashing = asyncio.Semaphore(AT_A_TIME)
        self._waiting = 0

    async def log_in(self, name: str, password: str, address: str | None) -> str:
        """Begin a session.

        Parameters
        ----------
        name, password : str
            As given.
        address : str or None
            Of the browser, for the delays and the log.

        Returns
        -------
        str
            The session's token.

        Raises
        ------
        WrongError
            If there is no such user, or it is another's password.
        LaterError
            If nothing was compared, since too many tries were wrong or too many wait.
        """
        if self._waiting >= MOST_WAITING:
            raise LaterError(2)
        wait = self._delays.begin(name, address)
        if wait:
            log.warning("log-in from %s not tried: %.0f s to wait", address, wait)
            raise LaterError(wait)
        user = self.users.get(name)
        right = await self._compare(password, user.password if user else _nobodys_hash())
        if user is None or not right:
            # A name that is nobody's may be a password in the wrong field.
            shown = user.name if user else "a name that is nobody's"
            log.warning("log-in from %s refused: %s", address, shown)
            raise WrongError
        self._delays.succeed(name, address)
        log.info("%s logged in from %s", user.name, address)
        return self.sessions.open(user)

    async def _compare(self, password: str, hashed: str) -> bool:
        self._waiting += 1
        try:
            async with self._hashing:
                right = await asyncio.to_thread(
                    passwords.is_right, password[: passwords.LONGEST + 1], hashed
                )
        finally:
            self._waiting -= 1
        return right and len(password) <= passwords.LONGEST


def _nobodys_hash() -> str:
    """Return a hash that no password has, as costly to compare as a new one."""
    salt, key = (base64.b64encode(os.urandom(size)).decode() for size in (16, 32))
    return "$".join(("scrypt", *map(str, passwords.COST), salt, key))
