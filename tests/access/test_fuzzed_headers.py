"""A hundred thousand headers made at random, judged by a second reader written for this test."""

from __future__ import annotations

import ipaddress
import random
import struct
from collections.abc import Callable

import pytest

from spalloc_server._access.identity import Identity
from spalloc_server._access.proxy_header import MAX_HEADER, Header, HeaderError, read_header
from tests.access.test_proxy_header import IPV4, SIGNATURE, header, tls, tlv

#: Headers in each part of the test; there are four parts.
IN_EACH = 25_000
IPV6 = bytes(range(32)) + struct.pack("!HH", 40000, 22244)
MAPPED = bytes(10) + b"\xff\xff" + IPV4[:4] + bytes(16) + struct.pack("!HH", 1, 2)
GOOD = (
    header(IPV4 + tls(b"ada")),
    header(IPV4),
    header(IPV6 + tlv(0x04, b"pad") + tls(b"eve"), family=0x21),
    header(MAPPED + tls(b"mallory", verify=1), family=0x21),
    header(b"", command=0x20, family=0x00),
    header(tls(b"ada") + IPV4),
)


class Malformed(Exception):  # noqa: N818 - names the finding
    """The second reader's word for a header that must not be taken."""


def second_reading(data: bytes) -> Header | None:
    """Read a header as the PROXY protocol has it; None if more is to come."""
    if not (SIGNATURE.startswith(data[:12]) or data.startswith(SIGNATURE)):
        raise Malformed
    if len(data) < 16:
        return None
    length = 16 + data[14] * 256 + data[15]
    if length > MAX_HEADER:
        raise Malformed
    if len(data) < length:
        return None
    command, family, body = data[12], data[13], data[16:length]
    if command >> 4 != 2 or command & 15 > 1:
        raise Malformed
    if command & 15 == 0:
        return Header(None, length)
    size = {1: 12, 2: 36}.get(family >> 4)
    if size is None or len(body) < size:
        raise Malformed
    address = ipaddress.ip_address(body[: 4 if size == 12 else 16])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return Header(Identity(address, certificate=proved_name(body[size:])), length)


def proved_name(parts: bytes) -> str | None:
    """Return the name of a certificate that was verified, and shown on this connection."""
    about_tls = parts_of(parts).get(0x20)
    if about_tls is None or len(about_tls) < 5:
        return None
    client, verify = struct.unpack("!BI", about_tls[:5])
    name = parts_of(about_tls[5:]).get(0x22, b"")
    if verify or client & 0x03 != 0x03:
        return None
    try:
        return name.decode() or None
    except UnicodeDecodeError as e:
        raise Malformed from e


def parts_of(data: bytes) -> dict[int, bytes]:
    """Return the values by kind; all must be whole."""
    found: dict[int, bytes] = {}
    while data:
        if len(data) < 3 or len(data) < 3 + data[1] * 256 + data[2]:
            raise Malformed
        kind, size = struct.unpack("!BH", data[:3])
        found[kind] = data[3 : 3 + size]
        data = data[3 + size :]
    return found


# --- four ways of making headers ---


def with_changed_bytes(rng: random.Random) -> bytes:
    data = bytearray(rng.choice(GOOD))
    for _ in range(rng.randint(1, 4)):
        data[rng.randrange(12, len(data))] = rng.randrange(256)
    return bytes(data)


def cut_and_stretched(rng: random.Random) -> bytes:
    data = bytearray(rng.choice(GOOD))
    where = rng.randrange(12, len(data) + 1)
    if rng.random() < 0.5:
        del data[where : where + rng.randint(1, 8)]
    else:
        data[where:where] = rng.randbytes(rng.randint(1, 40))
    if rng.random() < 0.5 and len(data) >= 16:
        data[14:16] = (len(data) - 16).to_bytes(2, "big")
    return bytes(data)


def of_random_parts(rng: random.Random) -> bytes:
    def part(depth: int) -> bytes:
        kind = rng.choice((0x01, 0x02, 0x04, 0x20, 0x20, 0x20, 0x21, 0x22, 0x22, 0x23, 0x30))
        if kind == 0x20 and depth:
            inner = b"".join(part(depth - 1) for _ in range(rng.randrange(4)))
            value = struct.pack("!BI", rng.choice((0, 1, 2, 3, 5, 7)), rng.choice((0, 0, 1)))
            return tlv(kind, value + inner)
        return tlv(kind, rng.choice((b"", b"ada", b"\xff\xfe", rng.randbytes(rng.randrange(6)))))

    parts = b"".join(part(2) for _ in range(rng.randrange(4)))
    address, family = rng.choice(((IPV4, 0x11), (IPV6, 0x21), (MAPPED, 0x21), (b"", 0x00)))
    return header(address + parts, family=family, command=rng.choice((0x21, 0x21, 0x21, 0x20)))


def anything_at_all(rng: random.Random) -> bytes:
    begin = rng.choice((b"", SIGNATURE, SIGNATURE[: rng.randrange(12)], SIGNATURE + b"\x21\x11\0"))
    return begin + rng.randbytes(rng.randint(1, 120))


Make = Callable[[random.Random], bytes]


@pytest.mark.parametrize(
    ("make", "taken", "named"),
    [
        (with_changed_bytes, 12_000, 2_500),
        (cut_and_stretched, 9_000, 250),
        (of_random_parts, 20_000, 50),
        (anything_at_all, 5_000, 0),
    ],
)
def test_a_header_is_taken_as_both_readers_read_it_or_not_at_all(
    make: Make, taken: int, named: int
) -> None:
    rng = random.Random(22244)
    count = names = 0

    for _ in range(IN_EACH):
        data = make(rng)
        try:
            found = read_header(data)
        except HeaderError:
            continue  # it may be stricter, in parts that nobody needs
        assert found == second_reading(data), data
        count += 1
        names += bool(found and found.identity and found.identity.certificate)

    # So many at least, or nothing was tried.
    assert count >= taken
    assert names >= named
