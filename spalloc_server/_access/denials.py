"""Which denied connections are logged, so that a scan does not fill the log.

Owns the memory of networks that were denied lately.  Must not know the log.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict

from spalloc_server._access.identity import Address

#: Networks that are remembered; the one denied longest ago is forgotten first.
MAX_NETWORKS = 1024
#: Seconds between two lines about one network.
SECONDS_BETWEEN_LINES = 60.0
#: Length of the prefix that makes a network, by IP version.
_PREFIX = {4: 24, 6: 64}


class Denials:
    """Counts denied connections, and says when one is worth a line of the log.

    Attributes
    ----------
    count : int
        All connections that were denied.
    """

    def __init__(self) -> None:
        self.count = 0
        # {network: (monotonic time of the last line, denials since)}, the oldest first.
        self._networks: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def note(self, address: Address | None, now: float) -> int | None:
        """Count a denied connection.

        Parameters
        ----------
        address : IPv4Address, IPv6Address or None
            None for a local user.
        now : float
            Monotonic time, seconds.

        Returns
        -------
        int or None
            How many to report in one line, this one included; None if it is not yet
            time for a line about its network.
        """
        self.count += 1
        network = network_of(address)
        last, unreported = self._networks.pop(network, (None, 0))
        unreported += 1
        told = last is None or now - last >= SECONDS_BETWEEN_LINES
        self._networks[network] = (now, 0) if told else (last or 0.0, unreported)
        if len(self._networks) > MAX_NETWORKS:
            self._networks.popitem(last=False)
        return unreported if told else None


def network_of(address: Address | None) -> str:
    """Return the network by which denied connections are counted: a /24 or a /64."""
    if address is None:
        return "local users"
    return str(ipaddress.ip_network((address, _PREFIX[address.version]), strict=False))
