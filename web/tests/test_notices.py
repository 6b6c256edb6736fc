"""Notices: which events are worth one, when they are sent, and the memory of them."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from spalloc_web._facility.questions import read_event
from spalloc_web._facility.replies import EventReply
from spalloc_web._notices.memory import Memory
from spalloc_web._notices.news import News, news_of
from spalloc_web._notices.post import HOUR, MOST, TOO_OLD, Message, plan
from spalloc_web._notices.sender import FIRST_WAIT, Sender, disk_trouble, make_sender
from spalloc_web._settings import Destination, SettingError, settings_of

from tests.conftest import following
from tests.support.facility import empty
from tests.support.fake_server import FakeServer

NOW = 1_764_000_000.0
OPS = Destination("ops", "json://localhost/ops")


def event(number: int, kind: str, **more: Any) -> EventReply:
    return EventReply(number, kind, {"time": NOW, **more})


@pytest.mark.parametrize(
    ("kind", "more", "words"),
    [
        (
            "board out",
            {"machine": "m", "board": [0, 1, 2], "text": "power on\nrefused"},
            ("board", "Board (0, 1, 2) of m is out of service: power on refused."),
        ),
        (
            "board back",
            {"machine": "m", "board": [0, 1, 2]},
            ("board", "Board (0, 1, 2) of m is back in service."),
        ),
        (
            "board out",
            {"machine": "m", "board": None, "frame": [0, 3], "boards": 24},
            ("frame", "Frame c0 f3 of m does not answer."),
        ),
        (
            "board back",
            {"machine": "m", "frame": [1, 3], "how": "answers"},
            ("frame", "Frame c1 f3 of m answers again: answers."),
        ),
        (
            "board out",
            {"machine": "m", "board": [0, 1, 2], "sure": False, "text": "link"},
            ("board", "Board (0, 1, 2) of m is a suspect: link."),
        ),
        (
            "report",
            {"machine": "m", "board": [0, 0, 0], "text": "no link", "done": "the board is tested"},
            ("report", "Board (0, 0, 0) of m was reported: no link (the board is tested)."),
        ),
        ("report", {"machine": "m", "board": [0, 0, 0], "done": "noted; a second report"}, None),
        ("created", {"job_id": 1}, None),
    ],
)
def test_news_are_made_of_events(
    kind: str, more: dict[str, Any], words: tuple[str, str] | None
) -> None:
    news = news_of(event(5, kind, **more), 0.0)

    assert (news and (news.kind, news.text)) == words


def test_many_boards_are_counted() -> None:
    news = news_of(event(1, "board out", machine="m", boards=[[x, 0, 0] for x in range(20)]), 0)

    assert news
    assert news.text.endswith("(7, 0, 0) and 12 more of m is out of service.")


def waiting(count: int, time: float = NOW) -> list[tuple[int, News]]:
    return [(key, News(key, time, "board", f"news {key}")) for key in range(count)]


def test_few_news_are_sent_one_by_one() -> None:
    made = plan(waiting(3), 0, NOW)

    assert [message.body for message in made.messages] == ["news 0", "news 1", "news 2"]
    assert made.too_old == []


@pytest.mark.parametrize(("sent", "count"), [(0, 100), (9, 5), (3, 7), (9, 1)])
def test_no_more_than_ten_an_hour_and_the_last_holds_the_rest(sent: int, count: int) -> None:
    made = plan(waiting(count), sent, NOW)

    assert len(made.messages) + sent == MOST
    keys = [key for message in made.messages for key in message.keys]
    assert keys == list(range(count))
    if count > MOST - sent:
        assert made.messages[-1].title == f"spalloc: {count - (MOST - sent) + 1} notices"


def test_after_ten_all_waits_until_the_hour_is_over() -> None:
    assert plan(waiting(5), MOST, NOW).messages == []


def test_a_long_digest_is_cut_and_counted() -> None:
    made = plan(waiting(200), MOST - 1, NOW)

    assert made.messages[0].body.splitlines()[-1] == "and 150 more."


def test_news_of_yesterday_are_given_up() -> None:
    made = plan([*waiting(3, NOW - TOO_OLD - 1), (9, News(9, NOW, "board", "new"))], 0, NOW)

    assert made.too_old == [0, 1, 2]
    assert [message.keys for message in made.messages] == [[9]]


class Mail:
    """Takes messages, or refuses them."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.takes: bool | Exception = True

    def __call__(self, destination: Destination, message: Message) -> bool:
        if isinstance(self.takes, Exception):
            raise self.takes
        if self.takes:
            self.sent.append(message)
        return self.takes


