"""Orders: their questions, their results, and everybody who may not give them."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import ClientResponse
from spalloc_web._accounts import passwords
from spalloc_web._orders.shapes import BadOrderError, counted, names_of_boards, plain
from spalloc_web._orders.table import ORDERS

from tests.conftest import Site, site
from tests.support.facility import Facility, FakeMachine, empty
from tests.support.fake_server import CODE
from tests.support.people import CHEAP, log_in, people, token_of

#: For each order, parameters of a question that can be asked of `two_jobs`.
ASKED: dict[str, dict[str, str]] = {
    "end": {"id": "1"},
    "give": {"id": "1"},
    "out": {"boards": "machine:1,1,0", "reason": "fan"},
    "back": {"boards": "machine:0,1,0"},
    "test": {"boards": "machine:0,1,0"},
    "message": {"text": "Back at noon", "accepting": "no"},
    "end-own": {"id": "1"},
    "report": {"id": "1", "board": "0,0,1"},
}
#: And the inputs that are filled in then.
FILLED: dict[str, dict[str, str]] = {
    "end": {"reason": "fire drill"},
    "give": {"principal": "cert:ada"},
    "out": {"reason": "fan is loud"},
    "end-own": {"reason": "done"},
    "report": {"text": "link 3 is noisy", "board": "0,0,1"},
}


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "COST", CHEAP)


@pytest.fixture
def users(tmp_path: Path) -> str:
    return str(people(tmp_path, ada="use", bo="read", grace="operate"))


def two_jobs() -> Facility:
    """A machine with a job of ada, one of brian, and a board out of service."""
    facility = empty(2, 2)
    ada = facility.create("ada@example.org", [1, 1])
    facility.allocate(ada, "machine", [(0, 0, 0), (0, 0, 1), (0, 0, 2)])
    facility.create("brian@example.org", [1])
    facility.set_board("machine", (0, 1, 0), "out")
    return facility


async def question(place: Site, word: str, /, **asked: str) -> ClientResponse:
    return await place.client.get(f"/orders/{word}?{urlencode(asked or ASKED[word])}")


def inputs_of(text: str) -> dict[str, str]:
    """Return the hidden inputs of the order's form."""
    form = text[text.index('action="/orders/') :]
    found = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form))
    found |= dict(re.findall(r'<textarea name="(\w+)" hidden>\n([^<]*)', form))
    return {name: html.unescape(value) for name, value in found.items()}


async def give(place: Site, word: str, text: str, /, **filled: str) -> tuple[int, str]:
    """Send the form of a question, and return the status and the page that follows."""
    data = inputs_of(text) | (filled or FILLED.get(word, {}))
    answer = await place.client.post(f"/orders/{word}", data=data)
    return answer.status, html.unescape(await answer.text())


async def order(place: Site, word: str, /, **filled: str) -> tuple[int, str]:
    asked = await question(place, word)
    assert asked.status == 200
    return await give(place, word, await asked.text(), **filled)


def last_order(place: Site) -> dict[str, Any]:
    given = [call for call in place.server.given if call["command"] != "get_facility"]
    assert isinstance(given[-1], dict)
    return given[-1]


# --- operators ---


