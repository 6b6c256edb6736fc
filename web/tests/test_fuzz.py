"""Every parameter of every page and of the interface gets nonsense: it is refused in words.

Nothing of it may come back unescaped, and nothing may fail.
"""

from __future__ import annotations

import random
import re
import string
from pathlib import Path
from urllib.parse import quote, urlencode

import msgspec
import pytest
from aiohttp import ClientResponse
from spalloc_web._http.api import PREFIX
from spalloc_web._http.endpoints import (
    ENDPOINTS,
    EndedFilter,
    JobFilter,
    OneBoard,
    OneJob,
    OneMachine,
    PastFilter,
    UsageFilter,
)
from spalloc_web._http.login import Credentials, LogIn, LogOut
from spalloc_web._http.ordering import AccessAsked, OneResult
from spalloc_web._http.pages import NowChoice, OneOwner
from spalloc_web._http.query import NoParameters
from spalloc_web._http.span import Span
from spalloc_web._orders.table import ORDERS
from spalloc_web._past.history import History

from tests.conftest import Site, site
from tests.support.past import FakeSource
from tests.support.people import people

MARKER = "<i>zap</i>"
PAGES: dict[str, type[msgspec.Struct]] = {
    "/": NowChoice,
    "/machines": NoParameters,
    "/machines/{name}": OneMachine,
    "/machines/{name}/boards": OneMachine,
    "/machines/{name}/boards/{x}/{y}/{z}": OneBoard,
    "/jobs": PastFilter,
    "/jobs/{job_id}": OneJob,
    "/owners/{owner}": OneOwner,
    "/usage": Span,
}
INTERFACE = {f"{PREFIX}{e.path}": e.parameters for e in ENDPOINTS} | {
    f"{PREFIX}{e.path}.csv": e.parameters for e in ENDPOINTS if e.csv
}
QUESTIONS: dict[str, type[msgspec.Struct]] = {
    "/operate": AccessAsked,
    "/account": NoParameters,
    "/login": LogIn,
    "/done/{key}": OneResult,
    **{f"/orders/{order.word}": order.asked for order in ORDERS},
}
FORMS: dict[str, type[msgspec.Struct]] = {
    "/login": Credentials,
    "/logout": LogOut,
    **{f"/orders/{order.word}": order.given for order in ORDERS},
}
GOOD = {
    "key": "abc", "name": "machine", "x": "0", "y": "0", "z": "0", "job_id": "1",
    "owner": "ada@example.org",
}  # fmt: skip
SENSE = {
    "id": "3", "boards": "machine", "board": "0,0,0", "reason": "x", "text": "y",
    "accepting": "yes", "principal": "cert:x", "all": "yes",
}  # fmt: skip
NASTY = (
    MARKER,
    '"><script>alert(1)</script>',
    "'; DROP TABLE jobs; --",
    "{{7*7}}",
    "%00",
    "\0",
    "\r\nSet-Cookie: a=b",
    "../../etc/passwd",
    "-1",
    "1e309",
    "NaN",
    "null",
    "9" * 400,
    "١٢",
    "0x10",
    "1.5",
    " 1",
    "true",
    "[1]",
    "x" * 5000,
    "é\u202e\U0001f600",
    "2026-13-45",
    "2026-11-28T25:61",
    "+275760-09-13",
    "99999-01-01",
)


def nonsense(chance: random.Random) -> str:
    if chance.random() < 0.7:
        return chance.choice(NASTY)
    letters = string.printable + "éß\u2028\x7f"
    return "".join(chance.choices(letters, k=chance.randint(1, 30)))


def likely(chance: random.Random, name: str, share: float) -> str:
    """Return a value that makes sense for a parameter of orders, now and then."""
    return SENSE[name] if name in SENSE and chance.random() < share else nonsense(chance)


def address(chance: random.Random, path: str, shape: type[msgspec.Struct]) -> str:
    """Make an address in which each parameter may be nonsense."""

    def value(match: re.Match[str]) -> str:
        return quote(GOOD[match[1]] if chance.random() < 0.5 else nonsense(chance), safe="")

    made = re.sub(r"\{(\w+)\}", value, path)
    names = [*shape.__struct_fields__, "else"]
    chosen = [chance.choice(names) for _ in range(chance.randint(0, 3))]
    pairs = [
        f"{quote(name)}={quote(likely(chance, name, 0.4), safe='')}" for name in chosen
    ]
    return f"{made}?{'&'.join(pairs)}" if pairs else made


