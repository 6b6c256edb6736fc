"""Faults for which a configuration is refused: at start, at a reload, and by ``--check``.

Owns checks beyond those that make a `Machine`, which other programs make of anything:
values that would harm a running server, or that nobody can have meant.  Must not know
files; everything is passed in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

from spalloc_server._checks.values import escaped

#: Seconds; a shorter interval would keep a processor busy.
LEAST_CHECK_INTERVAL = 0.01
#: Of many alike, this many are named. # arbitrary
_NAMED = 5

#: Addresses that nothing can have: unspecified, multicast, broadcast.
_NOBODYS_ADDRESS = re.compile(r"0+\.0+\.0+\.0+|2(2[4-9]|3\d)(\.\d{1,3}){3}|255\.255\.255\.255")


class _Machine(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def tags(self) -> Iterable[Any]: ...
    @property
    def board_locations(self) -> Mapping[Any, tuple[int, int, int]]: ...
    @property
    def bmp_ips(self) -> Mapping[Any, str]: ...
    @property
    def spinnaker_ips(self) -> Mapping[Any, str]: ...


class _Configuration(Protocol):
    @property
    def machines(self) -> Iterable[_Machine]: ...
    @property
    def timeout_check_interval(self) -> float: ...


def listed(things: Iterable[object]) -> str:
    """Name the first few of many, and say how many more there are."""
    texts = [str(thing) for thing in things]
    more = len(texts) - _NAMED
    return ", ".join(texts[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def configuration_faults(configuration: _Configuration) -> Iterator[tuple[str | None, str]]:
    """Find all reasons to refuse a configuration.

    Parameters
    ----------
    configuration : Configuration

    Yields
    ------
    (machine name or None, text)
        A sentence or less, without full stop.
    """
    if configuration.timeout_check_interval < LEAST_CHECK_INTERVAL:
        yield (
            None,
            f"timeout_check_interval is {configuration.timeout_check_interval!r}, which keeps a "
            f"processor busy: expected at least {LEAST_CHECK_INTERVAL} seconds, 5 is usual",
        )
    for machine in configuration.machines:
        for text in _machine_faults(machine):
            yield machine.name, text


def _machine_faults(machine: _Machine) -> Iterator[str]:
    negative = sorted(place for place in machine.board_locations.values() if min(place) < 0)
    if negative:
        yield f"no place has negative numbers (cabinet, frame, board): {listed(negative)}"
    odd = sorted(repr(tag) for tag in machine.tags if not isinstance(tag, str))
    if odd:
        yield f"tags that are no text, which no job can ask for: {listed(odd)}"
    for what, hosts in (("BMP", machine.bmp_ips), ("board", machine.spinnaker_ips)):
        unclear = [host for host in hosts.values() if host != host.strip() or not host]
        if unclear:
            yield (
                f"{what} addresses that are empty or have blanks around them: "
                f"{listed(map(_quoted, unclear))}"
            )
        nobodys = [host for host in hosts.values() if _NOBODYS_ADDRESS.fullmatch(host)]
        if nobodys:
            yield f"{what} addresses that nothing can have: {listed(map(_quoted, nobodys))}"


def _quoted(host: str) -> str:
    return f"'{escaped(host)}'"
