"""Delays after wrong log-ins: they double for a name and for an address, and nobody is locked out.

A try counts as wrong from its beginning until it turns out right, so that many at a time gain
nothing.  A try during a delay is not compared and does not lengthen it.  A name that has logged in
from an address is delayed there by that address' own mistakes only: the guesses of
strangers elsewhere do not keep its owner out.
"""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

#: Wrong tries that cost nothing.
FREE = 3
#: Seconds: the longest delay, and the time after which a mistake is forgotten.
LONGEST_DELAY, MEMORY = 900.0, 86400.0
#: Names, addresses and pairs of them that are remembered; beyond it the oldest are forgotten.
MOST = 10_000

_Key = tuple[str, ...]


@dataclass
class _Mistakes:
    count: int = 0
    last: float = 0.0


class Delays:
    """Counts wrong tries.

    Parameters
    ----------
    clock : callable
        Returns monotonic seconds; tests replace it.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Those that were touched last are last.
        self._mistakes: OrderedDict[_Key, _Mistakes] = OrderedDict()
        self._homes: OrderedDict[_Key, None] = OrderedDict()

    def begin(self, name: str, address: str | None) -> float:
        """Begin a try.

        Parameters
        ----------
        name : str
            As given; it need not be a user's.
        address : str or None
            Of the browser.

        Returns
        -------
        float
            0 if the password may be compared; else the seconds to wait, and the try is void.
        """
        keys = self._keys(name, address)
        wait = max(self._delay(key) for key in keys)
        if wait > 0:
            return wait
        for key in keys:
            mistakes = self._mistakes.setdefault(key, _Mistakes())
            mistakes.count += 1
            mistakes.last = self._clock()
            self._mistakes.move_to_end(key)
        while len(self._mistakes) > MOST:
            self._mistakes.popitem(last=False)
        return 0.0

    def succeed(self, name: str, address: str | None) -> None:
        """End a try that was right: mistakes at the name are forgotten, the address' stay."""
        network = network_of(address)
        for key in (("name", name), ("home", name, network)):
            self._mistakes.pop(key, None)
        of_address = self._mistakes.get(("address", network))
        if of_address:
            of_address.count -= 1
        home = (name, network)
        self._homes[home] = None
        self._homes.move_to_end(home)
        while len(self._homes) > MOST:
            self._homes.popitem(last=False)

    def _keys(self, name: str, address: str | None) -> tuple[_Key, _Key]:
        network = network_of(address)
        at_home = (name, network) in self._homes
        return (
            ("home", name, network) if at_home else ("name", name),
            ("address", network),
        )

    def _delay(self, key: _Key) -> float:
        mistakes = self._mistakes.get(key)
        if mistakes is None:
            return 0.0
        passed = self._clock() - mistakes.last
        if passed >= MEMORY:
            del self._mistakes[key]
            return 0.0
        if mistakes.count < FREE:
            return 0.0
        # Beyond 2 ** 10 seconds the longest delay counts anyway.
        delay = min(LONGEST_DELAY, 2.0 ** min(mistakes.count - FREE, 10))
        return max(0.0, delay - passed)


def network_of(address: str | None) -> str:
    """Return the part of an address that its owner cannot change at will: all, or an IPv6 /64."""
    try:
        parsed = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((parsed, 64), strict=False))
    return str(parsed)
