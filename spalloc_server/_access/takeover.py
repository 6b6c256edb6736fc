"""Codes by which a job changes hands.

Owns their form, their comparison and the limit on wrong tries.  Must not know jobs.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections import deque

#: 128 bits.
_CODE_BYTES = 16
#: Wrong tries for one job within `SECONDS_OF_TRIES`; further ones are not even compared.
MAX_TRIES = 5
SECONDS_OF_TRIES = 60.0


def new_code() -> str:
    """Return a fresh code: 128 random bits as hexadecimal digits."""
    return secrets.token_hex(_CODE_BYTES)


def hash_of(code: str) -> str:
    """Return the form in which a code is kept.

    A code has 128 random bits, so a plain hash cannot be searched backwards.
    """
    return hashlib.sha256(code.strip().lower().encode()).hexdigest()


class TooManyTriesError(ValueError):
    """A job's code was guessed at too often lately."""

    def __str__(self) -> str:
        return f"too many wrong codes: at most {MAX_TRIES} a minute may be tried for a job"


class Tries:
    """Wrong tries by job, of the last minute."""

    def __init__(self) -> None:
        self._wrong: dict[int, deque[float]] = {}

    def is_right(self, job_id: int, code: str, kept: str | None, now: float) -> bool:
        """Compare a code with the kept hash.

        Parameters
        ----------
        job_id : int
        code : str
            As the caller gave it.
        kept : str or None
            From `hash_of`; None if the job has no code, which no code matches.
        now : float
            Monotonic time, seconds.

        Raises
        ------
        TooManyTriesError
            If too many wrong ones were tried; the code is not compared then.
        """
        self._forget_old(now)
        if len(self._wrong.get(job_id, ())) >= MAX_TRIES:
            raise TooManyTriesError
        if hmac.compare_digest(hash_of(code), kept or ""):
            self._wrong.pop(job_id, None)
            return True
        self._wrong.setdefault(job_id, deque()).append(now)
        return False

    def _forget_old(self, now: float) -> None:
        for job_id, times in list(self._wrong.items()):
            while times and now - times[0] >= SECONDS_OF_TRIES:
                times.popleft()
            if not times:
                del self._wrong[job_id]
