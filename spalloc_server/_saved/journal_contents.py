"""The content of a journal, as a start finds it after a stop or a crash.

Owns reading: which records of a journal (see `_saved.journal`) count, and which are damaged,
foreign or torn.  Must not know what an outcome means.
"""

from __future__ import annotations

import json
import re
import zlib
from typing import Any, NamedTuple

from spalloc_server._saved.saved_file import DamagedError, first_line

_RECORD = re.compile(rb"([0-9a-f]{8}) (([1-9]\d{0,17}) (.*))")


class Contents(NamedTuple):
    """The content of a journal.

    `payloads` are the records up to the first that is missing, `size` the bytes up to
    there, `stray` the sound records after it: they do not count, but tell which
    ids were given out.  `problem` is None if every byte is accounted for;
    `torn` says that only the last record is incomplete, as a crash leaves it.
    """

    payloads: list[bytes]
    size: int
    stray: list[bytes]
    problem: str | None
    torn: bool


def read(data: bytes) -> Contents:
    """Read the records of a journal whose header has been read; never raises."""
    header = first_line(data)
    seed = int(header[-9:-1], 16)
    lines = data[len(header) :].split(b"\n")
    lines.pop()  # what follows the last line feed: nothing, or the torn record
    payloads: list[bytes] = []
    stray: list[bytes] = []
    size = end = len(header)
    rubbish = foreign = 0
    for line in lines:
        end += len(line) + 1
        payload = _payload(seed, line, len(payloads) + 1)
        if payload is not None:
            # Records carry numbers: none is missing before this one.
            payloads.append(payload)
            foreign, rubbish, size = foreign + rubbish, 0, end
            stray.clear()
        else:
            rubbish += len(line) + 1
            if (payload := _any_payload(seed, line)) is not None:
                stray.append(payload)
    cut = len(data) - size
    torn = bool(cut) and not rubbish and not foreign
    problem = None
    if cut:
        what = "damaged" if rubbish else "incomplete"
        problem = f"record {len(payloads) + 1} is {what}: the last {cut} bytes do not count"
    elif foreign:
        problem = f"{foreign} bytes between the records are not ours; no record is missing"
    return Contents(payloads, size, stray, problem, torn)


def decode(payload: bytes) -> list[tuple[Any, ...]]:
    """Return the outcomes of a record; tuples inside them have become lists.

    Raises
    ------
    DamagedError
        If it is no list of non-empty lists.
    """
    try:
        outcomes = json.loads(payload.decode("ascii"))
    except (ValueError, RecursionError) as e:
        raise DamagedError(f"is not JSON ({e})") from e
    if not isinstance(outcomes, list) or not all(isinstance(o, list) and o for o in outcomes):
        raise DamagedError("is no list of outcomes")
    return [tuple(outcome) for outcome in outcomes]


def _any_payload(seed: int, line: bytes) -> bytes | None:
    """Return the payload of a record; None if it is not sound."""
    match = _RECORD.fullmatch(line)
    if match is None or b"%08x" % zlib.crc32(match[2], seed) != match[1]:
        return None
    return match[4]


def _payload(seed: int, line: bytes, number: int) -> bytes | None:
    """Return the payload of the record with a number, which others' bytes may precede."""
    text = b"%d " % number
    start = line.find(b" " + text)
    while start >= 0:
        rest = line[start + 1 :]
        if start >= 8 and line[start - 8 : start] == b"%08x" % zlib.crc32(rest, seed):
            return rest[len(text) :]
        start = line.find(b" " + text, start + 1)
    return None
