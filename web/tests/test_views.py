"""The content for each reader; changes add up to the whole."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from spalloc_web._facility.marks import Marks, letters
from spalloc_web._facility.picture import Job, Machine, Picture, Status, in_order
from spalloc_web._facility.replies import BoardRow, WaitingReply, WhyReply
from spalloc_web._shown.views import changes, status_shown, whole
from spalloc_web._sight import Sight

from tests.support.facility import STATES

SECRET = "Ada Lovelace"


def machine(chance: random.Random, name: str, width: int = 2, height: int = 2) -> Machine:
    rows = [
        BoardRow(x, y, z, chance.choice(STATES), chance.choice((None, 1, 2)), SECRET)
        for x in range(width)
        for y in range(height)
        for z in range(3)
    ]
    return Machine(name, width, height, ("default",), (), in_order(rows))


def picture(chance: random.Random, number: int) -> Picture:
    machines = {
        name: machine(chance, name, width=chance.choice((2, 2, 3)))
        for name in chance.sample(["a", "b", "c"], chance.randint(0, 3))
    }
    jobs = {
        job_id: Job(
            job_id, "ready", SECRET, "10.9.8.7", machine="a", mark=chance.choice((None, 3, 30))
        )
        for job_id in range(1, chance.randint(1, 6))
    }
    queue = tuple(
        WaitingReply(job_id, 1, 0, [], [WhyReply("a", chance.choice(("x", "y")))])
        for job_id in range(chance.randint(0, 2))
    )
    status = Status("host:1", "1.1.0", message="Hello")
    return Picture(number, status, machines, jobs, queue)


def as_json(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def apply(frame: dict[str, Any], shown: dict[str, Any]) -> dict[str, Any]:
    """Apply a frame of changes as the page's store does."""
    assert frame["base"] == shown["n"]
    jobs = {job["job_id"]: job for job in shown["jobs"]}
    for job in frame.get("jobs", []):
        jobs[job["job_id"]] = job
    for job_id in frame.get("gone_jobs", []):
        del jobs[job_id]
    machines = {each["name"]: each for each in shown["machines"]}
    for each in frame.get("machines", []):
        machines[each["name"]] = each
    for name, rows in frame.get("boards", {}).items():
        boards = {tuple(row[:3]): row for row in machines[name]["boards"]}
        for row in rows:
            assert tuple(row[:3]) in boards
            boards[tuple(row[:3])] = row
        machines[name] = machines[name] | {"boards": list(boards.values())}
    if "order" in frame:
        machines = {name: machines[name] for name in frame["order"]}
    return {
        "kind": "whole",
        "n": frame["n"],
        "status": frame["status"],
        "machines": list(machines.values()),
        "jobs": sorted(jobs.values(), key=lambda job: job["job_id"]),
        "queue": frame.get("queue", shown["queue"]),
    }


@pytest.mark.parametrize("sight", [Sight.STATES, Sight.ALL])
def test_changes_add_up_to_the_whole(sight: Sight) -> None:
    chance = random.Random(8)
    old = picture(chance, 1)
    shown = as_json(whole(old, sight, status_shown(old.status, 0.0)))
    for number in range(2, 200):
        new = picture(chance, number)
        if number % 3 == 0:
            # Most often only few boards change.
            new = replace(old, number=number, jobs=new.jobs, queue=new.queue)
        status = status_shown(new.status, float(number))

        shown = apply(as_json(changes(old, new, sight, status)), shown)

        assert shown == as_json(whole(new, sight, status))
        old = new


def test_those_not_logged_in_see_no_owner_host_or_text() -> None:
    chance = random.Random(3)
    for number in range(1, 30):
        old, new = picture(chance, number), picture(chance, number + 1)
        status = status_shown(new.status, 0.0)
        for shape in (whole(new, Sight.STATES, status), changes(old, new, Sight.STATES, status)):
            text = msgspec.json.encode(shape).decode()
            assert SECRET not in text
            assert "10.9.8.7" not in text
        assert SECRET in msgspec.json.encode(whole(new, Sight.ALL, status)).decode() or not (
            new.machines or new.jobs
        )


def test_equal_pictures_differ_in_nothing() -> None:
    one = picture(random.Random(5), 1)
    two = replace(one, number=2)

    frame = as_json(changes(one, two, Sight.ALL, status_shown(two.status, 0.0)))

    assert set(frame) == {"kind", "n", "base", "status"}


def test_a_text_that_changes_is_no_change_for_those_who_do_not_see_it() -> None:
    row = BoardRow(0, 0, 0, "out", None, "until 1")
    one = Picture(1, Status("h"), {"m": Machine("m", 1, 1, boards=(row,))})
    later = row._replace(text="until 2")
    two = Picture(2, Status("h"), {"m": Machine("m", 1, 1, boards=(later,))})
    status = status_shown(two.status, 0.0)

    assert changes(one, two, Sight.STATES, status).boards == {}
    assert changes(one, two, Sight.ALL, status).boards == {
        "m": [(0, 0, 0, "out", None, "until 2")]
    }


@pytest.mark.parametrize(
    ("mark", "text"), [(0, "A"), (25, "Z"), (26, "AA"), (51, "AZ"), (52, "BA"), (702, "AAA")]
)
def test_marks_are_written_like_columns_of_a_spreadsheet(mark: int, text: str) -> None:
    assert letters(mark) == text


def test_no_two_jobs_have_one_mark() -> None:
    chance = random.Random(2)
    marks = Marks()
    before: dict[int, int | None] = {}
    for _ in range(300):
        jobs = chance.sample(range(50), chance.randint(0, 20))
        marks.update(jobs)
        now = {job: marks.of(job) for job in jobs}

        assert None not in now.values()
        assert len(set(now.values())) == len(jobs)
        assert all(now[job] == before[job] for job in now.keys() & before.keys())
        assert max((mark for mark in now.values() if mark is not None), default=0) < 40
        before = now
    assert marks.of(99) is None