@pytest.mark.parametrize(
    ("word", "asks", "says", "sent"),
    [
        (
            "end",
            ("End job 1 of ada@example.org?", "host:10.0.0.7", "3 boards of machine"),
            ("Job 1 has ended", "is told: Ended by an operator, user:grace: fire drill."),
            {"do": "end", "id": 1, "if_owner": "ada@example.org", "reason": "fire drill"},
        ),
        (
            "give",
            ("Give job 1 of ada@example.org", "host:10.0.0.7 no longer may"),
            ("It was of host:10.0.0.7, and is of cert:ada.",),
            {"do": "give", "id": 1, "principal": "cert:ada"},
        ),
        (
            "out",
            ("Take 1 board out of service?", "No job has any of them now.", 'value="fan"'),
            ("1 board out of service", "machine: (1, 1, 0)."),
            {"do": "out", "boards": ["machine:1,1,0"], "reason": "fan is loud"},
        ),
        (
            "back",
            ("Put 1 board back into service?", "(0, 1, 0)"),
            ("1 board back in service", "machine: (0, 1, 0)."),
            {"do": "back", "boards": ["machine:0,1,0"]},
        ),
        (
            "test",
            ("Test 1 board?", "switched on and off as soon as no job has them"),
            ("1 board tested as soon as",),
            {"do": "test", "boards": ["machine:0,1,0"]},
        ),
        (
            "message",
            ("Refuse new jobs?", "Everybody reads: Back at noon", "are accepted"),
            ("The message is changed", "New jobs are refused with these words"),
            {"do": "message", "text": "Back at noon", "accepting": False},
        ),
    ],
)
async def test_an_operators_order_is_asked_carried_out_and_told(
    users: str, word: str, asks: tuple[str, ...], says: tuple[str, ...], sent: dict[str, Any]
) -> None:
    async with site(two_jobs(), users=users) as place:
        await log_in(place.client, "grace")
        asked = await question(place, word)
        text = await asked.text()
        assert asked.status == 200
        for words in asks:
            assert words in html.unescape(text)
        assert all(call["args"][0]["do"] != word for call in place.server.given)

        status, result = await give(place, word, text)

        assert status == 200
        for words in says:
            assert words in result
        assert last_order(place) == {
            "command": "operate",
            "args": [sent],
            "kwargs": {"as_user": "grace", "from_host": "127.0.0.1"},
        }


