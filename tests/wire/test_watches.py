"""Watches come and go by the rules of the protocol, and their memory is known."""

from __future__ import annotations

import sys

import pytest

from spalloc_server._wire import watches as watches_module
from spalloc_server._wire.watches import Watches, bytes_of, how_many, unwatch, watch


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
    monkeypatch.setattr(watches_module, "MAX_WATCHED", 2)
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
