"""PROXY protocol headers, whole, in pieces and malformed."""

import struct

import pytest

from spalloc_server._access.identity import Identity, parse_address
from spalloc_server._access.proxy_header import MAX_HEADER, Header, HeaderError, read_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
IPV4 = bytes([192, 0, 2, 7, 192, 0, 2, 1]) + struct.pack("!HH", 40000, 22244)


def header(body: bytes, command: int = 0x21, family: int = 0x11) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def tlv(kind: int, value: bytes) -> bytes:
    return struct.pack("!BH", kind, len(value)) + value


def tls(name: bytes, client: int = 0x03, verify: int = 0) -> bytes:
    """The part about TLS: flags 1 TLS, 2 certificate now, 4 certificate of the session."""
    return tlv(0x20, struct.pack("!BI", client, verify) + tlv(0x22, name))


def test_a_header_gives_the_clients_address() -> None:
    data = header(IPV4)

    assert read_header(data + b'{"command"') == Header(
        Identity(parse_address("192.0.2.7")), len(data)
    )


def test_ipv6_and_mapped_addresses_are_read() -> None:
    mapped = parse_address("192.0.2.7")
    body = bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 7]) + bytes(16) + struct.pack("!HH", 1, 2)

    read = read_header(header(body, family=0x21))

    assert read is not None
    assert read.identity == Identity(mapped)


def test_a_header_is_waited_for_byte_by_byte() -> None:
    data = header(IPV4 + tls(b"ada"))

    assert [read_header(data[:length]) for length in range(len(data))] == [None] * len(data)
    read = read_header(data)
    assert read is not None
    assert read.identity == Identity(parse_address("192.0.2.7"), certificate="ada")


@pytest.mark.parametrize(
    "part",
    [
        tls(b"ada", verify=1),
        tls(b"ada", client=0x01),
        tls(b"ada", client=0x05),
        tls(b"ada", client=0x02),
        tls(b""),
        tlv(0x22, b"ada"),
        tlv(0x02, b"ada"),
        tlv(0x20, b"\x03"),
    ],
)
def test_a_name_that_was_not_proved_on_this_connection_does_not_count(part: bytes) -> None:
    read = read_header(header(IPV4 + part))

    assert read is not None
    assert read.identity == Identity(parse_address("192.0.2.7"))


def test_bytes_of_the_client_are_not_taken_for_the_proxys() -> None:
    data = header(IPV4)

    read = read_header(data + tls(b"mallory"))

    assert read == Header(Identity(parse_address("192.0.2.7")), len(data))


def test_a_connection_of_the_proxys_own_is_told_apart() -> None:
    data = header(b"", command=0x20, family=0x00)

    assert read_header(data) == Header(None, len(data))


@pytest.mark.parametrize(
    "data",
    [
        b'{"command": "version"}\n',
        b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 22244\r\n",
        b"\r\n\r\n\x00\r\nQUIT!",
        header(IPV4, command=0x11),
        header(IPV4, command=0x22),
        header(IPV4[:-1]),
        header(b"", family=0x00),
        header(bytes(216), family=0x31),
        header(IPV4 + tls(b"\xff\xfe")),
        header(IPV4 + b"\x20\xff\xff"),
        header(IPV4 + b"\x04\x00"),
        header(IPV4 + tls(b"ada")[:-1]),
        header(IPV4 + tlv(0x20, struct.pack("!BI", 3, 0) + tlv(0x22, b"ada")[:-1])),
        header(IPV4 + tlv(0x20, struct.pack("!BI", 3, 0) + b"\x22\x00\x04ada")),
        SIGNATURE + struct.pack("!BBH", 0x21, 0x11, MAX_HEADER),
    ],
)
def test_other_beginnings_are_refused(data: bytes) -> None:
    with pytest.raises(HeaderError):
        read_header(data)


def test_a_header_of_the_greatest_length_is_read() -> None:
    room = MAX_HEADER - len(header(IPV4)) - 3

    read = read_header(header(IPV4 + tlv(0x04, bytes(room))))

    assert read is not None
    assert read.length == MAX_HEADER
