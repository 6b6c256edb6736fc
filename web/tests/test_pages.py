"""Pages: their content for each reader, and their words about bad requests."""

from __future__ import annotations

import re

import pytest
from spalloc_web._http.guard import HEADERS

from tests.conftest import site
from tests.support.facility import busy, empty

PATHS = (
    "/",
    "/machines",
    "/machines/machine",
    "/machines/machine/boards",
    "/machines/machine/boards/0/0/0",
    "/jobs",
    "/jobs/1",
    "/owners/ada@example.org",
    "/usage",
)


@pytest.mark.parametrize("path", PATHS)
async def test_every_page_answers_with_all_headers_and_no_script_within(path: str) -> None:
    async with site() as place, place.client.get(path) as response:
        text = await response.text()

        assert response.status == 200
        assert response.content_type == "text/html"
        for name, value in HEADERS.items():
            assert response.headers[name] == value
        assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", text)
        assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", text)


@pytest.mark.parametrize("path", PATHS)
async def test_those_not_logged_in_see_no_names_on_any_page(path: str) -> None:
    facility = busy(4, 2)
    facility.end(1, reason="ada was here")
    async with site(facility, anonymous="states") as place:
        response = await place.client.get(path)
        text = await response.text()

        assert response.status == (403 if path.startswith("/owners") else 200)
        assert "example.org" not in text
        assert "10.0.0.7" not in text
        assert "192.168." not in text
        assert "ada was here" not in text


@pytest.mark.parametrize("path", [*PATHS, "/events", "/api/v1/state", "/api/v1/jobs/1"])
async def test_with_none_nothing_is_shown(path: str) -> None:
    async with site(anonymous="none") as place:
        response = await place.client.get(path)
        text = await response.text()

        assert response.status == 401
        assert "logged in" in text
        assert "machine" not in text.lower() or path != "/api/v1/state"


@pytest.mark.parametrize("path", PATHS)
async def test_all_paths_may_have_a_prefix(path: str) -> None:
    async with site(base="/spalloc") as place:
        response = await place.client.get(f"/spalloc{path}")
        text = await response.text()

        assert response.status == 200
        for address in re.findall(r"""(?:src|href|action)=["'](/[^"']*)""", text):
            assert address.startswith("/spalloc/")
        found = re.search(r"/spalloc/static/\w+/css/page.css", text)
        assert found
        assert (await place.client.get(found[0])).status == 200
        assert (await place.client.get(path)).status == 404


async def test_the_prefix_alone_leads_to_the_first_page() -> None:
    async with site(base="/spalloc") as place:
        response = await place.client.get("/spalloc", allow_redirects=False)

        assert response.status == 308
        assert response.headers["Location"] == "/spalloc/"


async def test_a_name_with_marks_of_html_is_escaped() -> None:
    facility = empty(1, 1)
    facility.create('<script>alert(1)</script>"\'&', [1], why="<i>no</i>")
    async with site(facility) as place:
        for path in ("/jobs/1", "/owners/%3Cscript%3Ealert(1)%3C%2Fscript%3E%22'&"):
            text = await (await place.client.get(path)).text()
            assert "<script>alert" not in text
            assert "<i>" not in text
            assert "&lt;script&gt;alert(1)" in text


async def test_an_ended_job_is_shown_as_the_server_remembers_it() -> None:
    facility = busy(4, 2)
    facility.end(1, reason="all done")
    async with site(facility) as place:
        text = await (await place.client.get("/jobs/1")).text()
        assert "all done" in text
        assert "Ended" in text

        text = await (await place.client.get("/jobs")).text()
        assert "all done" in text
        text = await (await place.client.get("/jobs?reason=never")).text()
        assert "all done" not in text


async def test_a_waiting_job_says_why() -> None:
    facility = busy(4, 2)
    job_id = max(facility.jobs)
    facility.why[job_id] = "6 boards rest until 14:03"
    facility.expected[job_id] = [600, 4200]
    async with site(facility) as place:
        text = await (await place.client.get(f"/jobs/{job_id}")).text()

        assert "6 boards rest until 14:03" in text
        assert "similar requests waited 10 min to 1 h 10 min lately; not promised" in text


