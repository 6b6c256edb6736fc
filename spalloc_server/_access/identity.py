"""The identity behind a connection, as far as it is known, and its principal.

Owns the forms of principals and the normal form of addresses.  Must not know the
rules that admit them.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

#: One user's network: a computer changes the lower half of its IPv6 address at will (RFC 8981).
_USER_PREFIX = 64


class Identity(NamedTuple):
    """Everything that is known about the other end of a connection.

    Attributes
    ----------
    address : IPv4Address, IPv6Address or None
        Of the client, or of the proxy's client.  IPv4 addresses that were mapped into
        IPv6 are IPv4 again.
    uid : int or None
        User id at the other end of a Unix socket, told by the kernel.
    unix_user : str or None
        That user's name, if the system knows one.
    certificate : str or None
        Common name of a certificate that was verified, and presented on this very
        connection.
    user : str or None
        Name for which a front vouches.
    """

    address: Address | None = None
    uid: int | None = None
    unix_user: str | None = None
    certificate: str | None = None
    user: str | None = None

    @property
    def principal(self) -> str:
        """The strongest name: ``user:``, ``cert:``, ``unix:UID`` or ``host:ADDRESS``.

        An IPv6 host is its /64 network.  A call from within the server, which has no
        address, is ``local``.
        """
        if self.user is not None:
            return f"user:{self.user}"
        if self.certificate is not None:
            return f"cert:{self.certificate}"
        if self.uid is not None:
            return f"unix:{self.uid}"
        return host_principal(self.address)


def host_principal(address: Address | None) -> str:
    """Return the principal of an address; ``local`` without one.

    An IPv6 host is its /64 network, but for link-local addresses, whose network has everybody.
    """
    if address is None:
        return "local"
    if isinstance(address, ipaddress.IPv6Address) and not address.is_link_local:
        return f"host:{ipaddress.IPv6Network((address, _USER_PREFIX), strict=False)}"
    return f"host:{address}"


def identity_of(principal: str) -> Identity:
    """Return all that a principal tells of its holder; nothing if it is none."""
    kind, _, name = principal.partition(":")
    if kind == "host":
        return Identity(address=parse_address(name.partition("/")[0]))
    if kind == "unix" and name.isdecimal():
        return Identity(uid=int(name))
    if kind == "cert":
        return Identity(certificate=name)
    return Identity(user=name) if kind == "user" else Identity()


def parse_principal(text: str) -> str:
    """Return a principal in its normal form.

    Raises
    ------
    ValueError
        If the text is no principal.
    """
    kind, _, name = text.partition(":")
    if kind in ("cert", "user") and name:
        return text
    if kind == "unix" and name.isdecimal() and name.isascii():
        return f"unix:{int(name)}"
    if kind == "host":
        network, slash, _ = name.partition("/")
        address = parse_address(network)
        if address is not None:
            normal = host_principal(address)
            if not slash or normal == text:
                return normal
    raise ValueError(
        f"{text!r} is no principal: expected host:ADDRESS, unix:UID (a number), cert:NAME or "
        "user:NAME"
    )


def parse_address(text: str | None) -> Address | None:
    """Return an address in its normal form; None if the text is none.

    A zone (``fe80::1%eth0``) is cut off, and a mapped address (``::ffff:192.0.2.1``)
    becomes IPv4.
    """
    if text is None:
        return None
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return address if mapped is None else mapped