async def test_the_log_has_orders_with_their_givers(
    users: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with site(two_jobs(), users=users) as place:
        await log_in(place.client, "grace")
        await order(place, "end")
        await order(place, "test", boards="machine:1,1,1")

    assert "grace, 127.0.0.1: order end: 'Job 1 has ended'" in caplog.text
    assert "grace, 127.0.0.1: order test refused: 'The server refuses: not out" in caplog.text


async def test_boards_that_jobs_have_are_said_to_stay_theirs(users: str) -> None:
    async with site(two_jobs(), users=users) as place:
        await log_in(place.client, "grace")
        text = await (await question(place, "out", boards="machine")).text()
        assert "Take 12 boards out of service?" in text
        assert "Until they end, these jobs keep theirs: 1 of ada@example.org." in text
        assert "(0, 0, 0), (0, 0, 1)" in text

        status, result = await give(place, "out", text, reason="all dead")
        assert status == 200
        assert "these jobs keep theirs: 1." in result
        assert "1 board dead in the configuration: left alone." in result
        text = await (await place.client.get("/orders/back?all=yes")).text()
        assert "Put 12 boards back" in text
        status, result = await give(place, "back", text)
        assert "12 boards back in service" in result
        assert "1 board will come back." in result


async def test_many_boards_are_counted_and_the_first_are_named(users: str) -> None:
    async with site(Facility([FakeMachine("big", 20, 20)]), users=users) as place:
        await log_in(place.client, "grace")
        text = await (await question(place, "out", boards="big\r\n\r\nbig:0,0,0\r\n")).text()

        assert "1\N{NO-BREAK SPACE}201 boards" in text
        assert "and 1189 more" in text
        assert inputs_of(text)["boards"].split() == ["big", "big:0,0,0"]
        status, _ = await give(place, "out", text, reason="x")
        assert status == 200
        assert last_order(place)["args"][0]["boards"] == ["big", "big:0,0,0"]


async def test_the_operators_page_has_boards_jobs_and_the_message(users: str) -> None:
    facility = two_jobs()
    facility.message = "Back <b>at noon"
    async with site(facility, users=users) as place:
        await log_in(place.client, "grace")
        text = await (await place.client.get("/operate")).text()

        assert 'value="Back &lt;b&gt;at noon"' in text
        assert "/orders/back?boards=machine%3A0%2C1%2C0" in text
        assert "power on refused" in text
        for job_id in (1, 2):
            assert f"/orders/end?id={job_id}" in text
        assert "host:10.0.0.7" in text
        assert "And " not in text


async def test_operators_are_told_the_rule_that_counts_for_somebody(users: str) -> None:
    async with site(two_jobs(), users=users) as place:
        await log_in(place.client, "grace")
        text = await (await place.client.get("/operate?user=<i>&address=192.0.2.1")).text()
        assert "<b>user:&lt;i&gt;</b> has the right to use, by rule 3 (user:*)." in text
        wanted = {"do": "access", "address": "192.0.2.1", "user": "<i>"}
        assert last_order(place)["args"] == [wanted]
        text = await (await place.client.get("/operate?address=here")).text()
        assert "address is &#39;here&#39;: expected an IP address" in text
        assert (await place.client.get("/operate?colour=red")).status == 400


async def test_long_lists_say_how_much_is_left_out(
    users: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spalloc_web._http import ordering

    monkeypatch.setattr(ordering, "MOST_ROWS", 1)
    facility = two_jobs()
    facility.set_board("machine", (1, 1, 2), "out")
    async with site(facility, users=users) as place:
        await log_in(place.client, "grace")
        text = await (await place.client.get("/operate")).text()
        assert text.count("And 1 more") == 2


async def test_new_jobs_can_be_refused_without_a_message(users: str) -> None:
    facility = two_jobs()
    facility.message = "Back at noon"
    async with site(facility, users=users) as place:
        await log_in(place.client, "grace")
        text = await (await question(place, "message", accepting="no")).text()
        assert "There is no message to anybody." in text
        assert "<dd>Back at noon</dd>" in text
        status, result = await give(place, "message", text)
        assert status == 200
        assert "refused with the advice to ask the operator" in result
        assert place.facility.message is None
        place.server.notify()
        await place.watcher.until(lambda picture: picture.status.accepting is False)
        text = await (await question(place, "message", accepting="yes", text="Here")).text()
        assert "<dd>are refused</dd>" in text


# --- users ---


async def test_a_user_ends_an_own_job(users: str) -> None:
    async with site(two_jobs(), users=users) as place:
        await log_in(place.client, "ada")
        page = await (await place.client.get("/jobs/1")).text()
        assert 'href="/orders/end-own?id=1"' in page
        assert "/orders/end?" not in page

        status, result = await order(place, "end-own")
        assert status == 200
        assert "Job 1 has ended" in result
        assert 1 not in place.facility.jobs
        assert last_order(place) == {
            "command": "destroy_job",
            "args": [1, "done"],
            "kwargs": {"as_user": "ada", "from_host": "127.0.0.1"},
        }


async def test_another_users_job_needs_its_code(users: str) -> None:
    async with site(two_jobs(), users=users) as place:
        await log_in(place.client, "ada")
        assert "End it by its code" in await (await place.client.get("/jobs/2")).text()
        text = await (await question(place, "end-own", id="2")).text()
        assert "This job is of brian@example.org." in text

        status, result = await give(place, "end-own", text, reason="mine!")
        assert status == 403
        assert "Job 2 is of brian@example.org, not of ada." in result
        status, result = await give(place, "end-own", text, code="a guess")
        assert status == 404
        assert 2 in place.facility.jobs
        status, result = await give(place, "end-own", text, code=CODE)
        assert status == 200
        assert "Reason: ended on the pages by ada." in result
        assert 2 not in place.facility.jobs


async def test_a_job_that_was_given_to_a_user_needs_no_code(users: str) -> None:
    async with site(two_jobs(), users=users) as place:
        await log_in(place.client, "ada")
        text = await (await question(place, "end-own", id="2")).text()
        assert "if an operator gave it to you" in text
        place.facility.principals[2] = "user:ada"

        status, _ = await give(place, "end-own", text, reason="done")
        assert status == 200
        assert 2 not in place.facility.jobs


async def test_a_user_reports_a_board(users: str) -> None:
    async with site(two_jobs(), users=users) as place:
        await log_in(place.client, "ada")
        page = await (await place.client.get("/machines/machine/boards/0/0/1")).text()
        assert 'href="/orders/report?id=1&amp;board=0,0,1"' in page
        text = await (await question(place, "report")).text()
        assert '<option value="0,0,1" selected>(0, 0, 1)</option>' in text
        assert "It comes from 127.0.0.1." in text

        status, result = await give(place, "report", text)
        assert status == 200
        assert "Consequence: noted link 3 is noisy." in result
        assert last_order(place)["args"] == [1, 0, 0, 1, "link 3 is noisy"]
        assert (await question(place, "report", id="2")).status == 404


async def test_of_many_boards_the_reported_one_is_written(
    users: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spalloc_web._orders import jobs

    monkeypatch.setattr(jobs, "_MOST_CHOICES", 2)
    async with site(two_jobs(), users=users) as place:
        await log_in(place.client, "ada")
        text = await (await question(place, "report", id="1")).text()
        assert "<select" not in text
        status, _ = await give(place, "report", text, board=" 0, 0 ,2", text="x")
        assert status == 200
        assert last_order(place)["args"][:4] == [1, 0, 0, 2]


# --- refusals ---


@pytest.mark.parametrize("name", [None, "bo", "ada", "grace"])
async def test_orders_are_for_those_who_have_the_right(users: str, name: str | None) -> None:
    rights = {"ada": ["use"], "grace": ["use", "operate"]}.get(name or "", [])
    async with site(two_jobs(), users=users, anonymous="all") as place:
        token = "0" * 64
        if name:
            await log_in(place.client, name)
            token = token_of(await (await place.client.get("/")).text(), "/logout")
        for each in ORDERS:
            asked = await place.client.get(
                f"/orders/{each.word}?{urlencode(ASKED[each.word])}", allow_redirects=False
            )
            data = {"token": token, "id": "999", **FILLED.get(each.word, {})}
            given = await place.client.post(
                f"/orders/{each.word}", data=data, allow_redirects=False
            )
            if each.access in rights:
                assert asked.status == 200, each.word
                assert given.status in (303, 400, 404, 409), each.word
            elif name:
                assert (asked.status, given.status) == (403, 403), each.word
                text = html.unescape(await given.text())
                assert f"This needs the right to {each.access}; {name} has" in text
            else:
                assert (asked.status, given.status) == (303, 401), each.word
                assert 'href="/login"' in await given.text()
        operate = await place.client.get("/operate", allow_redirects=False)
        assert operate.status == (200 if name == "grace" else 403 if name else 303)
        page = await (await place.client.get("/machines/machine/boards/0/1/0")).text()
        assert ("/orders/back" in page) == (name == "grace")
        page = await (await place.client.get("/machines/machine/boards/1/1/0")).text()
        assert ("/orders/out" in page) == (name == "grace")
        page = await (await place.client.get("/machines/machine")).text()
        assert ("/orders/out" in page) == (name == "grace")
        page = await (await place.client.get("/jobs/2")).text()
        assert ("/orders/" in page) == (name in {"ada", "grace"})
        assert place.facility.jobs.keys() == {1, 2}


async def test_an_order_needs_its_forms_token(users: str) -> None:
    async with site(two_jobs(), users=users) as place:
        await log_in(place.client, "grace")
        for each in ORDERS:
            text = await (await question(place, each.word)).text()
            data = inputs_of(text) | FILLED.get(each.word, {}) | {"token": "0" * 64}
            answer = await place.client.post(f"/orders/{each.word}", data=data)
            assert answer.status == 403, each.word
        assert place.facility.jobs.keys() == {1, 2}
        assert place.facility.message is None


@pytest.mark.parametrize(
    ("word", "filled", "status", "words"),
    [
        ("end", {"reason": ""}, 400, "Parameter 'reason' is missing."),
        ("end", {"reason": "  "}, 400, "Parameter 'reason' is missing."),
        ("end", {"reason": "x" * 501}, 400, "length <= 500"),
        ("end", {"reason": "a\x07b"}, 400, "do not print"),
        ("end", {"reason": "\u202egnp"}, 400, "do not print"),
        ("end", {"reason": "x", "owner": "eve"}, 409, "The server refuses: job 1 is of 'ada"),
        ("give", {"principal": "ada"}, 400, "Parameter 'principal', 'ada'"),
        ("out", {"reason": "x", "boards": "other:0,0,0"}, 409, "no machine 'other'"),
        ("out", {"reason": "x", "boards": "\n \r"}, 400, "names 0 places"),
        ("out", {"reason": "x", "boards": "a\n" * 101}, 400, "names 101 places"),
        ("back", {"all": "yes"}, 400, "Name 'boards', or say 'all', not both."),
        ("back", {"boards": ""}, 400, "Name 'boards', or say 'all', not both."),
        ("back", {"boards": "", "all": "no"}, 400, "Parameter 'all', 'no'"),
        ("test", {"boards": "machine:1,1,1"}, 409, "not out of service"),
        ("message", {"accepting": "perhaps"}, 400, "Parameter 'accepting', 'perhaps'"),
        ("end-own", {"id": "77"}, 404, "There is no job 77 now."),
        ("report", {"board": "0,0,3", "text": "x"}, 400, "Parameter 'board', '0,0,3'"),
        ("report", {"board": "0,0,0", "text": "x" * 1025}, 400, "length <= 1024"),
        ("report", {"board": "0,0,0", "text": "x", "more": "y"}, 400, "no parameter 'more'"),
    ],
)
async def test_orders_that_cannot_be_are_told(
    users: str, word: str, filled: dict[str, str], status: int, words: str
) -> None:
    async with site(two_jobs(), users=users) as place:
        await log_in(place.client, "grace")

        assert (await order(place, word, **filled))[0] == status
        text = (await order(place, word, **filled))[1]

        assert words in text
        assert place.facility.jobs.keys() == {1, 2}


async def test_questions_that_cannot_be_asked_are_told(users: str) -> None:
    async with site(two_jobs(), users=users) as place:
        await log_in(place.client, "grace")
        cases: list[tuple[str, dict[str, str], int]] = [
            ("end", {"id": "77"}, 409),
            ("end", {"id": "x"}, 400),
            ("give", {}, 400),
            ("out", {"boards": "other"}, 409),
            ("back", {"boards": "machine:1,1,1"}, 400),
            ("end-own", {"id": "77"}, 404),
            ("report", {"id": "77"}, 404),
            ("none", {"id": "1"}, 404),
        ]
        for word, asked, status in cases:
            answer = await place.client.get(f"/orders/{word}?{urlencode(asked)}")
            assert answer.status == status, word
        assert (await place.client.get("/done/none")).status == 404


async def test_a_result_is_for_its_own_session(users: str) -> None:
    async with site(two_jobs(), users=users) as place:
        await log_in(place.client, "grace")
        text = await (await question(place, "message")).text()
        answer = await place.client.post(
            "/orders/message", data=inputs_of(text), allow_redirects=False
        )
        where = answer.headers["Location"]
        assert (await place.client.get(where)).status == 200
        assert (await place.client.get(where)).status == 200
        place.client.session.cookie_jar.clear()
        await log_in(place.client, "ada")
        assert (await place.client.get(where)).status == 404


async def test_without_the_server_nothing_is_done_and_that_is_said(users: str) -> None:
    async with site(two_jobs(), users=users) as place:
        await log_in(place.client, "grace")
        text = await (await question(place, "end")).text()
        await place.server.stop()
        await place.watcher.until(lambda p: p.status.away_since is not None)

        status, result = await give(place, "end", text)
        assert status == 503
        assert "The server is away; nothing was done." in result
        assert "The server is away" in await (await place.client.get("/operate")).text()


async def test_an_answer_that_does_not_come_is_not_taken_for_a_no(users: str) -> None:
    async with site(two_jobs(), users=users) as place:
        await log_in(place.client, "grace")
        text = await (await question(place, "end")).text()
        # Like a server that ends in the middle: it closes at the command.
        left = [command for command in place.server.commands if command != "operate"]
        place.server.commands = tuple(left)

        status, result = await give(place, "end", text)
        assert status == 503
        assert "it is not known whether it was done" in result


async def test_an_answer_of_another_shape_is_said(users: str) -> None:
    async with site(two_jobs(), users=users) as place:
        await log_in(place.client, "grace")
        place.server.answers["operate"] = {"return": {"colour": "red"}}
        answer = await question(place, "end")
        assert answer.status == 503
        assert "reply to operate job" in await answer.text()
        place.server.answers["get_facility"] = {"return": []}
        assert "does not tell" in await (await place.client.get("/account")).text()


async def test_an_older_server_takes_no_orders(users: str) -> None:
    async with site(two_jobs(), users=users, version="1.0.0") as place:
        await log_in(place.client, "grace")
        answer = await question(place, "end")
        assert answer.status == 409
        assert "1.0.0 takes no such orders" in await answer.text()
        assert "takes no such orders" in await (await place.client.get("/operate")).text()


async def test_a_server_without_a_rule_for_the_pages_says_so(users: str) -> None:
    async with site(two_jobs(), users=users) as place:
        await log_in(place.client, "grace")
        place.server.answers["operate"] = {"exception": "as_user is for fronts alone; <i>"}
        answer = await question(place, "end")
        assert answer.status == 409
        assert "The server refuses: as_user is for fronts alone; &lt;i&gt;" in await answer.text()
        assert "as_user is for fronts alone" in await (await place.client.get("/operate")).text()


async def test_names_with_marks_of_html_are_escaped(users: str) -> None:
    facility = empty(1, 1)
    facility.create('<script>alert(1)</script>"', [1])
    async with site(facility, users=users) as place:
        await log_in(place.client, "grace")
        for word in ("end", "give", "end-own"):
            text = await (await question(place, word, id="1")).text()
            assert "<script>alert" not in text
            assert "&lt;script&gt;alert(1)" in text
        assert "<script>alert" not in await (await place.client.get("/operate")).text()
        text = await (await question(place, "end", id="1")).text()
        assert (await give(place, "end", text, reason="<b>x</b>"))[0] == 200
        assert facility.ended[0]["reason"].endswith("<b>x</b>")


async def test_below_a_prefix_orders_stay_there(users: str) -> None:
    async with site(two_jobs(), users=users, base="/spalloc") as place:
        await log_in(place.client, "grace", base="/spalloc")
        for path in ("/operate", "/orders/end?id=1", "/account", "/jobs/1"):
            text = await (await place.client.get(f"/spalloc{path}")).text()
            for address in re.findall(r"""(?:src|href|action|formaction)=["'](/[^"']*)""", text):
                assert address.startswith("/spalloc/")


# --- words ---


def test_words_of_orders() -> None:
    assert counted(1, "board") == "1 board"
    assert counted(1200, "board") == "1\N{NO-BREAK SPACE}200 boards"
    assert plain("x", " a \n b\t") == "a b"
    assert names_of_boards("a\r\n b \n\n") == ["a", "b"]
    with pytest.raises(BadOrderError, match="do not print"):
        names_of_boards("a\x00")
