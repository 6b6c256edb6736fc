"""Reading old job logs."""

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._history.old_logs import Counts, OldLog
from tests.history.logs import ORIGINALS, OURS, OURS_1_0


def events(text: str, **options: Any) -> list[dict[str, Any]]:
    return list(OldLog(zone=timezone.utc, **options).events(text.splitlines(keepends=True)))


def told(found: Iterable[dict[str, Any]], kind: str, *names: str) -> list[Any]:
    chosen = [[each.get(name) for name in names] for each in found if each["event"] == kind]
    return [each[0] for each in chosen] if len(names) == 1 else chosen


def test_our_log_tells_what_was_asked_for() -> None:
    found = events(OURS)

    assert told(found, "created", "job", "owner", "args", "kwargs", "keepalive") == [
        [1, "ada lovelace", [], {}, None],
        [2, "bob, (x) owner=c", [3], {"tags": ["default"], "max_dead_boards": 0}, 90.0],
        [3, "carl", [4, 2], {}, None],
        [4, "dora", [50, 50], {}, None],
    ]
    assert set(told(found, "created", "host")) == {"127.0.0.1"}


def test_our_log_tells_boards_and_ends() -> None:
    found = events(OURS)

    assert told(found, "allocated", "job", "machine", "place", "boards") == [
        [1, "m", [0, 0, 0], 1],
        [2, "m", [0, 1, 1, 1], 3],
    ]
    assert told(found, "ready", "job") == [1, 2]
    assert told(found, "ended", "job", "reason", "by", "by_host") == [
        [4, "Cancelled: No suitable machines available.", "request", None],
        [2, "enough\\nof it", "client", "127.0.0.1"],
        [1, None, "client", "127.0.0.1"],
        [3, "Cancelled: no more", "client", "127.0.0.1"],
    ]


def test_boards_of_the_first_version_are_gathered_from_their_lines() -> None:
    found = events(OURS_1_0)

    began = datetime(2026, 3, 1, 9, 0, 5, tzinfo=timezone.utc).timestamp()
    assert told(found, "allocated", "time", "place", "boards", "without") == [
        [began, [2, 1, 1, 1], 2, [[2, 1, 2]]],
        [began + 25, [3, 1, 1, 1], 3, []],
    ]
    assert told(found, "moved", "attempt", "fault") == [[1, "power on refused"]]
    assert told(found, "ended", "reason") == [None]
    assert told(found, "created", "host", "kwargs") == [[None, {"machine": "m"}]]


def test_the_originals_log_gives_jobs_their_numbers() -> None:
    found = events(ORIGINALS)

    assert told(found, "created", "job", "owner", "args", "keepalive") == [
        [1, "ada lovelace", [], None],
        [2, "bob", [3], 90.0],
        [3, "carl", [4, 2], None],
        [4, "dora", [50, 50], None],
    ]
    assert told(found, "created", "kwargs")[1] == {"tags": ["default"]}
    assert told(found, "ended", "job", "reason", "by", "by_host") == [
        [4, None, "server", None],
        [2, "enough\nof it", "client", "10.0.0.1"],
        [1, "Job timed out.", "keepalive", None],
        [3, None, "client", "10.0.0.1"],
    ]


