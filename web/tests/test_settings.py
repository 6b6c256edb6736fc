"""Settings from the command line and from the administrator's file."""

from __future__ import annotations

from pathlib import Path

import pytest
from spalloc_web._command_line import parse, parser, read_settings
from spalloc_web._settings import SettingError, settings_of
from spalloc_web._sight import Sight

FILE = """
[web]
server = spalloc.example.org:22244
anonymous = none
base = /spalloc/
state_dir = {folder}
[notice ops]
url = json://localhost/notices
kinds = board, frame
[notice all]
url = json://localhost/all
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "web.ini"
    path.write_text(text.format(folder=folder), encoding="utf-8")
    return path


def test_without_settings_pages_are_for_this_computer_and_without_names() -> None:
    settings, level = parse([])

    assert settings.server == ("localhost", 22244)
    assert settings.listen == ("127.0.0.1", 22280)
    assert settings.anonymous is Sight.STATES
    assert (settings.base, settings.history, settings.destinations) == ("", None, ())
    assert level == "INFO"


def test_the_command_line_beats_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, FILE)

    settings, _ = parse(["--config", str(path), "--anonymous", "all"])

    assert settings.server == ("spalloc.example.org", 22244)
    assert settings.anonymous is Sight.ALL
    assert settings.base == "/spalloc"
    assert [(d.name, sorted(d.kinds)) for d in settings.destinations] == [
        ("ops", ["board", "frame"]),
        ("all", ["board", "disk", "frame", "report"]),
    ]
    assert "json://" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[web]\ncolour = red", "no option 'colour'; it has server, listen"),
        ("[wab]\n", r"section \[wab\]: there are \[web\] and \[notice NAME\] only"),
        ("[notice x]\n", "needs a url"),
        ("[notice x]\nurl = a\nkind = b", "no option 'kind'; it has url and kinds"),
        ("[notice x]\nurl = a\nkinds = board, weather", "'weather' is none of board, frame"),
        ("nonsense", "no section headers"),
        ("[web]\nserver = x\nserver = y", "already exists"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = write(tmp_path, text)

    with pytest.raises(SettingError, match=words) as caught:
        read_settings(parser().parse_args(["--config", str(path)]))
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("server", "host", "'host' is no HOST:PORT"),
        ("server", ":22244", "no HOST:PORT"),
        ("listen", "127.0.0.1:65536", "0 to 65535"),
        ("listen", "127.0.0.1:x", "0 to 65535"),
        ("listen", "127.0.0.1:²", "0 to 65535"),
        ("cert", "/none", "is no file"),
        ("base", "spalloc", "is no path like /spalloc"),
        ("base", '/"><b', "is no path like /spalloc"),
        ("anonymous", "some", "none of none, states, all"),
        ("health", "ftp://x", "begins with http"),
        ("server", "unix:clients", "expected unix:/PATH"),
        ("proxies", "127.0.0.1, proxy", "'proxy' is no address or network"),
        ("behind_proxy", "perhaps", "neither yes nor no"),
    ],
)
def test_a_value_that_cannot_be_is_named(option: str, value: str, words: str) -> None:
    with pytest.raises(SettingError, match=words):
        settings_of({option: value})


@pytest.mark.parametrize("address", ["0.0.0.0", "[::]", "192.168.1.1", "example.org"])
def test_beyond_this_computer_pages_need_tls_or_a_web_server(
    tmp_path: Path, address: str
) -> None:
    with pytest.raises(SettingError, match="reached from other computers"):
        settings_of({"listen": f"{address}:443"})

    assert settings_of({"listen": f"{address}:443", "behind_proxy": "yes"}).behind_proxy
    cert = tmp_path / "cert.pem"
    cert.touch()
    settings = settings_of({"listen": f"{address}:443", "cert": str(cert), "key": str(cert)})
    assert settings.listen == (address.strip("[]"), 443)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "[::1]", "localhost"])
def test_on_this_computer_they_need_nothing(address: str) -> None:
    assert settings_of({"listen": f"{address}:80"}).listen[1] == 80


def test_certificate_and_key_belong_together(tmp_path: Path) -> None:
    cert = tmp_path / "cert.pem"
    cert.touch()

    with pytest.raises(SettingError, match="belong together"):
        settings_of({"cert": str(cert)})


def test_notices_need_a_folder(tmp_path: Path) -> None:
    path = write(tmp_path, "[notice x]\nurl = json://localhost")

    with pytest.raises(SettingError, match="notices need state_dir"):
        read_settings(parser().parse_args(["--config", str(path)]))


def test_a_wrong_command_line_ends_with_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse(["--listen", "0.0.0.0:80"])

    assert ended.value.code == 2
    assert "--cert" not in capsys.readouterr().err.splitlines()[-1]


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"none\.ini"):
        read_settings(parser().parse_args(["--config", str(tmp_path / "none.ini")]))


def test_a_unix_socket_and_web_servers_in_front_are_named() -> None:
    settings = settings_of({"server": "unix:/run/spalloc/clients", "proxies": "10.1.0.0/16 ::1"})

    assert settings.server == ("unix:/run/spalloc/clients", 0)
    assert [str(network) for network in settings.proxies] == ["10.1.0.0/16", "::1/128"]
    assert [str(n) for n in settings_of({}).proxies] == ["127.0.0.0/8", "::1/128"]
