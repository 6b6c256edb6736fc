"""Pseudonyms, which take the place of people's names past their day.

Owns which parts of events, of lines of the job log and of ended jobs are names: of owners, of
computers and of principals.  A pseudonym is ``user-`` or ``host-`` and twelve hexadecimal digits
of a keyed hash, so that the same person has the same one in all files of a server.  Knows no
files.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

#: Parts of events that are names of people, of computers, and identities.
_PEOPLE = ("owner", "if_owner", "told")
_HOSTS = ("host", "by_host")
_PRINCIPALS = ("by", "by_principal", "principal")
#: Parts in which users and operators may have written anything.
_TEXTS = ("reason", "text", "fault", "done")

_PSEUDONYM = re.compile(r"(?:user|host)-[0-9a-f]{12}")
_IN_BYTES = re.compile(_PSEUDONYM.pattern.encode())
_WORD = re.compile(r"[^\s,;()<>\"'\[\]{}]+")
#: Signs after a word that are not of it.
_AFTER = ".:!?"

#: The first time in an event; those of our own stand before any text of users.
_EVENT_TIME = re.compile(rb'"time":(\d+(?:\.\d+)?)')
_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode

#: Digits of a line's time in the job log, and the lines in which names are.
_LOG_TIME = len("2026-01-01 00:00:00")
_CREATED = re.compile(r"(.* owner=)(.*)( keepalive=\S+ host=)(\S+)", re.DOTALL)
_ENDED_BY = re.compile(r"( \(by [a-z]+ )(\S+)(\))$")
_NO_NAMES = re.compile(r"\S+ \S+ job \d+: (?:power|links) o(?:n|ff): ")


class Pseudonyms:
    """Makes pseudonyms.

    Parameters
    ----------
    key : bytes
        Random; the same key makes the same pseudonyms.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def person(self, name: str) -> str:
        """Return the pseudonym of an owner or another person."""
        return self._of("user", name)

    def host(self, name: str) -> str:
        """Return the pseudonym of a computer's address."""
        return self._of("host", name)

    def principal(self, name: str) -> str:
        """Return the pseudonym of an identity, such as ``user:user-0123456789ab``."""
        kind, colon, bare = name.partition(":")
        if not colon:
            return name
        return f"{kind}:{self.host(bare) if kind == 'host' else self.person(bare)}"

    def _of(self, kind: str, name: str) -> str:
        if not name or _PSEUDONYM.fullmatch(name):
            return name
        data = name.encode("utf-8", "surrogatepass")
        return f"{kind}-{hmac.new(self._key, data, hashlib.sha256).hexdigest()[:12]}"