class Clock:
    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def mail() -> Mail:
    return Mail()


@pytest.fixture
def clock() -> Clock:
    return Clock()


_MADE: list[Sender] = []


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Closes all senders that a test makes."""
    yield
    while _MADE:
        _MADE.pop().close()


def sender(folder: Path, mail: Mail, clock: Clock, *routes: Destination) -> Sender:
    _MADE.append(Sender(routes or (OPS,), Memory(folder / "n.db"), mail, wall_clock=clock))
    return _MADE[-1]


def out(number: int) -> EventReply:
    return event(number, "board out", machine="m", board=[number, 0, 0])


async def test_news_are_sent_once_over_restarts(tmp_path: Path, mail: Mail, clock: Clock) -> None:
    first = sender(tmp_path, mail, clock)
    await first.take([out(1), out(2)])
    await first.send_due()

    second = sender(tmp_path, mail, clock)
    await second.take([out(1), out(2), out(3)])
    await second.send_due()

    assert [m.body.split()[1] for m in mail.sent] == ["(1,", "(2,", "(3,"]


async def test_a_destination_gets_only_its_kinds(tmp_path: Path, mail: Mail, clock: Clock) -> None:
    frames = Destination("frames", "json://x", frozenset({"frame"}))
    one = sender(tmp_path, mail, clock, frames)

    await one.take([out(1), event(2, "board out", machine="m", frame=[0, 1])])
    await one.send_due()

    assert [m.body for m in mail.sent] == ["Frame c0 f1 of m does not answer."]


@pytest.mark.parametrize("refusal", [False, RuntimeError("url with password")])
async def test_what_is_not_taken_is_tried_again_later_and_said(
    tmp_path: Path, mail: Mail, clock: Clock, refusal: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    one = sender(tmp_path, mail, clock)
    mail.takes = refusal
    await one.take([out(1)])
    await one.send_due()
    assert one.troubles() == ["notices to ops cannot be sent"]
    mail.takes = True
    await one.send_due()
    assert mail.sent == []

    clock.now += FIRST_WAIT
    await one.send_due()

    assert len(mail.sent) == 1
    assert one.troubles() == []
    assert "password" not in caplog.text


async def test_a_day_without_success_is_given_up_and_said(
    tmp_path: Path, mail: Mail, clock: Clock
) -> None:
    one = sender(tmp_path, mail, clock)
    mail.takes = False
    await one.take([out(1), out(2)])
    await one.send_due()

    clock.now += TOO_OLD + 1
    await one.send_due()
    assert one.troubles() == ["2 notices to ops were given up after a day"]

    mail.takes = True
    late = EventReply(3, "board out", {"time": clock.now, "machine": "m", "board": [3, 0, 0]})
    await one.take([late])
    await one.send_due()
    assert len(mail.sent) == 1
    assert one.troubles() == []


async def test_an_hour_has_ten_messages_and_then_a_digest(
    tmp_path: Path, mail: Mail, clock: Clock
) -> None:
    one = sender(tmp_path, mail, clock)
    for number in range(1, 31):
        await one.take([out(number)])
        await one.send_due()
        clock.now += 1
    assert len(mail.sent) == MOST

    clock.now += HOUR
    await one.send_due()

    assert len(mail.sent) == MOST + 9 + 1
    assert mail.sent[-1].title == "spalloc: 11 notices"


async def test_a_broken_file_is_said_and_holds_nothing_up(
    tmp_path: Path, mail: Mail, clock: Clock
) -> None:
    one = sender(tmp_path, mail, clock)
    with contextlib.closing(sqlite3.connect(tmp_path / "n.db")) as other:
        other.execute("DROP TABLE waiting")

    await one.take([out(1)])
    await one.send_due()

    assert one.troubles() == ["notices cannot be kept: no such table: waiting"]


async def test_what_happened_while_it_was_away_is_sent(
    tmp_path: Path, mail: Mail, clock: Clock
) -> None:
    facility = empty(4, 2)
    facility.set_board("machine", (0, 0, 0), "out")
    numbers = [each["number"] for each in facility.events]
    first = sender(tmp_path, mail, clock)
    await first.take([EventReply(numbers[0], "created", {})])
    facility.set_board("machine", (1, 0, 0), "out")

    async with FakeServer(facility) as server, following(server) as watcher:
        second = sender(tmp_path, mail, clock)
        second.period = 0.01
        task = asyncio.create_task(second.run(watcher.follower))
        while not mail.sent:
            await asyncio.sleep(0.001)
        facility.set_board("machine", (2, 0, 0), "out")
        server.notify()
        while len(mail.sent) < 2:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    assert [m.body.split(" of")[0] for m in mail.sent] == ["Board (1, 0, 0)", "Board (2, 0, 0)"]


class Health(http.server.BaseHTTPRequestHandler):
    status, body = 200, b""

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def health() -> Iterator[str]:
    server = http.server.HTTPServer(("127.0.0.1", 0), Health)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/health"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_disk_trouble_is_told_when_it_comes_and_when_it_goes(
    tmp_path: Path, mail: Mail, clock: Clock, health: str
) -> None:
    one = sender(tmp_path, mail, clock)
    problem = [{"what": "disk", "text": "no space left"}]
    for status, problems in ((200, []), (503, problem), (503, problem), (200, [])):
        Health.status = status
        Health.body = json.dumps({"status": "?", "problems": problems}).encode()
        clock.now += 1
        await one.look_at_health(health)
        await one.send_due()

    assert [m.body for m in mail.sent] == [
        "The server's disk is in trouble: no space left.",
        "The server's disk is well.",
    ]


def test_a_health_page_that_makes_no_sense_says_nothing(health: str) -> None:
    for body in (b"x", b"[]", b'{"problems": 5}', b'{"problems": [5]}'):
        Health.status, Health.body = 200, body
        assert disk_trouble(health) == (None, "")
    assert disk_trouble("http://127.0.0.1:1/") == (None, "")


def test_addresses_are_checked_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("apprise")
    values = {"state_dir": str(tmp_path)}
    assert make_sender(settings_of(values)) is None

    words = r"\[notice x\]: its url is none that Apprise knows"
    with pytest.raises(SettingError, match=words) as e:
        make_sender(settings_of(values, (Destination("x", "secret-nonsense"),)))
    assert "secret" not in str(e.value) + caplog.text

    blocked = tmp_path / "file"
    blocked.touch()
    with pytest.raises(SettingError, match="state_dir"):
        make_sender(settings_of({"state_dir": str(blocked)}, (OPS,)))

    monkeypatch.setitem(sys.modules, "apprise", None)
    with pytest.raises(SettingError, match="notices need Apprise"):
        make_sender(settings_of(values, (OPS,)))


class Post(http.server.BaseHTTPRequestHandler):
    taken: list[Any] = []

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        self.taken.append(json.loads(self.rfile.read(length)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


async def test_apprise_delivers(tmp_path: Path) -> None:
    pytest.importorskip("apprise")
    server = http.server.HTTPServer(("127.0.0.1", 0), Post)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        url = f"json://127.0.0.1:{server.server_port}/"
        one = make_sender(settings_of({"state_dir": str(tmp_path)}, (Destination("x", url),)))
        assert one
        made = read_event({"number": 1, "event": "board out", "machine": "m", "board": [0, 0, 0]})
        assert made
        await one.take([made])
        await one.send_due()
        one.close()
    finally:
        server.shutdown()
        thread.join()
        server.server_close()

    assert [each["message"] for each in Post.taken] == ["Board (0, 0, 0) of m is out of service."]


def test_nothing_of_news_that_were_given_up_stays_in_a_file(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "notices.db")
    texts = [f"Board ({n}, 0, 0) was reported: Zacharias saw smoke." for n in range(99)]
    memory.take("mail", [News(n, 5.0, "report", text) for n, text in enumerate(texts)], 99)
    before = [b"Zacharias" in path.read_bytes() for path in tmp_path.iterdir()]

    memory.forget([key for key, _ in memory.waiting("mail")])
    memory.close()

    assert any(before)
    assert not any(b"Zacharias" in path.read_bytes() for path in tmp_path.iterdir())
