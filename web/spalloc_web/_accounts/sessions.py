"""Sessions: from a log-in to a log-out, the end of its time, or the end of this process.

A session is known by the SHA-256 of a random token that only the browser has.  Sessions are kept
in memory alone, so that a restart logs everybody out.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from spalloc_web._accounts.users import User, Users

#: Seconds from a log-in to its end, and without a request.
LONGEST, IDLE = 12 * 3600.0, 2 * 3600.0
#: Sessions at a time, of one user and of all; beyond it the oldest ends.
MOST_OF_ONE, MOST = 20, 10_000
#: Results of orders that a session remembers.
MOST_RESULTS = 20

Result = TypeVar("Result")


@dataclass
class Session(Generic[Result]):
    """One session.

    Attributes
    ----------
    name : str
        Of the user.
    password : str
        The hash that was right at log-in: another password ends the session.
    began, seen : float
        Monotonic seconds of the log-in and of the last request.
    results : dict
        Results of orders by random keys, the newest last.
    """

    name: str
    password: str
    began: float
    seen: float
    results: OrderedDict[str, Result] = field(default_factory=OrderedDict)

    def keep(self, result: Result) -> str:
        """Remember a result, and return the key that names it."""
        key = secrets.token_urlsafe(9)
        self.results[key] = result
        while len(self.results) > MOST_RESULTS:
            self.results.popitem(last=False)
        return key


class Sessions(Generic[Result]):
    """All sessions.

    Parameters
    ----------
    users : Users
        Asked at each look-up, so that a removed user is out at once.
    clock : callable
        Returns monotonic seconds; tests replace it.
    """

    def __init__(self, users: Users, clock: Callable[[], float] = time.monotonic) -> None:
        self._users = users
        self._clock = clock
        # The oldest first.
        self._sessions: OrderedDict[str, Session[Result]] = OrderedDict()

    def open(self, user: User) -> str:
        """Begin a session, and return its token, for the browser alone."""
        token = secrets.token_urlsafe(32)
        now = self._clock()
        self._make_room(user.name)
        self._sessions[_key(token)] = Session(user.name, user.password, now, now)
        return token

    def _make_room(self, name: str) -> None:
        own = [key for key, session in self._sessions.items() if session.name == name]
        for key in own[: max(0, len(own) - MOST_OF_ONE + 1)]:
            del self._sessions[key]
        if len(self._sessions) >= MOST:
            self._sessions.popitem(last=False)

    def find(self, token: str) -> tuple[User, Session[Result]] | None:
        """Return the user and session of a token, and count it as seen; None if it is over."""
        found = self._valid(token)
        if found:
            found[1].seen = self._clock()
        return found

    def is_open(self, token: str) -> bool:
        """Whether a session goes on; this does not count as seen."""
        return self._valid(token) is not None

    def _valid(self, token: str) -> tuple[User, Session[Result]] | None:
        key = _key(token)
        session = self._sessions.get(key)
        if session is None:
            return None
        now = self._clock()
        user = self._users.get(session.name)
        if (
            user is None
            or user.password != session.password
            or now - session.began >= LONGEST
            or now - session.seen >= IDLE
        ):
            del self._sessions[key]
            return None
        return user, session

    def close(self, token: str) -> None:
        """End a session, if it has not ended."""
        self._sessions.pop(_key(token), None)

    def close_all(self, name: str) -> int:
        """End all sessions of a user, and return how many there were."""
        own = [key for key, session in self._sessions.items() if session.name == name]
        for key in own:
            del self._sessions[key]
        return len(own)

    def count(self, name: str) -> int:
        """Return how many sessions a user has."""
        return sum(session.name == name for session in self._sessions.values())


def _key(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