async def test_a_board_says_where_it_is() -> None:
    facility = busy(4, 2)
    facility.machines["machine"].boards[1, 1, 2] = ("out", None, "since 13:10 (power on refused)")
    async with site(facility) as place:
        text = await (await place.client.get("/machines/machine/boards/1/1/2")).text()

        assert "out of service" in text
        assert "power on refused" in text
        assert "cabinet 0, frame 0, board 17" in text
        assert "192.168.0." in text
        assert "(16, 20)" in text


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/nowhere", 404, "Not Found"),
        ("/jobs/999", 404, "no job 999"),
        ("/jobs/x", 400, "Parameter &#39;job_id&#39;, &#39;x&#39;"),
        ("/jobs/-1", 400, "&gt;= 0"),
        ("/usage?until=0001-01-01", 400, "of the years 1900 to 9998"),
        ("/usage?since=9999-12-31", 400, "of the years 1900 to 9998"),
        ("/machines/other", 404, "no machine &#39;other&#39;"),
        ("/machines/machine/boards/9/9/0", 404, "no board (9, 9, 0)"),
        ("/machines/machine/boards/0/0/3", 400, "&lt;= 2"),
        ("/?colour=red", 400, "no parameter &#39;colour&#39;; there are: machine, owner"),
        ("/jobs?since=yesterday", 400, "neither a day like"),
        ("/jobs?limit=0", 400, "&gt;= 1"),
        ("/jobs?after=here", 400, "Parameter &#39;after&#39;, &#39;here&#39;"),
        ("/jobs?after=1.0/9999999999999999999", 400, "Parameter &#39;after&#39;"),
        ("/owners/ada?after=1/2/3", 400, "Parameter &#39;after&#39;"),
        ("/jobs?limit=5&limit=6", 400, "given twice"),
        ("/usage?since=2026-01-02&until=2026-01-01", 400, "ends before it begins"),
        ("/usage?since=1900-01-01", 400, "hundred years"),
    ],
)
async def test_bad_requests_are_told_what_is_wrong(path: str, status: int, words: str) -> None:
    async with site() as place:
        response = await place.client.get(path)

        assert response.status == status
        assert words in await response.text()


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_pages_are_read_only(method: str) -> None:
    async with site() as place:
        for path in (*PATHS, "/events", "/api/v1/state"):
            response = await place.client.request(method, path)
            assert response.status == 405
            assert "GET" in response.headers["Allow"]


async def test_files_are_kept_for_ever_by_their_digest_alone() -> None:
    async with site() as place:
        page = await (await place.client.get("/")).text()
        found = re.search(r"/static/(\w+)/js/now.js", page)
        assert found
        response = await place.client.get(found[0])
        assert "immutable" in response.headers["Cache-Control"]
        assert response.content_type == "text/javascript"

        response = await place.client.get("/static/0123/js/now.js")
        assert response.headers["Cache-Control"] == "no-cache"
        response = await place.client.get(found[0], headers={"Accept-Encoding": "identity"})
        assert "Content-Encoding" not in response.headers
        for bad in ("js/none.js", "../page.py", "%2e%2e/app.py", "js", ""):
            response = await place.client.get(f"/static/0123/{bad}")
            assert response.status == 404


async def test_a_server_that_was_never_there_is_said(unused_tcp_port: int) -> None:
    from aiohttp.test_utils import TestClient, TestServer
    from spalloc_web._http.app import make_app
    from spalloc_web._settings import settings_of

    app = make_app(settings_of({"server": f"127.0.0.1:{unused_tcp_port}"}))
    async with TestClient(TestServer(app)) as client:
        text = await (await client.get("/")).text()
        assert "has not been seen yet" in text
        assert "The server is away since" in text
        for path in ("/jobs", "/usage", "/machines"):
            assert (await client.get(path)).status == 200
        assert (await client.get("/api/v1/ended")).status == 503
        health = await (await client.get("/health")).json()
        assert health == {"status": "ok", "server": "away", "pages": 0}


async def test_while_the_server_is_away_the_last_picture_is_shown_with_its_age() -> None:
    async with site() as place:
        await place.server.stop()
        await place.watcher.until(lambda p: p.status.away_since is not None)

        text = await (await place.client.get("/")).text()
        assert "What you see is from" in text
        assert 'data-machine="machine"' in text
        assert (await place.client.get("/machines/machine/boards/0/0/0")).status == 200
        assert (await place.client.get("/api/v1/machines/machine/places")).status == 503


async def test_an_older_server_has_pages_too() -> None:
    async with site(version="1.0.0") as place:
        for path in PATHS:
            assert (await place.client.get(path)).status == 200
        text = await (await place.client.get("/")).text()
        assert "states worked out from jobs" in text
        text = await (await place.client.get("/machines/machine/boards/1/1/2")).text()
        assert "cabinet 0, frame 0, board 17" in text


async def test_a_fault_of_ours_is_logged_and_said_without_details(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from spalloc_web._http import pages

    def fail(*_: object) -> None:
        raise RuntimeError("inner secret")

    monkeypatch.setattr(pages, "machine_summary", fail)
    async with site() as place:
        response = await place.client.get("/machines")
        text = await response.text()

        assert response.status == 500
        assert "inner secret" not in text
        assert "inner secret" in caplog.text
        caplog.clear()