class Forgetter:
    """Cleans all that is older than a moment; first it learns the names there are.

    Parameters
    ----------
    pseudonyms : Pseudonyms
    until : float
        Unix time: older events and ended jobs are cleaned.
    log_until : float
        The same for the job log, whose days are local.
    """

    def __init__(self, pseudonyms: Pseudonyms, until: float, log_until: float) -> None:
        self.until = until
        self._log_until = log_until
        self._pseudonyms = pseudonyms
        # Known pseudonyms: a word of a text is a name if it has one of these.
        self._known: set[str] = set()
        # {name: pseudonym} of names of several words.
        self._phrases: dict[str, str] = {}
        self._pattern: re.Pattern[str] | None = None

    # --- learning ---

    def learn_event(self, line: bytes) -> None:
        """Learn the names in an event."""
        self._learn_pseudonyms(line)
        event = _event(line) if self._is_past(line) else None
        if event is not None:
            self._learn_names(event)

    def learn_log(self, line: bytes) -> None:
        """Learn the names in a line of the job log."""
        self._learn_pseudonyms(line)
        text = self._past_log(line)
        found = None if text is None else _CREATED.fullmatch(text)
        if found is not None:
            self._learn_names({"owner": found[2], "host": found[4]})

    def learn_ended(self, row: list[Any]) -> None:
        """Learn the names in a plain row of `_jobs.ended_jobs`."""
        owner, host, *_, by_host, by_principal = row
        told = {"owner": owner, "host": host, "by_host": by_host, "by_principal": by_principal}
        self._learn_names(told)

    def _learn_pseudonyms(self, line: bytes) -> None:
        self._known.update(found.decode() for found in _IN_BYTES.findall(line))

    def _learn_names(self, event: dict[str, Any]) -> None:
        for name, pseudonym in self._names(event):
            self._known.update((pseudonym, pseudonym.rpartition(":")[2]))
            if not _WORD.fullmatch(name) or name[-1] in _AFTER:
                self._phrases[name] = pseudonym
                self._pattern = None

    def _names(self, event: dict[str, Any]) -> list[tuple[str, str]]:
        """Return the names in an event that are names as a whole, with their pseudonyms."""
        return [
            (value, called(value))
            for keys, called in self._callers()
            for key in keys
            if isinstance(value := event.get(key), str) and value != called(value)
        ]

    def _callers(self) -> tuple[tuple[tuple[str, ...], Callable[[str], str]], ...]:
        names = self._pseudonyms
        return (_PEOPLE, names.person), (_HOSTS, names.host), (_PRINCIPALS, names.principal)

    # --- cleaning ---

    def event(self, line: bytes) -> bytes:
        """Return an event's line without names; the same object if it had none to forget.

        A line that a crash cut off has no names if it is gone.
        """
        if not self._is_past(line):
            return line
        event = _event(line)
        if event is None:
            return b""
        clean = self._clean(event)
        if clean == event:
            return line
        return _encode(clean).encode("ascii") + b"\n" * line.endswith(b"\n")

    def _clean(self, event: dict[str, Any]) -> dict[str, Any]:
        clean = dict(event)
        for keys, called in self._callers():
            for key in keys:
                if isinstance(event.get(key), str):
                    clean[key] = called(event[key])
        for key in _TEXTS:
            if isinstance(event.get(key), str):
                clean[key] = self.text(event[key])
        return clean

    def log_line(self, line: bytes) -> bytes:
        """Return a line of the job log without names; the same object if it had none."""
        text = self._past_log(line)
        if text is None or _NO_NAMES.match(text):
            return line
        created = _CREATED.fullmatch(text)
        if created is not None:
            person, host = self._pseudonyms.person(created[2]), self._host(created[4])
            clean = f"{created[1]}{person}{created[3]}{host}"
        else:
            clean = self.text(_ENDED_BY.sub(self._ended_by, text))
        if clean == text:
            return line
        return clean.encode("utf-8", "surrogateescape") + b"\n" * line.endswith(b"\n")

    def _ended_by(self, found: re.Match[str]) -> str:
        return f"{found[1]}{self._pseudonyms.host(found[2])}{found[3]}"

    def _host(self, text: str) -> str:
        return text if text == "None" else self._pseudonyms.host(text)

    def ended(self, row: list[Any], reason: str | None) -> tuple[list[Any], str | None]:
        """Return a plain row of `_jobs.ended_jobs`, and its reason, without names."""
        owner, host, *middle, by, by_host, by_principal = row
        names = self._pseudonyms
        clean = [
            names.person(owner),
            host and names.host(host),
            *middle,
            by,
            by_host and names.host(by_host),
            by_principal and names.principal(by_principal),
        ]
        return clean, None if reason is None else self.text(reason)

    def text(self, text: str) -> str:
        """Return a text with the pseudonyms of the names that were learned."""
        if self._phrases:
            if self._pattern is None:
                longest_first = sorted(self._phrases, key=len, reverse=True)
                words = "|".join(map(re.escape, longest_first))
                self._pattern = re.compile(rf"(?<!\w)(?:{words})(?!\w)")
            text = self._pattern.sub(lambda found: self._phrases[found[0]], text)
        return _WORD.sub(self._word, text)

    def _word(self, found: re.Match[str]) -> str:
        word = found[0].rstrip(_AFTER)
        rest = found[0][len(word) :]
        names = self._pseudonyms
        for called in (names.person, names.host, names.principal):
            if (pseudonym := called(word)) in self._known:
                return pseudonym + rest
        return found[0]

    # --- ages ---

    def _is_past(self, line: bytes) -> bool:
        found = _EVENT_TIME.search(line)
        return found is not None and float(found[1]) < self.until

    def _past_log(self, line: bytes) -> str | None:
        """Return a line of the job log as text, without its line feed, if it is old enough."""
        text = line.decode("utf-8", "surrogateescape").removesuffix("\n")
        try:
            moment = datetime.fromisoformat(text[:_LOG_TIME]).timestamp()
        except (ValueError, OverflowError, OSError):
            return None
        return text if moment < self._log_until else None


def _event(line: bytes) -> dict[str, Any] | None:
    """Read an event's line; None if it is none."""
    try:
        event = json.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, dict) else None
