import os
import pwd
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest
from spalloc_client import config
from spalloc_client._settings import read_environment
from spalloc_client.config import ConfigError, Settings, read_config, search_path
from spalloc_client.scripts import ps


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("[spalloc]\n" + text)
    return path


@pytest.fixture
def places(tmp_path: Path) -> dict[str, Path]:
    return {
        "system": tmp_path / "system" / "spalloc",
        "user": tmp_path / "user" / "spalloc",
        "here": tmp_path / "here" / ".spalloc",
    }


def test_without_files_there_are_defaults() -> None:
    assert read_config() == Settings()
    assert Settings() == Settings(
        hostname=None,
        owner=None,
        port=22244,
        keepalive=60.0,
        reconnect_delay=5.0,
        timeout=5.0,
        machine=None,
        tags=None,
        min_ratio=0.333,
        max_dead_boards=0,
        max_dead_links=None,
        require_torus=False,
    )


def test_the_working_directory_beats_the_user_beats_the_system(places: dict[str, Path]) -> None:
    write(places["system"], "hostname = system\nowner = system\nmachine = system\n")
    write(places["user"], "hostname = user\nowner = user\n")
    write(places["here"], "hostname = here\n")

    settings = read_config()

    assert (settings.hostname, settings.owner, settings.machine) == ("here", "user", "system")


def test_a_folder_may_hold_the_file(places: dict[str, Path]) -> None:
    write(places["system"] / "spalloc.ini", "hostname = a\nowner = a\n")
    write(places["system"] / ".spalloc", "hostname = b\n")

    assert read_config()[:2] == ("b", "a")


def test_of_several_system_folders_the_first_counts_most(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_DIRS", f"{tmp_path}/one:{tmp_path}/two")
    write(tmp_path / "one" / "spalloc", "hostname = one\n")
    write(tmp_path / "two" / "spalloc", "hostname = two\nowner = two\n")

    assert read_config()[:2] == ("one", "two")


def test_the_usual_places_without_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CONFIG_DIRS")
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", "/home/me")

    assert search_path() == ["/etc/xdg/spalloc", "/home/me/.config/spalloc", ".spalloc"]


def test_a_user_without_a_home_has_no_place_of_his_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(user_id: int) -> NoReturn:
        raise KeyError(user_id)

    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.delenv("XDG_CONFIG_DIRS")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr(pwd, "getpwuid", unknown)

    assert search_path() == ["/etc/xdg/spalloc", ".spalloc"]


@pytest.mark.parametrize("name", ["x" * 300, "~nobody-of-this-name/spalloc"])
def test_a_file_that_cannot_be_looked_for_is_named(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"^{name}: cannot be read: "):
        read_config([name])


def test_a_byte_order_mark_is_no_part_of_the_file(places: dict[str, Path]) -> None:
    places["here"].write_bytes(b"\xef\xbb\xbf[spalloc]\nhostname = h\n")

    assert read_config().hostname == "h"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"[spalloc]\nowner = m\xfcller\n", "must be UTF-8 text, not byte 0xfc in line 2"),
        (b"\xff\xfe[\0", "must be UTF-8 text, not byte 0xff in line 1"),
        (b"\nhostname = h\n", r"line 2 stands before any section; begin with \[spalloc\]"),
        (b"[spalloc]\nhostname\n", "Source contains parsing errors"),
    ],
)
def test_a_file_that_cannot_be_understood_is_named(
    places: dict[str, Path], content: bytes, complaint: str
) -> None:
    places["here"].write_bytes(content)

    with pytest.raises(ConfigError, match=f"^.spalloc: {complaint}"):
        read_config()


