"""The header by which a proxy names its client: PROXY protocol, version 2.

Owns the bounds of a header and the trust in its parts.  Must not know sockets: bytes
come in, an identity comes out.  The format itself is read by the library
``proxy-protocol``.

Notes
-----
Source: "The PROXY protocol", HAProxy Technologies, section 2.2 (binary header format).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from spalloc_server._access.identity import Identity, parse_address

#: Longest header that is taken, bytes.
MAX_HEADER = 4096
#: Seconds within which a header must be whole.
SECONDS_FOR_HEADER = 5.0

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
#: Signature, version and command, family, length of the rest.
_FIXED = 16
#: Bytes of the two addresses and ports, by address family.
_ADDRESSES = {0x1: 12, 0x2: 36}
#: The part about TLS, and the bytes in it before parts of its own: flags and verification.
_TLS, _TLS_FIXED = 0x20, 5


class HeaderError(ValueError):
    """These bytes are no header that can be trusted."""


class Header(NamedTuple):
    """A header that was read.

    Attributes
    ----------
    identity : Identity or None
        The proxy's client; None for a connection of the proxy's own (LOCAL), such as
        a health check, which is closed without a word.
    length : int
        Bytes of the header; the client's own bytes follow.
    """

    identity: Identity | None
    length: int


def read_header(data: bytes | bytearray) -> Header | None:
    """Read a header from the beginning of a connection.

    Parameters
    ----------
    data : bytes
        Everything that has arrived so far.

    Returns
    -------
    Header or None
        None if more bytes are needed.

    Raises
    ------
    HeaderError
        If the bytes cannot become a header, or it is longer than `MAX_HEADER`.
    """
    if data[: len(_SIGNATURE)] != _SIGNATURE[: len(data)]:
        raise HeaderError("the connection does not begin with a PROXY protocol header")
    if len(data) < _FIXED:
        return None
    length = _FIXED + int.from_bytes(data[14:16], "big")
    if length > MAX_HEADER:
        raise HeaderError(f"a PROXY header of {length} bytes: at most {MAX_HEADER} may be")
    if len(data) < length:
        return None
    try:
        return Header(_identity(bytes(data[:length])), length)
    except Exception as e:
        # The library may raise anything on bytes that a stranger made.
        raise HeaderError(f"a malformed PROXY header ({type(e).__name__})") from e


def _identity(header: bytes) -> Identity | None:
    from proxyprotocol.result import ProxyResultIPv4, ProxyResultIPv6  # noqa: PLC0415 - rarely used
    from proxyprotocol.v2 import ProxyProtocolV2  # noqa: PLC0415 - rarely used

    result = ProxyProtocolV2().unpack(header)
    if header[12] & 0x0F == 0:
        return None
    if not isinstance(result, ProxyResultIPv4 | ProxyResultIPv6):
        raise HeaderError("the proxy's client has no IP address")
    # The library takes a part that promises more bytes than there are, such as half a name.
    for kind, value in _parts(header[_FIXED + _ADDRESSES[header[13] >> 4] :]):
        if kind == _TLS:
            list(_parts(value[_TLS_FIXED:]))
    tls = result.tlv.ssl
    proved = bool(tls) and tls.has_ssl and tls.has_cert_conn and tls.verified
    return Identity(
        address=parse_address(str(result.source[0])),
        certificate=tls.cn or None if proved else None,
    )


def _parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Hand out the parts behind the addresses: a kind, two bytes of length, a value."""
    at = 0
    while at < len(data):
        end = at + 3 + int.from_bytes(data[at + 1 : at + 3], "big")
        if end > len(data):
            raise HeaderError("a part of the header is not whole")
        yield data[at], data[at + 3 : end]
        at = end
