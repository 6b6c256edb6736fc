"""Logging in and out, over each way, and what it opens."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from spalloc_web import __version__
from spalloc_web._accounts import passwords
from spalloc_web._http import forms, login
from yarl import URL

from tests.conftest import site
from tests.support.people import CHEAP, GOOD, log_in, people, token_of

NAMES = ("ada@example.org", "10.0.0.7")


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "COST", CHEAP)


@pytest.fixture
def users(tmp_path: Path) -> str:
    return str(people(tmp_path, ada="use", bo="read", grace="operate"))


async def test_those_who_log_in_see_names_and_those_who_log_out_do_not(users: str) -> None:
    async with site(users=users, anonymous="states") as place:
        client = place.client
        assert NAMES[0] not in await (await client.get("/api/v1/state")).text()
        assert (await client.get(f"/owners/{NAMES[0]}")).status == 403

        answer = await log_in(client, "ada", following="/jobs?limit=5")
        assert (answer.status, answer.headers["Location"]) == (303, "/jobs?limit=5")
        text = await (await client.get("/api/v1/state")).text()
        assert all(name in text for name in NAMES)
        page = await (await client.get("/")).text()
        assert 'href="/account">ada</a>' in page
        assert "Operate" not in page
        assert (await client.get(f"/owners/{NAMES[0]}")).status == 200

        token = token_of(page, "/logout")
        answer = await client.post("/logout", data={"token": token}, allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (303, "/")
        assert NAMES[0] not in await (await client.get("/api/v1/state")).text()
        page = await (await client.get("/jobs")).text()
        assert 'href="/login?next=%2Fjobs"' in page


async def test_a_stream_ends_with_its_session(users: str) -> None:
    async with site(users=users, anonymous="states") as place:
        await log_in(place.client, "ada")
        stream = await place.client.get("/events", headers={"Accept-Encoding": "identity"})
        assert NAMES[0].encode() in await stream.content.readline()

        page = await (await place.client.get("/")).text()
        await place.client.post("/logout", data={"token": token_of(page, "/logout")})
        place.facility.create("new@example.org", [1])
        place.server.notify()
        rest = await stream.content.read()

        assert b"new@example.org" not in rest
        assert rest.endswith(b"event: over\ndata: the session has ended\n\n")
        stream = await place.client.get("/events")
        assert b"@example.org" not in await stream.content.readline()
        stream.close()


async def test_without_anonymous_readers_pages_lead_to_the_log_in(users: str) -> None:
    async with site(users=users, anonymous="none", base="/spalloc") as place:
        client = place.client
        answer = await client.get("/spalloc/jobs?limit=5", allow_redirects=False)
        assert answer.status == 303
        where = answer.headers["Location"]
        assert URL(where).path == "/spalloc/login"
        assert dict(URL(where).query) == {"next": "/spalloc/jobs?limit=5"}
        for path in ("/spalloc/api/v1/state", "/spalloc/events"):
            answer = await client.get(path)
            assert (answer.status, (await answer.json())["status"]) == (401, 401)
        page = await (await client.get(where)).text()
        assert 'name="next" value="/spalloc/jobs?limit=5"' in page
        refused = await (await client.get("/spalloc/none")).text()
        for text in (page, refused):
            assert place.server.version not in text.replace(__version__, "", 1)
            assert "127.0.0.1" not in text
            assert "<script" not in text

        answer = await log_in(client, "bo", following="/spalloc/jobs", base="/spalloc")
        assert answer.headers["Location"] == "/spalloc/jobs"
        assert (await client.get("/spalloc/api/v1/state")).status == 200
        answer = await client.get("/spalloc/login", allow_redirects=False)
        assert (answer.status, answer.headers["Location"]) == (303, "/spalloc/")


async def test_without_a_users_file_nobody_can_log_in() -> None:
    async with site(anonymous="none") as place:
        for path in ("/login", "/account"):
            assert (await place.client.get(path)).status == 404
        for path in ("/login", "/logout"):
            assert (await place.client.post(path)).status == 404
        answer = await place.client.get("/")
        assert answer.status == 401
        assert "Log in" not in await answer.text()


async def test_a_wrong_name_and_a_wrong_password_get_the_same_answer(users: str) -> None:
    async with site(users=users) as place:
        answers = []
        for name in ("ada", "nobody"):
            answer = await log_in(place.client, name, "wrong password")
            text = await answer.text()
            assert answer.status == 403
            assert "Name or password is wrong." in text
            assert "wrong password" not in text
            answers.append(re.sub(name, "NAME", re.sub(r'token" value="\w+"', "", text)))
        assert answers[0] == answers[1]


async def test_too_many_wrong_tries_have_to_wait(users: str) -> None:
    async with site(users=users) as place:
        accounts = place.context.accounts
        assert accounts
        # No time passes, however slow the computer is.
        accounts._delays._clock = lambda: 0.0
        for _ in range(3):
            assert (await log_in(place.client, "ada", "wrong password")).status == 403
        answer = await log_in(place.client, "ada")

        assert answer.status == 429
        assert int(answer.headers["Retry-After"]) in (1, 2)
        assert "try again in" in await answer.text()


@pytest.mark.parametrize(
    "path",
    ["//evil.example", "/\\evil.example", "https://evil.example/", "/a b", "/\r\nX: y", "x",
     "/" * 2000, "/.//evil.example", "/..//evil.example", "/./\\evil.example", "/a/..//evil",
     "javascript:alert(1)", "/\t/evil.example", "/é"],
)  # fmt: skip
async def test_a_log_in_leads_to_no_other_site(users: str, path: str) -> None:
    async with site(users=users) as place:
        page = await place.client.get(f"/login?next={quote(path)}")
        assert 'name="next" value="/"' in await page.text()
        answer = await log_in(place.client, "ada", following=path)
        assert (answer.status, answer.headers["Location"]) == (303, "/")


async def test_cookies_are_for_this_host_and_no_script(users: str) -> None:
    async with site(users=users, behind_proxy="yes") as place:
        headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
        page = await place.client.get("/login", headers=headers)
        cookie = page.headers["Set-Cookie"]
        assert cookie.startswith("__Host-spalloc-visit=")
        for part in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
            assert part in cookie
        assert "Domain" not in cookie
        visit = cookie.split(";")[0]
        token = token_of(await page.text(), "/login")
        answer = await place.client.post(
            "/login",
            data={"name": "ada", "password": GOOD, "token": token},
            headers={**headers, "Cookie": visit},
            allow_redirects=False,
        )
        cookies = answer.headers.getall("Set-Cookie")
        session = next(each for each in cookies if each.startswith("__Host-spalloc="))
        for part in ("Secure", "HttpOnly", "SameSite=Lax", "Path=/"):
            assert part in session
        assert "Max-Age" not in session

        given = {"Cookie": session.split(";")[0]}
        page = await place.client.get("/account", headers={**headers, **given})
        assert "192.0.2.7" in await page.text()
        # Over plain HTTP that cookie is not believed, whoever sends it.
        answer = await place.client.get("/account", headers=given, allow_redirects=False)
        assert answer.status == 303


@pytest.mark.parametrize(
    ("options", "headers", "words"),
    [
        ({"behind_proxy": "yes"}, {}, "X-Forwarded-Proto"),
        ({"behind_proxy": "yes"}, {"X-Forwarded-Proto": "http"}, "needs https"),
        ({"behind_proxy": "yes"}, {"X-Forwarded-Proto": "https, http"}, "needs https"),
        (
            {"behind_proxy": "yes", "proxies": "10.0.0.0/8"},
            {"X-Forwarded-Proto": "https"},
            "be one of proxies",
        ),
        ({}, {"X-Forwarded-Proto": "https", "Host": "spalloc.example.org"}, "needs https"),
        ({}, {"Host": "[::bad"}, "needs https"),
        ({}, {"Host": "127.0.0.1.example.org:80"}, "needs https"),
    ],
)
async def test_nobody_logs_in_over_a_way_that_others_can_read(
    users: str, options: dict[str, Any], headers: dict[str, str], words: str
) -> None:
    async with site(users=users, **options) as place:
        page = await place.client.get("/login", headers=headers)
        text = await page.text()
        assert words in text
        assert 'type="password"' not in text

        visit = page.headers["Set-Cookie"].split(";")[0].split("=", 1)[1]
        token = place.context.form_key.token(visit)
        answer = await place.client.post(
            "/login", data={"name": "ada", "password": GOOD, "token": token}, headers=headers,
            allow_redirects=False,
        )
        assert answer.status == 403


@pytest.mark.parametrize("host", ["localhost:80", "localhost", "127.0.0.1", "[::1]:80", "[::1]"])
async def test_this_computer_needs_no_tls(users: str, host: str) -> None:
    async with site(users=users) as place:
        page = await place.client.get("/login", headers={"Host": host})
        assert 'type="password"' in await page.text()


async def test_addresses_are_believed_of_web_servers_in_front_alone(users: str) -> None:
    async with site(
        users=users, behind_proxy="yes", proxies="127.0.0.1, 10.9.0.0/16"
    ) as place:
        for told, address in (
            ("192.0.2.7", "192.0.2.7"),
            ("6.6.6.6, 192.0.2.7", "192.0.2.7"),
            ("6.6.6.6, 192.0.2.7, 10.9.1.1", "192.0.2.7"),
            ("::ffff:10.9.1.1", "10.9.1.1"),
            ("nonsense", "an unknown address"),
            ("192.0.2.7:1234", "an unknown address"),
            ("", "127.0.0.1"),
        ):
            headers = {"X-Forwarded-Proto": "https", "X-Forwarded-For": told}
            token = place.context.accounts.sessions.open(  # type: ignore[union-attr]
                place.context.accounts.users.get("ada")  # type: ignore[union-attr,arg-type]
            )
            headers["Cookie"] = f"__Host-spalloc={token}"
            text = await (await place.client.get("/account", headers=headers)).text()
            seen = re.search(r"<dt>Seen from</dt><dd>(.*?)</dd>", text)
            assert seen, text
            assert (told, seen[1]) == (told, address)


# --- forms ---


async def test_forms_of_other_sites_are_refused(users: str) -> None:
    async with site(users=users) as place:
        await log_in(place.client, "ada")
        token = token_of(await (await place.client.get("/")).text(), "/logout")
        for headers in (
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
            {"Origin": "https://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://[bad"},
        ):
            answer = await place.client.post("/logout", data={"token": token}, headers=headers)
            assert answer.status == 403
            assert "Another site" in await answer.text()
        for wrong in ({}, {"token": ""}, {"token": "0" * 64}, {"token": "é"}):
            answer = await place.client.post("/logout", data=wrong)
            assert answer.status == 403
            assert "too old, or of another log-in" in await answer.text()
        assert (await place.client.get("/account")).status == 200

        origin = str(place.client.make_url("/")).rstrip("/")
        for headers in ({"Origin": origin, "Sec-Fetch-Site": "same-origin"}, {"Origin": origin}):
            answer = await place.client.post(
                "/logout", data={"token": token}, headers=headers, allow_redirects=False
            )
            assert answer.status == 303


async def test_a_log_in_form_is_for_one_browser(users: str) -> None:
    async with site(users=users) as place:
        page = await place.client.get("/login")
        data = {"name": "ada", "password": GOOD, "token": token_of(await page.text(), "/login")}
        place.client.session.cookie_jar.clear()

        assert (await place.client.post("/login", data=data)).status == 403


async def test_a_session_that_was_planted_does_not_become_the_users(users: str) -> None:
    async with site(users=users) as place:
        await log_in(place.client, "bo")
        jar = place.client.session.cookie_jar
        planted = next(cookie.value for cookie in jar if cookie.key == "spalloc")
        accounts = place.context.accounts
        assert accounts
        place.client.session.cookie_jar.clear()
        page = await place.client.get("/login")
        token = token_of(await page.text(), "/login")
        jar.update_cookies({"spalloc": planted}, place.client.make_url("/"))
        data = {"name": "ada", "password": GOOD, "token": token}
        await place.client.post("/login", data=data, allow_redirects=False)

        assert not accounts.sessions.is_open(planted)
        assert ">ada</a>" in await (await place.client.get("/")).text()


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"token=x", "text/plain", 415),
        (b"token=x", "application/json", 415),
        (b"token=x", "multipart/form-data; boundary=x", 415),
        (b"token=%ff", "application/x-www-form-urlencoded", 400),
        (b"token=\xff", "application/x-www-form-urlencoded", 400),
        (b"token=x", "application/x-www-form-urlencoded; charset=nonsense", 403),
        (b"token=x&token=y", "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a%d=1" % n for n in range(50)), "application/x-www-form-urlencoded", 400),
        (b"a" * 100_000, "application/x-www-form-urlencoded", 413),
        (b"token=x&name=%ED%A0%80", "application/x-www-form-urlencoded", 400),
    ],
)
async def test_bodies_that_are_no_forms_are_refused(
    users: str, body: bytes, kind: str, status: int
) -> None:
    async with site(users=users) as place:
        await place.client.get("/login")
        answer = await place.client.post("/login", data=body, headers={"Content-Type": kind})

        assert answer.status == status
        assert (await place.client.post("/login?name=ada", data={})).status == 400


async def test_a_form_that_does_not_arrive_is_given_up(
    users: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import asyncio

    monkeypatch.setattr(forms, "PATIENCE", 0.05)
    async with site(users=users) as place:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.client.port)
        writer.write(
            b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n"
            b"Content-Type: application/x-www-form-urlencoded\r\n\r\ntoken"
        )
        assert b" 408 " in await asyncio.wait_for(reader.readline(), 30)
        writer.close()


async def test_unknown_inputs_are_named_and_passwords_are_not(users: str) -> None:
    async with site(users=users) as place:
        page = await place.client.get("/login")
        token = token_of(await page.text(), "/login")
        data = {"token": token, "password": GOOD, "colour": "red"}
        text = await (await place.client.post("/login", data=data)).text()

        assert "no parameter &#39;colour&#39;" in text
        assert GOOD not in text
        assert GOOD not in repr(login.Credentials("ada", GOOD))


@pytest.mark.parametrize(
    "cookie", ["spalloc", "spalloc=", "spalloc=\x01", "a[]=1; spalloc=x", "=;=;"]
)
async def test_nonsense_in_cookies_is_nobody(users: str, cookie: str) -> None:
    import asyncio

    async with site(users=users) as place:
        reader, writer = await asyncio.open_connection("127.0.0.1", place.client.port)
        head = f"GET /jobs HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\n\r\n"
        writer.write(head.encode())
        line = await asyncio.wait_for(reader.readline(), 30)
        writer.close()
        assert b" 200 " in line or b" 400 " in line


# --- the account ---


async def test_an_account_tells_the_rights_at_the_server(users: str) -> None:
    async with site(users=users) as place:
        await log_in(place.client, "ada")
        text = await (await place.client.get("/account")).text()
        assert "use, as user:ada" in text
        assert "ada or ada@example.org" in text
        assert place.server.given[-1]["kwargs"] == {"as_user": "ada", "from_host": "127.0.0.1"}

        place.server.answers["get_facility"] = {"exception": "as_user is for fronts <b>alone"}
        text = await (await place.client.get("/account")).text()
        assert "not known: as_user is for fronts &lt;b&gt;alone" in text
        await place.server.stop()
        text = await (await place.client.get("/account")).text()
        assert "The server is away" in text


async def test_logging_out_everywhere_ends_all_sessions(users: str) -> None:
    async with site(users=users) as place:
        accounts = place.context.accounts
        assert accounts
        ada = accounts.users.get("ada")
        assert ada
        other = accounts.sessions.open(ada)
        await log_in(place.client, "ada")
        page = await (await place.client.get("/account")).text()
        token = token_of(page, "/logout")
        data = {"token": token, "everywhere": "yes"}
        await place.client.post("/logout", data=data, allow_redirects=False)

        assert not accounts.sessions.is_open(other)
        assert (await place.client.post("/logout", allow_redirects=False)).status == 303


async def test_a_change_of_rights_counts_at_once(users: str, tmp_path: Path) -> None:
    from msgspec import structs
    from spalloc_web._accounts.users import changing

    async with site(users=users) as place:
        await log_in(place.client, "ada")
        with changing(Path(users)) as known:
            known["ada"] = structs.replace(known["ada"], access="operate")
        assert "Operate" in await (await place.client.get("/")).text()
        with changing(Path(users)) as known:
            del known["ada"]
        assert "Log in" in await (await place.client.get("/jobs")).text()

def test_without_a_users_file_the_pages_do_not_start(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "spalloc_web", "--listen", "127.0.0.1:0",
         "--users", str(tmp_path / "none")],
        capture_output=True, text=True, check=False, timeout=30,
    )
    assert done.returncode == 1
    assert "cannot start: users' file" in done.stderr
    assert done.stdout == ""