def test_a_file_that_may_not_be_read_is_named(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> NoReturn:
        raise PermissionError("not yours")

    write(places["here"], "hostname = h\n")
    monkeypatch.setattr(Path, "read_text", refuse)

    with pytest.raises(ConfigError, match=r"^.spalloc: cannot be read: not yours$"):
        read_config()


def test_every_option_is_read(places: dict[str, Path]) -> None:
    write(
        places["here"],
        "hostname = h\nowner = 100%% me\nport = 1\nkeepalive = 1.5\nreconnect_delay = 0\n"
        "timeout = 2\nmachine = m\ntags = a, b ,c\nmin_ratio = 1\nmax_dead_boards = 2\n"
        "max_dead_links = 3\nrequire_torus = yes\n",
    )

    assert read_config() == Settings(
        "h", "100%% me", 1, 1.5, 0.0, 2.0, "m", ["a", "b", "c"], 1.0, 2, 3, True
    )


@pytest.mark.parametrize(
    "option", ["keepalive", "timeout", "machine", "tags", "max_dead_boards", "max_dead_links"]
)
def test_none_may_be_said(places: dict[str, Path], option: str) -> None:
    write(places["user"], f"{option} = 3\n")
    write(places["here"], f"{option} = None\n")

    assert getattr(read_config(), option) is None


@pytest.mark.parametrize(
    ("line", "allowed"),
    [
        ("port = 0", "a whole number from 1 to 65535"),
        ("port = 65536", "a whole number from 1 to 65535"),
        ("port = http", "a whole number from 1 to 65535"),
        ("port = None", "a whole number from 1 to 65535"),
        ("keepalive = 0", "a number of seconds above 0, or None"),
        ("keepalive = soon", "a number of seconds above 0, or None"),
        ("keepalive = inf", "a number of seconds above 0, or None"),
        ("timeout = -1", "a number of seconds above 0, or None"),
        ("reconnect_delay = nan", "a number of seconds, 0 or more"),
        ("min_ratio = -0.1", "a number from 0 to 1"),
        ("min_ratio = 5", "a number from 0 to 1"),
        ("max_dead_boards = -1", "a whole number from 0, or None"),
        ("max_dead_boards = 1.5", "a whole number from 0, or None"),
        ("max_dead_links = x", "a whole number from 0, or None"),
        ("require_torus = maybe", "True or False"),
        ("hostname =", "a host name"),
        ("owner = me\n  machine = m", "a text of one line"),
    ],
)
def test_a_bad_value_names_file_option_and_what_is_allowed(
    places: dict[str, Path], line: str, allowed: str
) -> None:
    write(places["user"], line + "\n")

    with pytest.raises(ConfigError) as caught:
        read_config()

    option = line.split(maxsplit=1)[0]
    text = str(caught.value)
    assert text.startswith(f"{places['user']}: {option} must be {allowed}, not ")
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("text", [b"hostname = x\n", b"[spalloc\n", b"[spalloc]\n\xff\n"])
def test_a_file_that_is_none_names_the_file(places: dict[str, Path], text: bytes) -> None:
    places["here"].write_bytes(text)

    with pytest.raises(ConfigError, match=r"^\.spalloc: "):
        read_config()


def test_other_sections_and_missing_files_do_not_matter(tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_text("[something]\nport = x\n")

    assert read_config([str(other), str(tmp_path / "missing")]) == Settings()


def test_the_module_prints_where_it_looks_and_what_it_found(places: dict[str, Path]) -> None:
    write(places["user"], "hostname = example\ntags = a, b\nhostnam = typo\n")

    done = subprocess.run(
        [sys.executable, "-m", "spalloc_client.config"],
        capture_output=True,
        text=True,
        env=os.environ,
        check=False,
    )

    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[:7] == [
        "Places, rising priority:",
        f"  {places['system']}  (not there)",
        f"  {places['user']}",
        f"    {places['user']}: hostnam is no option of ours; did you mean hostname?",
        "  .spalloc  (not there)",
        "  environment variables SPALLOC_HOSTNAME, SPALLOC_OWNER ...",
        "Settings:",
    ]
    assert f"  hostname = example  (from {places['user']})" in lines
    assert f"  tags = a, b  (from {places['user']})" in lines
    assert "  keepalive = 60.0" in lines


def test_the_module_remarks_on_variables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SPALLOC_HOST", "h")
    monkeypatch.setenv("SPALLOC_OWNER", "me")

    assert config.main() == 0

    lines = capsys.readouterr().out.splitlines()
    assert (
        "    environment: SPALLOC_HOST is not read; did you mean SPALLOC_HOSTNAME?" in lines
    )
    assert "  owner = me  (from environment)" in lines


def test_the_module_tells_a_bad_value(
    places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write(places["here"], "port = x\n")

    assert config.main() == 1

    out, err = capsys.readouterr()
    assert str(places["user"]) in out
    assert "port must be a whole number from 1 to 65535, not 'x'" in err


# --- the environment ---


def test_the_environment_beats_files(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(places["here"], "hostname = file\nowner = file\ntags = a\n")
    monkeypatch.setenv("SPALLOC_HOSTNAME", "variable")
    monkeypatch.setenv("SPALLOC_OWNER", "")
    monkeypatch.setenv("SPALLOC_MACHINE", "m")
    monkeypatch.setenv("SPALLOC_KEEPALIVE", "None")
    monkeypatch.setenv("SPALLOC_REQUIRE_TORUS", "true")

    settings = read_config()

    assert settings[:2] == ("variable", "file")
    assert (settings.machine, settings.tags) == ("m", None)
    assert (settings.keepalive, settings.require_torus) == (None, True)
    assert read_config([str(places["here"])]).hostname == "file"


def test_every_option_has_a_variable() -> None:
    given = {
        "hostname": "h", "owner": "o", "port": "1", "keepalive": "2", "reconnect_delay": "3",
        "timeout": "4", "machine": "None", "tags": "a,b", "min_ratio": "0.5",
        "max_dead_boards": "6", "max_dead_links": "7", "require_torus": "1",
        "tls": "on", "ca": "/a", "cert": "~/b", "key": "None",
    }  # fmt: skip
    assert sorted(given) == sorted(Settings._fields)

    source = read_environment({f"SPALLOC_{name.upper()}": text for name, text in given.items()})

    assert source.values == {
        "hostname": "h", "owner": "o", "port": 1, "keepalive": 2.0, "reconnect_delay": 3.0,
        "timeout": 4.0, "machine": None, "tags": ["a", "b"], "min_ratio": 0.5,
        "max_dead_boards": 6, "max_dead_links": 7, "require_torus": True,
        "tls": True, "ca": "/a", "cert": str(Path("~/b").expanduser()), "key": None,
    }  # fmt: skip
    assert source.remarks == []


def test_a_bad_value_names_the_variable() -> None:
    with pytest.raises(ConfigError, match=r"^environment: SPALLOC_PORT must be .*, not 'x'$"):
        read_environment({"SPALLOC_PORT": "x"})


def test_a_variable_that_resembles_an_option_is_remarked_on() -> None:
    source = read_environment({
        "SPALLOC_HOST": "h",
        "SPALLOC_PORT": "tcp://10.0.0.1:22244",
        "SPALLOC_PORT_22244_TCP_ADDR": "10.0.0.1",
        "SPALLOC_SERVER_BIN": "/x",
        "SPALLOC_CODE": "secret",
        "SPALLOC_port": "5",
    })

    assert source.values == {}
    assert source.remarks == [
        "environment: SPALLOC_HOST is not read; did you mean SPALLOC_HOSTNAME?",
        "environment: SPALLOC_port is not read; did you mean SPALLOC_PORT?",
    ]


# --- files that say something else than was meant ---


@pytest.mark.parametrize(
    ("text", "remark"),
    [
        ("[Spalloc]\nhostname = h\n", "section [Spalloc] is not read; did you mean [spalloc]?"),
        ("[spaloc]\nhostname = h\n", "section [spaloc] is not read; did you mean [spalloc]?"),
        ("[spalloc]\nhostnam = h\n", "hostnam is no option of ours; did you mean hostname?"),
        ("[spalloc]\nmax-dead-links=1\n", "max-dead-links is no option of ours; did you mean "
                                          "max_dead_links?"),
        ("[spalloc]\ncolour = red\n", "colour is no option of ours"),
        ("[spalloc]\nowner = 'me'\n", "owner: the quotes count as part of the value"),
    ],
)  # fmt: skip
def test_things_that_are_passed_over_are_remarked_on(
    places: dict[str, Path], caplog: pytest.LogCaptureFixture, text: str, remark: str
) -> None:
    places["here"].write_text(text)

    read_config()

    assert caplog.messages == [f".spalloc: {remark}"]


def test_commands_remark_on_them_too(
    places: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write(places["user"], "hostnam = x\n")

    assert ps.main([]) == 1

    assert capsys.readouterr().err.splitlines()[0] == (
        f"{places['user']}: hostnam is no option of ours; did you mean hostname?"
    )


def test_a_comment_may_stand_behind_a_value(
    places: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    write(places["here"], "tags = default # two\nmachine = None ; any\nowner = a#b;c\n")

    settings = read_config()

    assert (settings.tags, settings.machine, settings.owner) == (["default"], None, "a#b;c")
    assert caplog.messages == []
