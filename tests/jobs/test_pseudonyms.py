"""Names past their day, in events, in lines of the job log and in rows of ended jobs."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from spalloc_server._jobs.ended_jobs import EndedJobs
from spalloc_server._jobs.pseudonyms import Forgetter, Pseudonyms

OLD, UNTIL = 100_000.0, 200_000.0
NAMES = Pseudonyms(b"key")
ADA, HOST = NAMES.person("ada"), NAMES.host("10.0.0.9")


@pytest.fixture
def words() -> Forgetter:
    return Forgetter(NAMES, UNTIL, UNTIL)


def event(kind: str, when: float = OLD, **about: Any) -> bytes:
    told = {"number": 7, "state": 3, "time": when, "event": kind, **about}
    return json.dumps(told, separators=(",", ":")).encode() + b"\n"


def log_line(text: str, when: float = OLD) -> bytes:
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(when))
    return f"{stamp},123 {text}\n".encode()


def test_a_pseudonym_is_of_a_kind_and_its_own(words: Forgetter) -> None:
    assert ADA.startswith("user-")
    assert HOST.startswith("host-")
    assert len(ADA) == len(HOST) == 17
    assert NAMES.principal("host:10.0.0.9") == f"host:{HOST}"
    assert NAMES.principal("cert:ada") == f"cert:{ADA}"
    assert NAMES.principal("local") == "local"
    assert NAMES.person("") == ""
    assert NAMES.person(ADA) == NAMES.host(ADA) == ADA
    assert Pseudonyms(b"another").person("ada") != ADA
    assert NAMES.person("\udcff").startswith("user-")


def test_names_in_events_become_pseudonyms(words: Forgetter) -> None:
    created = event("created", owner="ada", host="10.0.0.9", keepalive=60.0, args=[1], kwargs={})
    told: dict[str, Any] = {"job": 5, "by": "client", "by_host": "10.0.0.9"}
    told["by_principal"] = "user:ada"
    ended = event("ended", reason="ada is done, on 10.0.0.9.", **told)
    audit = event("audit", order="end", by="unix:0", told="ada", if_owner="ada", reason="adapt")
    for line in (created, ended, audit):
        words.learn_event(line)

    assert words.event(created) == created.replace(b"ada", ADA.encode()).replace(
        b"10.0.0.9", HOST.encode()
    )
    clean = json.loads(words.event(ended))
    assert clean["reason"] == f"{ADA} is done, on {HOST}."
    assert clean["by"] == "client"
    assert (clean["by_host"], clean["by_principal"]) == (HOST, f"user:{ADA}")
    clean = json.loads(words.event(audit))
    assert (clean["told"], clean["if_owner"], clean["reason"]) == (ADA, ADA, "adapt")
    assert clean["by"] == NAMES.principal("unix:0")


def test_events_of_today_and_clean_ones_stay_the_same_object(words: Forgetter) -> None:
    fresh = event("created", UNTIL, owner="ada")
    newer = event("created", UNTIL + 1, owner="ada")
    plain = event("ready", job=5)
    without_time = b'{"previous":6}\n'
    for line in (fresh, newer, plain, without_time):
        words.learn_event(line)

    assert words.event(fresh) is fresh
    assert words.event(newer) is newer
    assert words.event(plain) is plain
    assert words.event(without_time) is without_time
    clean = words.event(event("created", owner="ada", host=None))
    assert words.event(clean) is clean


def test_a_name_is_known_in_texts_after_its_event_was_cleaned(words: Forgetter) -> None:
    words.learn_event(event("created", owner=ADA, host=None))

    assert json.loads(words.event(event("ended", reason="stopped by ada!")))["reason"] == (
        f"stopped by {ADA}!"
    )


def test_names_of_several_words_are_known_in_texts(words: Forgetter) -> None:
    for name in ("Ada Lovelace", "Ada Lovelace (lab)", "Charles B."):
        words.learn_event(event("created", owner=name, host=None))

    text = words.text("Ada Lovelace (lab), Ada Lovelace and Charles B. left; Adam stays")
    assert text == (
        f"{NAMES.person('Ada Lovelace (lab)')}, {NAMES.person('Ada Lovelace')} and "
        f"{NAMES.person('Charles B.')} left; Adam stays"
    )


def test_what_a_crash_cut_off_goes(words: Forgetter) -> None:
    torn = event("created", owner="ada")[:-9]
    listed = b'[{"time":5.0}]\n'
    words.learn_event(torn)

    assert words.event(torn) == words.event(listed) == b""


def test_names_in_the_job_log_become_pseudonyms(words: Forgetter) -> None:
    created = log_line("job 5: created (1, 2) owner=ada keepalive=60.0 host=10.0.0.9")
    nobody = log_line("job 6: created (1) owner=Ada L. keepalive=None host=None")
    ended = log_line("job 5: destroyed: ada left (by client 10.9.9.9)")
    power = log_line("job 5: power on: board (0, 0, 0) of ada (cabinet 0, frame 0, board 0)")
    down = log_line("server shut down")
    fresh = log_line("job 5: created (1, 2) owner=ada keepalive=60.0 host=10.0.0.9", UNTIL + 1)
    midnight = log_line("job 5: created (1, 2) owner=ada keepalive=60.0 host=10.0.0.9", UNTIL)
    rubbish = b"\xff no time owner=ada\n"
    lines = [created, nobody, ended, power, down, fresh, midnight, rubbish]
    for line in lines:
        words.learn_log(line)

    assert words.log_line(created) == log_line(
        f"job 5: created (1, 2) owner={ADA} keepalive=60.0 host={HOST}"
    )
    assert words.log_line(nobody) == log_line(
        f"job 6: created (1) owner={NAMES.person('Ada L.')} keepalive=None host=None"
    )
    assert words.log_line(ended) == log_line(
        f"job 5: destroyed: {ADA} left (by client {NAMES.host('10.9.9.9')})"
    )
    for line in (power, down, fresh, midnight, rubbish):
        assert words.log_line(line) is line


def test_names_of_ended_jobs_become_pseudonyms(words: Forgetter) -> None:
    row = ["ada", "10.0.0.9", 1.0, None, None, OLD, None, None, None, "client", "10.0.0.9", "x:y"]
    fresh = [*row[:5], UNTIL, *row[6:]]
    nobody = ["", None, 1.0, None, None, OLD, None, None, None, "fault", None, None]
    jobs = EndedJobs(9)
    for job_id, each in ((1, row), (2, fresh), (3, nobody)):
        jobs.add(job_id, "bye, ada" if job_id != 3 else None, each)
    jobs.add(4, "ada", None)
    before = jobs._bytes

    changed = jobs.forget_names(words)

    (told,) = changed
    assert told[:2] == (1, f"bye, {ADA}")
    found = jobs.find(1)
    assert found is not None
    assert (found.owner, found.host, found.by_host, found.by) == (ADA, HOST, HOST, "client")
    assert (found.reason, found.by_principal) == (f"bye, {ADA}", f"x:{NAMES.person('y')}")
    assert [job.job_id for job in jobs.rows(9)] == [4, 3, 2, 1]
    assert [job.owner for job in jobs.rows(9)][2:] == ["ada", ADA]
    assert jobs._bytes > before
    assert jobs.forget_names(words) == []
