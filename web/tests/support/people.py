"""People who may log in, with hashes that cost nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

from aiohttp import ClientResponse
from aiohttp.test_utils import TestClient
from spalloc_web._accounts.passwords import Cost, hash_of
from spalloc_web._accounts.rights import Access
from spalloc_web._accounts.users import User, changing

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


def token_of(text: str, action: str) -> str:
    """Return the token of the form with this action."""
    found = re.search(
        rf'<form[^>]* action="[^"]*{re.escape(action)}".*?name="token" value="(\w+)"', text, re.S
    )
    assert found, text
    return found[1]


async def log_in(
    client: TestClient[Any, Any],
    name: str,
    password: str = GOOD,
    *,
    following: str = "",
    base: str = "",
    headers: dict[str, str] | None = None,
) -> ClientResponse:
    """Log in as a browser does, and return the answer, not followed."""
    page = await client.get(f"{base}/login", headers=headers)
    token = token_of(await page.text(), "/login")
    data = {"name": name, "password": password, "next": following, "token": token}
    return await client.post(
        f"{base}/login", data=data, headers=headers, allow_redirects=False
    )
