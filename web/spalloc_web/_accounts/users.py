"""The users' file: read, checked, and replaced as a whole.

The file is JSON, written by ``spalloc-web user``::

    {"format": 1, "users": [{"name": "ada", "access": "use", "password": "scrypt$...",
                             "labels": ["ada@example.org"]}]}

It belongs to the user that runs the pages, or to root, and nobody else may read it.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from spalloc_web._accounts.passwords import parts_of
from spalloc_web._accounts.rights import ACCESS, Access

log = logging.getLogger(__name__)

FORMAT = 1
#: A name is part of a rule ``user:NAME`` at the server, where ``*`` has a meaning.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
LONGEST_LABEL = 256


class UsersFileError(Exception):
    """The users' file cannot be read, or cannot be as it is; the text names it."""


class User(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user.

    Attributes
    ----------
    name : str
        As in the server's rules and audit, after ``user:``.
    access : str
        One of `ACCESS`: see names; also end own jobs and report boards; also give orders.
    password : str
        Hash, see `spalloc_web._accounts.passwords`.
    labels : list of str
        Owners, as jobs have them, that stand for this user; the name itself always does.
    """

    name: str
    access: Access
    password: str
    labels: list[str] = []

    def __repr__(self) -> str:
        return f"User({self.name!r}, {self.access!r})"

    def may(self, access: Access) -> bool:
        """Whether the user has at least these rights."""
        return ACCESS.index(self.access) >= ACCESS.index(access)

    def is_owner(self, label: str | None) -> bool:
        """Whether a job's owner stands for this user."""
        return label is not None and label in (self.name, *self.labels)


class _Content(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    users: list[User]


def read_users(path: Path) -> dict[str, User]:
    """Read the users' file.

    Returns
    -------
    dict of User
        By name.

    Raises
    ------
    UsersFileError
        If it cannot be read, others could have read or changed it, or something in it cannot be.
    """
    try:
        with path.open("rb") as file:
            _check_owner(path, os.fstat(file.fileno()))
            content = msgspec.json.decode(file.read(), type=_Content)
    except OSError as e:
        raise UsersFileError(f"users' file {path}: {e.strerror or e}") from e
    except (msgspec.DecodeError, UnicodeDecodeError) as e:
        raise UsersFileError(f"users' file {path}: {e}") from e
    if content.format != FORMAT:
        raise UsersFileError(
            f"users' file {path}: its format is {content.format}, this program knows {FORMAT}"
        )
    users: dict[str, User] = {}
    for user in content.users:
        try:
            check_user(user, users)
        except ValueError as e:
            raise UsersFileError(f"users' file {path}: {e}") from e
        users[user.name] = user
    return users


def check_user(user: User, others: Mapping[str, User]) -> None:
    """Check a user that is to stand beside others.

    Raises
    ------
    ValueError
        If the name, a label or the hash cannot be, or the name is taken.
    """
    if not NAME.fullmatch(user.name):
        raise ValueError(
            f"{user.name[:70]!r} is no name: expected 1 to 64 letters, digits and ._@+-,"
            " beginning with a letter or digit"
        )
    for name in others:
        if name.casefold() == user.name.casefold():
            raise ValueError(f"there is a user {name!r} already")
    for label in user.labels:
        if not 0 < len(label) <= LONGEST_LABEL or not label.isprintable():
            raise ValueError(
                f"label {label[:40]!r} of {user.name}: expected 1 to {LONGEST_LABEL}"
                " printable characters"
            )
    try:
        parts_of(user.password)
    except ValueError as e:
        raise ValueError(f"the password of {user.name} {e}") from e


def _check_owner(path: Path, found: os.stat_result) -> None:
    if found.st_mode & 0o037:
        raise UsersFileError(
            f"users' file {path}: its mode is {stat.S_IMODE(found.st_mode):04o},"
            " so that others read or change it: expected 0600"
        )
    if found.st_uid not in (0, os.geteuid()):
        raise UsersFileError(f"users' file {path}: it belongs to user {found.st_uid}")


@contextlib.contextmanager
def changing(path: Path) -> Iterator[dict[str, User]]:
    """Read the users, and put the file in place anew if no exception ends the block.

    A file that is not there begins empty.  Other changes wait meanwhile; readers find the old file
    or the new one.

    Raises
    ------
    UsersFileError
        If it cannot be read or written.
    """
    try:
        lock = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as e:
        raise UsersFileError(f"folder {path.parent}: {e.strerror}") from e
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        users = read_users(path) if path.exists() else {}
        yield users
        try:
            _replace(path, users)
            os.fsync(lock)
        except OSError as e:
            raise UsersFileError(f"users' file {path}: {e.strerror or e}") from e
    finally:
        os.close(lock)


def _replace(path: Path, users: Mapping[str, User]) -> None:
    content = _Content(FORMAT, sorted(users.values(), key=lambda user: user.name))
    data = msgspec.json.format(msgspec.json.encode(content), indent=1) + b"\n"
    # Root makes it for the program's user: the present owner, else the folder's.
    model = path.stat() if path.exists() else path.parent.stat()
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
    with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
        file.write(data)
        if os.geteuid() == 0:
            os.fchown(file.fileno(), model.st_uid, model.st_gid)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


class Users:
    """The users as the file has them now; it is read again whenever it was replaced.

    If it cannot be read any more, there are no users until it can: a user that was removed must
    not stay.

    Parameters
    ----------
    path : Path

    Raises
    ------
    UsersFileError
        If it cannot be read at the start.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark = self._look()
        self._users = read_users(path)

    def get(self, name: str) -> User | None:
        """Return a user, or None if there is none of that name."""
        mark = self._look()
        if mark != self._mark:
            self._mark = mark
            try:
                self._users = read_users(self._path)
                log.info("%d users read from %s", len(self._users), self._path)
            except UsersFileError as e:
                self._users = {}
                log.error("nobody can log in: %s", e)
        return self._users.get(name)

    def _look(self) -> Any:
        """Return all that changes when the file does; None if it is not there."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size, found.st_mode, found.st_uid
