"""The command ``spalloc-web user``: the one place where users are added, changed and removed."""

from __future__ import annotations

import argparse
import getpass
import sys
from collections.abc import Sequence
from pathlib import Path

from msgspec import structs

from spalloc_web._accounts import passwords
from spalloc_web._accounts.options import parse
from spalloc_web._accounts.passwords import PasswordError, check_password
from spalloc_web._accounts.users import (
    User,
    UsersFileError,
    changing,
    check_user,
    read_users,
)
from spalloc_web._settings import SettingError, read_file


class CannotError(Exception):
    """An order that cannot be carried out; nothing was changed."""


def main(words: Sequence[str]) -> int:
    """Carry out one order.

    Parameters
    ----------
    words
        The command line after ``user``.

    Returns
    -------
    int
        Exit status: 0 if it was carried out, 1 if it could not be.
    """
    options = parse(words)
    try:
        path = _path(options)
        {"add": _add, "change": _change, "remove": _remove, "list": _list}[options.order](
            path, options
        )
    except (CannotError, UsersFileError, SettingError, PasswordError) as e:
        print(f"spalloc-web user: {e}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, EOFError):
        print("\nspalloc-web user: nothing was changed", file=sys.stderr)
        return 1
    return 0


def _path(options: argparse.Namespace) -> Path:
    named = options.users
    if named is None and options.config:
        named = read_file(Path(options.config))[0].get("users")
    if not named:
        raise CannotError("which file? say --users FILE, or --config FILE that has users")
    return Path(named)


def _add(path: Path, options: argparse.Namespace) -> None:
    # All that can be refused is refused before a password is typed.
    user = User(options.name, options.access, passwords.hash_of("", passwords.Cost(1, 1, 1)))
    user = structs.replace(user, labels=_labels(options))
    _check(user, read_users(path) if path.exists() else {})
    user = structs.replace(user, password=_new_password(options.name))
    with changing(path) as users:
        _check(user, users)
        users[user.name] = user
    print(f"{user.name} is added, and may {user.access}")


def _change(path: Path, options: argparse.Namespace) -> None:
    if not options.access and not options.password and options.label is None:
        raise CannotError("nothing to change: say --access, --password or --label")
    _known(read_users(path), options.name)
    changes = {"access": options.access} if options.access else {}
    if options.label is not None:
        changes["labels"] = _labels(options)
    if options.password:
        changes["password"] = _new_password(options.name)
    with changing(path) as users:
        user = structs.replace(_known(users, options.name), **changes)
        _check(user, {name: each for name, each in users.items() if name != user.name})
        users[user.name] = user
    print(f"{user.name} is changed, and may {user.access}")


def _remove(path: Path, options: argparse.Namespace) -> None:
    _known(read_users(path), options.name)
    with changing(path) as users:
        _known(users, options.name)
        del users[options.name]
    print(f"{options.name} is removed")


def _list(path: Path, _: argparse.Namespace) -> None:
    for user in read_users(path).values():
        print("\t".join((user.name, user.access, *user.labels)))


def _known(users: dict[str, User], name: str) -> User:
    if name not in users:
        known = ", ".join(users) or "none"
        raise CannotError(f"there is no user {name!r}; there are: {known}")
    return users[name]


def _check(user: User, others: dict[str, User]) -> None:
    try:
        check_user(user, others)
    except ValueError as e:
        raise CannotError(str(e)) from e


def _labels(options: argparse.Namespace) -> list[str]:
    return [label for label in options.label or [] if label]


def _new_password(name: str) -> str:
    if sys.stdin.isatty():
        password = getpass.getpass(f"Password of {name}: ")
        check_password(password, name)
        if getpass.getpass("Once more: ") != password:
            raise CannotError("the two are not the same; nothing was changed")
    else:
        try:
            password = sys.stdin.readline().removesuffix("\n").removesuffix("\r")
        except UnicodeDecodeError as e:
            raise CannotError(f"the password on standard input is no text: {e.reason}") from e
        check_password(password, name)
    return passwords.hash_of(password)