@pytest.mark.parametrize("anonymous", ["states", "all"])
async def test_nonsense_is_refused_in_words(anonymous: str) -> None:
    chance = random.Random(15)
    history = History(FakeSource())
    seen: set[int] = set()
    async with site(anonymous=anonymous, history=history) as place:
        for _ in range(60):
            for path, shape in {**PAGES, **INTERFACE}.items():
                url = address(chance, path, shape)
                response = await place.client.get(
                    _raw(url), allow_redirects=False
                )
                text = await response.text()
                seen.add(response.status)

                assert response.status < 500, (url, text)
                if response.content_type == "text/html":
                    assert MARKER not in text, url
                    assert "<script>alert" not in text, url
                assert "Set-Cookie" not in response.headers
                assert "Traceback" not in text
        assert {200, 400, 404} <= seen


@pytest.mark.parametrize("name", ["grace", "ada", None])
async def test_nonsense_in_orders_is_refused_in_words(name: str | None, tmp_path: Path) -> None:
    chance = random.Random(16)
    users = str(people(tmp_path, grace="operate", ada="use"))
    seen: set[tuple[str, int]] = set()
    async with site(anonymous="states", users=users) as place:
        for _ in range(60):
            for path, shape in QUESTIONS.items():
                _log_in(place, name)
                url = address(chance, path, shape)
                answer = await place.client.get(_raw(url), allow_redirects=False)
                seen.add((path, await _harmless(answer, url)))
            for path, shape in FORMS.items():
                data = urlencode(_filled(chance, shape, _log_in(place, name)))
                headers = {"Content-Type": "application/x-www-form-urlencoded"}
                answer = await place.client.post(
                    path, data=data, headers=headers, allow_redirects=False
                )
                seen.add((path, await _harmless(answer, path)))
    carried_out = {path for path, status in seen if path in FORMS and status == 303}
    assert name != "grace" or len(carried_out & set(QUESTIONS)) > len(ORDERS) / 2
    for order in ORDERS:
        found = {status for path, status in seen if path == f"/orders/{order.word}"}
        if name == "grace":
            # Some of it makes sense: questions are asked.
            assert found >= {200, 400}, order.word
        elif name is None or order.access == "operate":
            assert not found & {200, 404, 409}, order.word


def _log_in(place: Site, name: str | None) -> str:
    """Log a user in, however often that was wrong, and return the token of forms."""
    accounts, jar = place.context.accounts, place.client.session.cookie_jar
    assert accounts
    jar.clear()
    user = accounts.users.get(name) if name else None
    cookies = {"spalloc-visit": "visit"}
    if user:
        cookies["spalloc"] = accounts.sessions.open(user)
    jar.update_cookies(cookies, place.client.make_url("/"))
    return place.context.form_key.token(cookies.get("spalloc", "visit"))


def _filled(chance: random.Random, shape: type[msgspec.Struct], token: str) -> dict[str, str]:
    data = {"token": token if chance.random() < 0.9 else nonsense(chance)}
    for field in shape.__struct_fields__:
        if chance.random() < 0.9:
            data[field] = likely(chance, field, 0.7)
    if chance.random() < 0.1:
        data[chance.choice(NASTY)[:50]] = "1"
    return data


async def _harmless(answer: ClientResponse, url: str) -> int:
    text = await answer.text()
    assert answer.status < 500, (url, text)
    assert MARKER not in text, url
    assert "<script>alert" not in text, url
    assert "Traceback" not in text
    assert not re.match(r"https?:|//", answer.headers.get("Location", "/"))
    for cookie in answer.headers.getall("Set-Cookie", []):
        assert cookie.startswith(("spalloc=", "spalloc-visit=")), cookie
    return answer.status


def _raw(url: str):  # type: ignore[no-untyped-def]
    from yarl import URL

    return URL(url, encoded=True)


def test_all_pages_and_paths_are_in_the_tables() -> None:
    from spalloc_web._http.pages import PAGES as SERVED

    assert set(PAGES) == set(SERVED)
    assert set(QUESTIONS) >= {f"/orders/{order.word}" for order in ORDERS}
    # Each filter appears somewhere, so that each of its parameters is tried.
    assert {JobFilter, EndedFilter, PastFilter, UsageFilter, Span} <= set(INTERFACE.values())


@pytest.mark.parametrize(
    "head",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /" + b"a" * 20000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET http://[::bad/ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /events HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n",
    ],
)
async def test_requests_that_are_none_harm_nobody(head: bytes) -> None:
    import asyncio

    async with site() as place:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.client.port)
        writer.write(head)
        if head[0] == 0x16:
            writer.write_eof()
        answer = await asyncio.wait_for(reader.readline(), 20)
        writer.close()

        assert not answer.startswith(b"HTTP/1.1 5") and not answer.startswith(b"HTTP/1.0 5")
        assert (await place.client.get("/machines")).status == 200
