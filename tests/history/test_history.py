"""Questions to a history, and events written into it."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from spalloc_server._history.database import Database
from spalloc_server._history.history import History, HistoryError, JobFilter, plain
from spalloc_server._history.recorder import Recorder
from tests.history.story import DAY, MARCH, STATE, Story, history_of, write

Make = Callable[[Story], History]


def a_week() -> Story:
    """A job a day, each waits 10 s more than the one before and runs for an hour."""
    story = Story()
    story.machine()
    for day in range(7):
        story.now = MARCH + day * DAY
        owner = ("ada", "ben")[day % 2]
        story.life(day + 1, 10.0 * day, 3600.0, (0, 0, 2, 1), owner=owner)
    return story


def test_a_job_is_told_as_it_went(history: Make) -> None:
    story = Story()
    story.machine()
    story.created(7, 0.0, 2, 1)
    story.allocated(7, 5.0, (1, 0, 2, 1), without=[[1, 0, 2]], boards=5)
    story.ready(7, 6.0)
    story.ended(7, 100.0)
    story.tell("freed", 1.0, job=7, machine="m", place=[1, 0, 2, 1])

    told = history(story).job(7)

    assert told is not None
    assert (told.job.job, told.job.state, told.job.owner, told.job.host) == (
        *(7, STATE, "ada", "10.1.2.3"),
    )
    assert (told.job.created, told.job.allocated, told.job.ready, told.job.ended) == (
        *(MARCH, MARCH + 5, MARCH + 11, MARCH + 111),
    )
    assert (told.job.machine, told.job.place, told.job.boards, told.job.asked) == (
        *("m", [1, 0, 2, 1], 5, 6),
    )
    assert (told.job.reason, told.job.ended_by, told.job.ended_by_host) == (
        *("done", "client", "10.1.2.3"),
    )
    assert (told.job.args, told.job.kwargs, told.job.keepalive, told.network) == (
        *([2, 1], {}, 60.0, "10.1.2.0/24"),
    )
    (place,) = told.places
    assert (place.waited, place.began, place.left, place.off) == (
        *(5.0, MARCH + 5, MARCH + 111, MARCH + 112),
    )
    assert place.without == [[1, 0, 2]]


def test_a_job_that_was_moved_has_two_places(history: Make) -> None:
    story = Story()
    story.created(1)
    story.allocated(1, 10.0, (0, 0, 0))
    place = [0, 0, 0]
    story.tell("moved", 20.0, job=1, machine="m", place=place, attempt=1, fault="no power")
    story.allocated(1, 3.0, (1, 1, 1))

    told = history(story).job(1)

    assert told is not None
    assert told.job.moves == 1
    assert told.job.place == [1, 1, 1]
    assert [(place.place, place.waited, place.fault) for place in told.places] == [
        ([0, 0, 0], 10.0, "no power"),
        ([1, 1, 1], 3.0, None),
    ]


def test_events_told_twice_count_once(tmp_path: Path) -> None:
    story = a_week()
    story.tell("board out", machine="m", board=[0, 0, 0], kind="fpga", text="no answer")
    story.tell("board back", 5.0, machine="m", board=[0, 0, 0], how="test passed")
    story.tell("report", machine="m", board=[0, 0, 1], job=7, host="10.1.2.3", text="dead?")
    once = history_of(tmp_path / "once", story)

    database = Database(str(tmp_path / "twice.db"))
    write(database, story.events)
    write(database, story.events)
    database.close()
    twice = History(str(tmp_path / "twice.db"))

    for ask in (History.jobs, History.faults, History.reports):
        assert ask(twice) == ask(once)
    span = (MARCH, MARCH + 7 * DAY)
    assert twice.usage(*span) == once.usage(*span)
    once.close()
    twice.close()


def test_a_cold_start_ends_the_jobs_it_forgot(history: Make) -> None:
    story = Story()
    story.life(1, 0.0, 10.0)
    story.created(2)
    later = Story(STATE + 10**12, MARCH + 1000)
    later.tell("started", cold=True, last=STATE, version="1.1.0")
    later.created(2)
    story.events += later.events

    told = history(story)

    newest, oldest = told.job(2), told.job(2, STATE)
    assert newest is not None
    assert oldest is not None
    assert newest.job.ended is None
    assert newest.namesakes == [STATE]
    assert (oldest.job.ended, oldest.job.ended_by) == (MARCH + 1000, "server")
    first = told.job(1)
    assert first is not None
    assert first.job.ended == MARCH + 10


def test_a_job_that_nobody_knows_is_none(history: Make) -> None:
    told = history(a_week())

    assert told.job(99) is None
    assert told.job(1, state=5) is None


def test_an_event_without_sense_is_left_out_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    story = Story()
    story.tell("created", job=1)
    story.tell("board out", machine="m", kind="fpga", text="which?")
    story.tell("weather", degrees=21)
    story.tell("freed", job=7, machine="m", place=[0, 0, 0])
    database = Database(str(tmp_path / "history.db"))
    with database.writing() as connection:
        recorded = [Recorder(connection).record(event) for event in story.events]
    database.close()

    assert recorded == [False, False, True, True]
    assert "event left out: KeyError: 'owner'" in caplog.text
    assert "event left out: ValueError: neither a board nor a frame" in caplog.text


def test_text_and_numbers_of_any_kind_are_kept(history: Make) -> None:
    story = Story()
    story.created(1, 0.0, 10**40, owner="a\0b\ud800c\u00e9")
    story.ended(1, 1.0, reason="\ud800")

    told = history(story).job(1)

    assert told is not None
    assert (told.job.owner, told.job.reason) == ("a\\x00b\\ud800c\u00e9", "\\ud800")
    assert (told.job.args, told.job.asked) == ([10**40], 2**31 - 1)


def test_a_host_that_is_no_ipv4_address_has_no_network(history: Make) -> None:
    story = Story()
    story.created(1, host="fe80::1")

    told = history(story).job(1)

    assert told is not None
    assert (told.job.host, told.network) == ("fe80::1", None)


# --- lists ---


def test_lists_are_newest_first_and_paged_by_key(history: Make) -> None:
    told = history(a_week())

    first = told.jobs(limit=3)
    second = told.jobs(after=first.next, limit=3)
    third = told.jobs(after=second.next, limit=3)

    assert [[row.job for row in page.rows] for page in (first, second, third)] == [
        [7, 6, 5],
        [4, 3, 2],
        [1],
    ]
    assert third.next is None


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (JobFilter(owner="ben"), [6, 4, 2]),
        (JobFilter(owner="nobody"), []),
        (JobFilter(machine="m"), [7, 6, 5, 4, 3, 2, 1]),
        (JobFilter(machine="other"), []),
        (JobFilter(host="10.1.2.3", since=MARCH + 5 * DAY), [7, 6]),
        (JobFilter(network="10.1.2.0/24", until=MARCH + DAY), [1]),
        (JobFilter(since=MARCH + DAY, until=MARCH + 3 * DAY), [3, 2]),
        (JobFilter(reason="DON"), [7, 6, 5, 4, 3, 2, 1]),
        (JobFilter(reason="d%e"), []),
        (JobFilter(by="keepalive"), []),
        (JobFilter(ended=False), []),
        (JobFilter(ended=True, owner="ada"), [7, 5, 3, 1]),
        (JobFilter(machine="m", board=(1, 0, 2)), [7, 6, 5, 4, 3, 2, 1]),
        (JobFilter(machine="m", board=(2, 0, 2)), []),
    ],
)
def test_lists_are_filtered(history: Make, wanted: JobFilter, expected: list[int]) -> None:
    assert [row.job for row in history(a_week()).jobs(wanted).rows] == expected


def test_the_jobs_of_a_board_are_those_that_had_it(history: Make) -> None:
    story = Story()
    story.machine(width=4, height=2)
    story.life(1, 0.0, 1.0, (3, 1, 2, 1))  # across the right edge
    story.life(2, 0.0, 1.0, (0, 1, 1))
    story.life(3, 0.0, 1.0, (0, 1, 2))
    story.created(4)
    story.allocated(4, 0.0, (0, 1, 1, 1), without=[[0, 1, 1]])
    told = history(story)

    assert [row.job for row in told.board_jobs("m", (0, 1, 1)).rows] == [2, 1]
    assert [row.job for row in told.board_jobs("m", (0, 1, 2)).rows] == [4, 3, 1]
    assert [row.job for row in told.board_jobs("m", (1, 1, 0)).rows] == []


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda told: told.jobs(after="here"), "'here' is no page"),
        (lambda told: told.jobs(after=f"1.0/{2**63}"), "is no page"),
        (lambda told: told.jobs(JobFilter(board=(0, 0, 0))), "without its machine"),
        (lambda told: told.usage(by="weather"), "'weather'"),
        (lambda told: told.usage(since=MARCH, until=MARCH - 9 * DAY), "ends before it begins"),
        (lambda told: told.series(step="hour"), "'hour'"),
        (lambda told: told.series(owner="a", machine="m"), "only one of owner, machine"),
    ],
)
def test_questions_without_sense_are_refused(
    history: Make, ask: Callable[[History], object], words: str
) -> None:
    with pytest.raises(HistoryError, match=words):
        ask(history(a_week()))


# --- usage ---


def test_usage_by_owner(history: Make) -> None:
    told = history(a_week()).usage(MARCH, MARCH + 7 * DAY)

    assert [(row.name, row.jobs, row.board_hours) for row in told.rows] == [
        ("ada", 4, 24.0),
        ("ben", 3, 18.0),
    ]
    assert told.total.jobs == 7
    assert told.total.utilisation == pytest.approx(42 / (24 * 7 * 24))
    assert told.rows[0].waits.median == pytest.approx(20.0, rel=0.05)
    assert told.rows[0].waits.p95 == pytest.approx(60.0, rel=0.05)
    assert told.rows[0].utilisation is None


def test_usage_leaves_off_the_least(history: Make) -> None:
    told = history(a_week()).usage(MARCH, MARCH + 7 * DAY, limit=1)

    assert [row.name for row in told.rows] == ["ada"]
    assert told.left_off == 1
    assert told.total.board_hours == 42.0


def test_usage_by_machine_tells_utilisation(history: Make) -> None:
    (row,) = history(a_week()).usage(MARCH, MARCH + DAY, by="machine").rows

    assert (row.name, row.board_hours) == ("m", 6.0)
    assert row.utilisation == pytest.approx(6 / (24 * 24))


def test_boards_in_use_count_until_the_server_was_last_asked(
    history: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("time.time", lambda: MARCH + 7200)
    story = Story()
    story.machine()
    story.created(2, owner="ben")
    story.created(1)
    story.allocated(1, 3600.0, (0, 0, 1, 1))
    told = history(story)

    assert told.usage(MARCH, MARCH + DAY).rows[0].board_hours == 3.0
    assert told.usage(MARCH + DAY, MARCH + 2 * DAY).rows == []
    assert [row.board_hours for row in told.series(MARCH, MARCH + DAY)] == [3.0]
    assert [row.board_hours for row in told.series(MARCH, MARCH + DAY, owner="ada")] == [3.0]
    assert [row.board_hours for row in told.series(MARCH, MARCH + DAY, owner="ben")] == [0.0]
    # Two hours of a machine of 24 boards could be used so far.
    assert told.usage(MARCH, MARCH + DAY).total.utilisation == pytest.approx(3 / 48)


def test_a_series_has_every_day(history: Make) -> None:
    rows = history(a_week()).series(MARCH - DAY, MARCH + 3 * DAY, owner="ada")

    assert [(row.name, row.jobs) for row in rows] == [
        ("2026-02-28", 0),
        ("2026-03-01", 1),
        ("2026-03-02", 0),
        ("2026-03-03", 1),
    ]


def test_a_job_over_midnight_counts_to_both_days(history: Make) -> None:
    story = Story(begin=MARCH + DAY - 1800)
    story.life(1, 0.0, 3600.0)

    rows = history(story).series(MARCH, MARCH + 2 * DAY)

    assert [row.board_hours for row in rows] == [0.5, 0.5]


@pytest.fixture(scope="module")
def spring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[History]:
    """A job a day from the middle of January to the end of May."""
    story = Story(begin=MARCH - 45 * DAY)
    story.machine()
    for number in range(135):
        story.now = MARCH + (number - 45) * DAY
        story.life(number + 1, 1.0, 3600.0)
    with closing(history_of(tmp_path_factory.mktemp("spring"), story)) as told:
        yield told


@pytest.mark.parametrize("first", [-40, -3, 0, 12, 31])
@pytest.mark.parametrize("last", [2, 31, 59, 61, 95])
def test_months_and_days_add_up_to_the_days(spring: History, first: int, last: int) -> None:
    told = spring
    span = (MARCH + first * DAY, MARCH + (last + 32) * DAY)

    by_day = told.usage(*span, by="day").rows
    total = told.usage(*span).total

    assert total.jobs == sum(row.jobs for row in by_day) > 0
    assert total.board_hours == pytest.approx(sum(row.board_hours for row in by_day))
    assert sum(row.board_hours for row in told.usage(*span).rows) == pytest.approx(
        total.board_hours
    )
    by_month = told.usage(*span, by="month")
    assert all(row.name.endswith("-01") for row in by_month.rows)
    assert by_month.since <= span[0] < span[1] <= by_month.until
    assert by_month.total.jobs == sum(row.jobs for row in by_month.rows) >= total.jobs
    assert by_month.total.board_hours == pytest.approx(
        sum(row.board_hours for row in by_month.rows)
    )


def test_waits_are_told_in_buckets(history: Make) -> None:
    buckets = history(a_week()).waits(MARCH, MARCH + 7 * DAY, machine="m")

    assert sum(bucket.jobs for bucket in buckets) == 7
    assert buckets[0].low == 0.0
    assert buckets[-1].low <= 60.0 < buckets[-1].high
    assert history(Story()).waits(owner="nobody") == []


# --- boards ---


def test_faults_are_told_with_their_frames(history: Make) -> None:
    story = Story()
    story.life(1, 0.0, 5.0)
    about: dict[str, Any] = {"machine": "m", "board": [0, 0, 1], "job": 1}
    about["physical"] = [0, 1, 5]
    story.tell("board out", 0.0, **about, kind="power_on", text="refused", sure=False)
    story.tell("board out", 5.0, **about, kind="power_on", text="refused again", sure=True)
    story.tell("board back", 60.0, **about, how="test passed")
    silent: dict[str, Any] = {"machine": "m", "board": None, "frame": [0, 1]}
    story.tell("board out", 9.0, **silent, boards=24, kind="silent", text="no answer")
    told = history(story)

    silence, fault = told.faults("m")

    assert (silence.board, silence.physical, silence.back) == (None, [0, 1, None], None)
    assert (fault.board, fault.physical, fault.job) == ([0, 0, 1], [0, 1, 5], 1)
    assert (fault.text, fault.sure, fault.how) == ("refused again", True, "test passed")
    assert fault.back == fault.since + 65.0
    (frame,) = told.faults_by_frame()
    assert (frame.faults, frame.boards, frame.silent) == (2, 1, 1)
    assert told.faults(board=(0, 0, 1)) == [fault]
    assert told.faults(since=fault.back + 1) == [silence]
    assert told.faults(until=silence.since) == [fault]
    assert told.faults("other") == []


def test_reports_are_told(history: Make) -> None:
    story = Story()
    story.life(1, 0.0, 5.0)
    about: dict[str, Any] = {"text": "it hangs", "done": "noted", "host": "10.1.2.3"}
    story.tell("report", machine="m", board=[0, 0, 0], job=1, **about)
    told = history(story)

    (report,) = told.reports("m", (0, 0, 0))

    assert (report.job, report.host, report.text, report.done) == (
        *(1, "10.1.2.3", "it hangs", "noted"),
    )
    detail = told.job(1)
    assert detail is not None
    assert detail.reports == [report]
    assert told.reports(since=report.time + 1) == told.reports(until=report.time) == []


def test_answers_are_ready_for_json(history: Make) -> None:
    told = history(a_week())

    text = json.dumps(plain([told.jobs(), told.job(1), told.usage(MARCH), told.status()]))

    assert '"owner": "ada"' in text
    assert json.loads(text)[1]["job"]["place"] == [0, 0, 2, 1]


def test_the_status_of_a_history_without_follower(history: Make) -> None:
    status = history(a_week()).status()

    assert (status.server, status.after) == (None, 0)
    assert (status.first, status.last) == (MARCH, MARCH + 6 * DAY)
    assert history(Story()).machines() == ["m"]
