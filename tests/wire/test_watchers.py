"""Watches come and go by the protocol's rules; changes are told in order, and not too early."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import pytest

from spalloc_server._wire import watchers as watchers_module
from spalloc_server._wire.peer import Peer, Tried
from spalloc_server._wire.watchers import (
    Watchers,
    Watches,
    bytes_of,
    how_many,
    unwatch,
    watch,
)
from tests.support.fake_client import FakeClient


class Position:
    """A write-ahead that is safe as far as the test says."""

    def __init__(self) -> None:
        self.position = 0
        self.safe = 10**9

    def commit(self) -> int:
        self.position += 1
        return self.position


class Site:
    """Watchers on their own, with all that they have told, and the peers that have changed."""

    def __init__(self) -> None:
        self.jobs: Watches = {}
        self.machines: Watches = {}
        self.position = Position()
        self.peers: dict[Any, Peer] = {}
        self.told: list[Any] = []
        self.on_told: Callable[[Any], object] = lambda _: None
        self.at_once = False
        self.changed: list[Any] = []
        self.wakes = 0
        self.watchers = Watchers(
            tables=lambda: (self.jobs, self.machines),
            peer_of=self.peer,
            write_ahead=self.position,  # type: ignore[arg-type]
            send=self.send,
            at_once=lambda: self.at_once,
            on_change=lambda peer: self.changed.append(peer.client),
            wake=self.wake,
        )

    def peer(self, client: Any) -> Peer:
        return self.peers.setdefault(client, Peer(client))

    def send(self, client: Any, line: bytes, tried: Tried | None) -> None:
        self.told.append((client, *json.loads(line).items()) if tried is None else tried)
        self.on_told(client)

    def wake(self) -> None:
        self.wakes += 1

    def change(self, jobs: set[int], machines: set[str]) -> None:
        """Have something change, and tell it."""
        self.watchers.put_aside(jobs, machines)
        self.watchers.tell_changes()


@pytest.fixture
def site() -> Site:
    return Site()


# --- telling ---


def test_each_hears_of_what_it_watches(site: Site) -> None:
    site.jobs = {"all": None, "some": {2, 9}, "other": {7}}
    site.machines = {"all": None, "b": {"b"}}

    site.change({3, 2, 1}, {"b", "a"})

    assert site.told == [
        ("all", ("jobs_changed", [1, 2, 3])),
        ("some", ("jobs_changed", [2])),
        ("all", ("machines_changed", ["a", "b"])),
        ("b", ("machines_changed", ["b"])),
    ]


def test_changes_of_the_same_job_are_told_apart_and_others_together(site: Site) -> None:
    site.jobs = {"c": None}
    site.watchers.put_aside({1}, {"m"})
    site.watchers.put_aside({2}, set())
    site.watchers.put_aside({1}, {"m"})

    site.watchers.tell_changes()

    assert site.told == [("c", ("jobs_changed", [1, 2])), ("c", ("jobs_changed", [1]))]


def test_machines_of_changes_that_are_told_together_are_told_once(site: Site) -> None:
    site.machines = {"c": None}
    site.watchers.put_aside({1}, {"m"})

    site.change({2}, {"m", "n"})

    assert site.told == [("c", ("machines_changed", ["m", "n"]))]


def test_nothing_is_told_before_it_is_safe(site: Site) -> None:
    site.jobs = {"c": None}
    site.position.safe = 0
    site.change({1}, set())
    site.change({2}, set())
    assert site.told == []

    site.position.safe = 1
    site.watchers.tell_changes()
    assert site.told == [("c", ("jobs_changed", [1]))]

    site.position.safe = 10
    site.watchers.tell_changes()
    assert site.told[1:] == [("c", ("jobs_changed", [2]))]
    assert not site.watchers.untold


def test_without_watchers_nothing_is_written_for_them(site: Site) -> None:
    site.change({1}, {"m"})
    site.jobs = {"c": None}
    site.watchers.tell_changes()

    assert site.told == []
    assert site.position.position == 0


def test_a_client_that_is_dropped_meanwhile_is_told_nothing(site: Site) -> None:
    site.jobs = {"a": None, "b": None}
    site.on_told = lambda _: site.jobs.clear()

    site.change({1}, set())

    assert site.told == [("a", ("jobs_changed", [1]))]


def test_without_output_that_waits_lines_go_straight_to_the_sockets(site: Site) -> None:
    first, second = FakeClient(), FakeClient()
    site.jobs = {first: None, second: {2}}
    site.at_once = True

    site.change({1, 2}, set())

    assert first.lines == [{"jobs_changed": [1, 2]}]
    assert second.lines == [{"jobs_changed": [2]}]
    assert site.told == []


def test_one_that_does_not_take_its_line_is_left_to_the_server_and_the_others_are_told(
    site: Site,
) -> None:
    first, full, dropped, last = (FakeClient() for _ in range(4))
    full.room = 5
    site.jobs = dict.fromkeys((first, full, dropped, last))
    site.at_once = True
    site.on_told = lambda _: site.jobs.pop(dropped, None)

    site.change({1}, set())

    assert first.lines == [{"jobs_changed": [1]}]
    tried, other = site.told
    assert (tried.client, tried.outcome) == (full, 5)
    assert other == (last, ("jobs_changed", [1]))
    assert dropped.sent == b""


def test_of_events_one_line_waits_at_most(site: Site) -> None:
    for client in ("quick", "slow"):
        site.watchers.watch_events(client, on=True)
    site.peer("slow").output.add(b"x")
    for until in (5, 6):
        site.watchers.note_events(until)
        site.watchers.tell_events()
        site.watchers.tell_events()
    site.peer("slow").output.clear()
    site.watchers.tell_events()

    assert site.told == [
        ("quick", ("events_until", 5)),
        ("quick", ("events_until", 6)),
        ("slow", ("events_until", 6)),
    ]


def test_the_loop_is_woken_for_events_that_somebody_watches(site: Site) -> None:
    site.watchers.note_events(1)
    assert site.wakes == 0

    site.watchers.watch_events("me", on=True)
    site.watchers.note_events(2)
    assert site.wakes == 1

    site.watchers.watch_events("me", on=False)
    site.watchers.note_events(3)
    assert site.wakes == 1


# --- the watches of a client ---


def test_a_call_from_within_watches_nothing(site: Site) -> None:
    site.watchers.watch_job(None, 1, on=True)
    site.watchers.watch_machine(None, "m", on=True)
    site.watchers.watch_events(None, on=True)

    assert (site.jobs, site.machines, site.watchers.event_watches) == ({}, {}, {})
    assert site.changed == []


def test_the_memory_of_watches_is_counted_as_they_come_and_go(site: Site) -> None:
    site.watchers.watch_job("me", 1, on=True)
    site.watchers.watch_job("me", 1, on=True)
    site.watchers.watch_machine("me", "m", on=True)
    assert site.peer("me").watch_bytes == bytes_of(1) + bytes_of("m")

    site.watchers.watch_job("me", None, on=True)
    assert site.peer("me").watch_bytes == bytes_of("m")

    site.watchers.watch_machine("me", "m", on=False)
    assert site.peer("me").watch_bytes == 0
    assert site.changed == ["me"] * 5


def test_the_watches_of_a_client_go_over_to_the_next_process(site: Site) -> None:
    site.watchers.watch_job("me", 3, on=True)
    site.watchers.watch_machine("me", None, on=True)
    site.watchers.watch_events("me", on=True)
    watched = site.watchers.watched_by("me")
    assert watched == {"jobs": {3}, "machines": None, "events": None}

    other = Site()
    other.watchers.take_back(other.peer("me"), watched)

    assert other.watchers.watched_by("me") == watched
    assert other.peer("me").watch_bytes == bytes_of(3)
    assert site.watchers.watched_by("you") == {}


# --- the rules ---


def test_all_absorbs_single_watches() -> None:
    watches: Watches = {}
    watch(watches, "me", 1, "jobs")
    watch(watches, "me", None, "jobs")
    watch(watches, "me", 2, "jobs")
    unwatch(watches, "me", 2)

    assert watches == {"me": None}
    unwatch(watches, "me", None)
    assert watches == {}


def test_the_last_single_watch_takes_the_entry_with_it() -> None:
    watches: Watches = {}
    watch(watches, "me", "m", "machines")
    unwatch(watches, "me", "n")
    assert watches == {"me": {"m"}}

    unwatch(watches, "me", "m")
    unwatch(watches, "you", "m")

    assert watches == {}


def test_too_many_are_refused_with_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchers_module, "MAX_WATCHED", 2)
    watches: Watches = {"me": {1, 2}}
    watch(watches, "me", 2, "jobs")

    with pytest.raises(ValueError, match="2 jobs are watched already, 2 are allowed"):
        watch(watches, "me", 3, "jobs")

    assert watches == {"me": {1, 2}}


def test_only_single_watches_count() -> None:
    watches: Watches = {"some": {1, 2}, "all": None}

    assert [how_many(watches, client) for client in ("some", "all", "none")] == [2, 0, 0]


@pytest.mark.parametrize("name", [5, 10**600, "m", "\N{OCTOPUS}" * 1000])
def test_a_watch_takes_more_memory_than_its_name(name: int | str) -> None:
    size = sys.getsizeof(name)

    assert size + 32 <= bytes_of(name) <= size * 1.25 + 64


def test_many_watches_take_about_as_much_as_is_counted() -> None:
    names = {f"{number:06}" for number in range(10_000)}

    real = sys.getsizeof(names) + sum(map(sys.getsizeof, names))

    assert real <= sum(map(bytes_of, names)) <= 1.5 * real
