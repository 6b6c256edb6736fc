"""Host names, and things that are given in their place."""

import pytest
from spalloc_client import Job, ProtocolClient
from spalloc_client._address import address_text, check_hostname

from tests.commands import MAINS


@pytest.mark.parametrize(
    ("text", "hostname"),
    [
        ("spalloc.example.org", "spalloc.example.org"),
        ("my_host", "my_host"),
        ("10.0.0.1", "10.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("m\xfcnchen.example", "m\xfcnchen.example"),
    ],
)
def test_names_and_addresses_are_hostnames(text: str, hostname: str) -> None:
    assert check_hostname(text) == hostname


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("https://me:secret@host/spalloc/", "not a URL; give host"),
        ("http://me:secret@host:8080", "not a URL; give host, and 8080 as the port"),
        ("https://me:secret@host:port/", "not a URL"),
        ("https://", "not a URL"),
        ("me:secret@host", "without a user; give host"),
        ("me:secret@host:23110", "without a user; give host, and 23110 as the port"),
        ("host:23110", "alone; give host, and 23110 as the port"),
        ("[::1]:23110", "alone; give ::1, and 23110 as the port"),
        ("'host'", "which has \"'\" in it"),
        ("two hosts", "which has ' ' in it"),
        ("host/spalloc", "which has '/' in it"),
        ("a:b:c", "which has ':' in it"),
        ("", "not an empty text"),
    ],
)
def test_anything_else_is_refused_with_the_right_way_to_say_it(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a host name") as caught:
        check_hostname(text)

    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


URL = "https://me:secret@host/spalloc/"


@pytest.mark.parametrize("name", MAINS)
def test_no_command_shows_the_password_of_a_url(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {"spalloc-where-is": ["-b", "m", "0", "0", "0"]}.get(name, [])

    assert MAINS[name]([*words, "-H", URL]) == 2
    assert MAINS[name]([*words, f"--hostname={URL}"]) == 2
    monkeypatch.setenv("SPALLOC_HOSTNAME", URL)
    assert MAINS[name](words) == 1

    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("must be a host name, not a URL; give host") == 3
    assert "secret" not in err


def test_the_library_refuses_them_too() -> None:
    with pytest.raises(ValueError, match=r"^hostname must be a host name, not a URL; give host$"):
        Job(hostname=URL, owner="me")
    with pytest.raises(ValueError, match=r"give host, and 1 as the port$"):
        ProtocolClient("host:1")


def test_an_address_is_told_as_one_word() -> None:
    assert address_text("host", 1) == "host:1"
    assert address_text("::1", 1) == "[::1]:1"
