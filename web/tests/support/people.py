"""People who may log in, with hashes that cost nothing."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from spalloc_web._accounts.passwords import Cost, hash_of
from spalloc_web._accounts.users import Access, User, changing

CHEAP = Cost(4, 1, 1)
#: Everybody's password.
GOOD = "correct horse battery"


def people(folder: Path, **access: str) -> Path:
    """Write a users' file with these people; labels are NAME@example.org."""
    path = folder / "users"
    hashed = hash_of(GOOD, CHEAP)
    with changing(path) as users:
        users.clear()
        for name, rights in access.items():
            labels = [f"{name}@example.org"]
            users[name] = User(name, cast("Access", rights), hashed, labels)
    return path
