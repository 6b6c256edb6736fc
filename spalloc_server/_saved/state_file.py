"""A state file: one whole state, behind a header that tells damage and age.

After the first line (see `_saved.saved_file`) comes a pickle of plain builtins and
nothing else.  Writing refuses what reading would refuse.  Must not know what
the state means, nor where the file lies.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from spalloc_server._saved.disk import Disk, create, discard, write_all
from spalloc_server._saved.saved_file import DamagedError, Header, first_line

State = dict[str, Any]

# Known to every Python since 3.8, which all states are to be read by.
_PICKLE_PROTOCOL = 4


class _PlainPickler(pickle.Pickler):
    """Refuses at the time of writing what could not be read again."""

    def reducer_override(self, obj: object) -> NoReturn:
        """Meet whatever is not exactly a plain builtin (an enum, a named tuple, ...)."""
        raise TypeError(f"{type(obj).__name__} does not belong into a state: {obj!r:.200}")


class _PlainUnpickler(pickle.Unpickler):
    """Admits no class and no function: nothing that a file names is ever run."""

    def find_class(self, module: str, name: str) -> NoReturn:
        """Refuse a name."""
        raise pickle.UnpicklingError(f"names {module}.{name}")


def encode(state: State, header: Header) -> bytes:
    """Return the whole content of a state file.

    Parameters
    ----------
    state : dict
        Plain builtins only: dict, list, tuple, set, frozenset, int, float,
        str, bytes, bool, None.
    header : Header
        All but the size and checksum of the body.

    Raises
    ------
    TypeError
        If something in the state is of another type.
    """
    buffer = io.BytesIO()
    _PlainPickler(buffer, _PICKLE_PROTOCOL).dump(state)
    body = buffer.getvalue()
    digest = hashlib.sha256(body).hexdigest()
    return replace(header, body_size=len(body), body_sha256=digest).line() + body


def decode(data: bytes, header: Header) -> State:
    """Return the state of a state file whose header has been read.

    Raises
    ------
    DamagedError
        If it is not what was written, or names anything but plain builtins.
    """
    body = data[len(first_line(data)) :]
    if len(body) != header.body_size:
        raise DamagedError(f"has {len(body)} bytes of state instead of {header.body_size}")
    if hashlib.sha256(body).hexdigest() != header.body_sha256:
        raise DamagedError("the checksum of its state is wrong")
    try:
        state = _PlainUnpickler(io.BytesIO(body)).load()
    except Exception as e:  # a pickle can raise anything
        raise DamagedError(f"its state cannot be read ({type(e).__name__}: {e})") from e
    if not isinstance(state, dict):
        raise DamagedError(f"its state is a {type(state).__name__}")
    return state


def looks_like_the_originals(data: bytes) -> bool:
    """Whether a file without our first line is a bare pickle.

    Those were written by the original spalloc_server.  They name classes that
    exist here too, and are never read.
    """
    return data[:1] == pickle.PROTO and len(data) > 1 and data[1] <= pickle.HIGHEST_PROTOCOL


def write(disk: Disk, path: Path, data: bytes) -> None:
    """Write a state file under a temporary name and wait until it is on disk.

    Raises
    ------
    OSError
        If the disk does not take it; nothing is left behind then.
    """
    fd = create(disk, path)
    try:
        try:
            write_all(disk, fd, data)
            disk.fsync(fd)
        finally:
            disk.close(fd)
    except OSError:
        discard(disk, path)
        raise


def keep_aside(disk: Disk, path: Path, *, replaced: bool) -> Path:
    """Give a file that could not be used a name under which it is never read.

    Parameters
    ----------
    path : Path
        The file.
    replaced : bool
        Whether another file is about to take its place: until then it keeps
        its name too, so that a crash in between changes nothing.

    Returns
    -------
    Path
        ``<name>.unreadable.<n>``, n from 1.
    """
    number = 1
    while os.path.lexists(aside := path.with_name(f"{path.name}.unreadable.{number}")):
        number += 1
    if replaced:
        try:
            disk.link(path, aside)
        except OSError:
            # No second names on this file system, perhaps; rename knows better errors.
            disk.rename(path, aside)
    else:
        disk.rename(path, aside)
    return aside