def test_the_originals_boards_are_found_by_their_bmps() -> None:
    def find(host: str, number: int) -> tuple[str, tuple[int, int, int]]:
        assert host == "10.114.0.0"
        return "m", (number // 3 % 4, number // 12, number % 3)

    known, unknown = events(ORIGINALS, find_board=find), events(ORIGINALS)

    assert told(known, "allocated", "job", "machine", "place", "boards") == [
        [1, "m", [0, 0, 0], 1],
        [2, "m", [0, 1, 1, 1], 3],
    ]
    assert told(unknown, "allocated", "job", "machine", "place", "boards") == [
        [1, "(unknown)", None, 1],
        [2, "(unknown)", None, 3],
    ]


def test_a_log_that_begins_in_the_middle_is_numbered_from_what_it_tells() -> None:
    text = """\
2019-01-01 00:00:00,000: create_job((8, 8),{'owner': 'a'}) from h
2019-01-01 00:00:01,000: create_job((),{'owner': 'b'}) from h
2019-01-01 00:00:01,000: power_job(42,On) from h
2019-01-01 00:00:02,000: create_job((),{'owner': 'c'}) from h
2019-01-01 00:00:09,000: destroy_job(41) from h
"""

    found = events(text)

    assert told(found, "created", "owner", "job") == [["a", 41], ["b", 42], ["c", 43]]
    assert told(found, "ended", "job") == [41]


def test_numbers_that_begin_anew_are_noticed() -> None:
    text = """\
2019-01-01 00:00:00,000: create_job((),{'owner': 'a'}) from h
2019-01-01 00:00:00,000: power_job(42,On) from h
2019-01-01 00:00:01,000: create_job((),{'owner': 'b'}) from h
2019-01-01 00:00:01,000: power_job(43,On) from h
2019-01-01 00:00:02,000: destroy_job(42) from h
2019-01-01 00:00:05,000: create_job((8, 8),{'owner': 'c'}) from h
2019-01-01 00:00:06,000: create_job((),{'owner': 'd'}) from h
2019-01-01 00:00:06,000: power_job(42,On) from h
2019-01-01 00:00:07,000: destroy_job(42) from h
"""

    found = events(text)

    assert told(found, "created", "owner", "job") == [["a", 42], ["b", 43], ["c", 41], ["d", 42]]
    assert told(found, "ended", "job", "by") == [[42, "client"], [43, "server"], [42, "client"]]


def test_a_job_of_an_earlier_file_is_found() -> None:
    text = "2026-01-01 00:00:00,000 job 9: destroyed: done (by client h)\n"

    assert told(events(text, find_state=lambda job, _: -job), "ended", "state") == [-9]
    assert events(text) == []


def test_a_job_whose_number_comes_again_was_lost() -> None:
    line = "2026-01-01 00:00:0{},000 job 1: created () owner=a keepalive=60.0 host=h\n"

    found = events(line.format(0) + line.format(5))

    assert [each["event"] for each in found] == ["created", "ended", "created"]
    assert found[0]["state"] != found[2]["state"]


def test_a_power_on_without_boards_gives_none() -> None:
    text = """\
2026-01-01 00:00:00,000 job 1: created () owner=a keepalive=60.0 host=h
2026-01-01 00:00:01,000 job 1: power on: board somewhere
2026-01-01 00:00:02,000 job 1: destroyed: done (by client h)
"""

    assert [each["event"] for each in events(text)] == ["created", "ended"]


def test_numbers_begin_with_one() -> None:
    text = """\
2019-01-01 00:00:00,000: create_job((8, 8),{'owner': 'a'}) from h
2019-01-01 00:00:01,000: create_job((),{'owner': 'b'}) from h
2019-01-01 00:00:01,000: power_job(1,On) from h
"""

    assert told(events(text), "created", "owner", "job") == [["b", 1]]


def test_times_are_of_the_zone_that_is_told() -> None:
    text = "2026-07-01 12:00:00,500 job 1: created () owner=a keepalive=60.0 host=h\n"

    summer = events(text)[0]["time"]
    (london,) = OldLog(zone=ZoneInfo("Europe/London")).events([text])

    assert london["time"] == summer - 3600


@pytest.mark.parametrize(
    "line",
    [
        "hello\n",
        "\n\nhello\n",
        "2026-13-41 12:00:00,500 job 1: ready\n",
        "2026-07-01 12:00:00,500 job 1: danced\n",
        "2026-07-01 12:00:00,500 something else\n",
        "2026-07-01 12:00:00,500 job 1: created (1,,) owner=a keepalive=60.0 host=h\n",
        "2026-07-01 12:00:00,500 job 1: created (f(1)) owner=a keepalive=60.0 host=h\n",
        "2026-07-01 12:00:00,500: create_job(1) from h\n",
        "2026-07-01 12:00:00,500: create_job((),{'owner') from h\n",
        "2026-07-01 12:00:00,500: danced\n",
    ],
)
def test_what_is_not_understood_is_counted(line: str) -> None:
    log = OldLog()

    assert list(log.events(line.splitlines(keepends=True))) == []
    assert log.counts == Counts(1, 1)


def test_an_empty_log_tells_nothing() -> None:
    log = OldLog()

    assert list(log.events(["\n", "  \n"])) == []
    assert log.counts == Counts(0, 0)


@given(st.text(), st.sampled_from([OURS, OURS_1_0, ORIGINALS]), st.data())
def test_no_line_is_too_strange(junk: str, text: str, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(place, len(text)))

    events(text[:place] + junk + text[end:])
