"""Users and passwords: the file, the command that keeps it, and what neither takes."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from spalloc_web._accounts import command, passwords
from spalloc_web._accounts.passwords import (
    PasswordError,
    check_password,
    hash_of,
    is_right,
    parts_of,
)
from spalloc_web._accounts.users import (
    User,
    Users,
    UsersFileError,
    changing,
    check_user,
    read_users,
)
from spalloc_web._program import main

from tests.support.people import CHEAP, GOOD, people


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords.hash_of, "__defaults__", (CHEAP,))


def run(folder: Path, *words: str, typed: str = "") -> tuple[int, str, str]:
    """Run the command with a password on standard input."""
    out, errors = io.StringIO(), io.StringIO()
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(errors),
    ):
        patch.setattr(sys, "stdin", io.StringIO(typed))
        status = main(["user", *words, "--users", str(folder / "users")])
    return status, out.getvalue(), errors.getvalue()


# --- passwords ---


def test_a_hash_is_of_one_password_and_never_twice_the_same() -> None:
    first, second = hash_of(GOOD), hash_of(GOOD)

    assert first != second
    assert is_right(GOOD, first)
    assert is_right(GOOD, second)
    assert not is_right(GOOD + " ", first)
    assert not is_right("", first)
    assert GOOD not in first


def test_the_usual_cost_is_as_documented() -> None:
    hashed = hash_of(GOOD, passwords.COST)

    assert hashed.startswith("scrypt$15$8$3$")
    assert is_right(GOOD, hashed)


def test_letters_that_are_written_in_two_ways_are_one_password() -> None:
    assert is_right("mo\u0308gen wir doch", hash_of("m\u00f6gen wir doch"))


@pytest.mark.parametrize(
    ("password", "words"),
    [
        ("short", "10 to 256 characters, not 5"),
        ("x" * 257, "not 257"),
        ("new\nline in it", "no control characters"),
        ("lone surrogate \ud800", "no control characters"),
        ("Ada.Lovelace", "not the user's name"),
    ],
)
def test_a_password_that_cannot_be_is_not_repeated(password: str, words: str) -> None:
    with pytest.raises(PasswordError, match=words) as caught:
        check_password(password, "ada.lovelace")
    assert password not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("secret", "no hash of the form"),
        ("bcrypt$1$1$1$AA==$AA==", "no hash of the form"),
        ("scrypt$x$1$1$AA==$AA==", "no hash of the form"),
        ("scrypt$1$1$1$?$AA==", "no hash of the form"),
        ("scrypt$40$1$1$AA==$AA==", "costs"),
        ("scrypt$0$1$1$AA==$AA==", "costs"),
        ("scrypt$1$1$1$AA==$AA==", "a key of 1 bytes"),
    ],
)
def test_a_hash_that_is_none_is_named(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parts_of(text)


# --- the file ---


def test_the_file_is_for_its_owner_alone_and_keeps_no_password(tmp_path: Path) -> None:
    path = people(tmp_path, ada="use")

    assert path.stat().st_mode & 0o777 == 0o600
    assert GOOD not in path.read_text()
    ada = read_users(path)["ada"]
    assert (ada.access, ada.may("read"), ada.may("use"), ada.may("operate")) == (
        "use", True, True, False,
    )
    assert ada.password not in repr(ada)
    assert [entry.name for entry in tmp_path.iterdir()] == [path.name]


def test_a_users_labels_and_name_own_jobs() -> None:
    ada = User("ada", "use", hash_of(GOOD), ["ada@example.org"])

    assert ada.is_owner("ada")
    assert ada.is_owner("ada@example.org")
    assert not ada.is_owner("ada@example.com")
    assert not ada.is_owner(None)


@pytest.mark.parametrize("mode", [0o604, 0o640 | 0o020, 0o602, 0o641])
def test_a_file_that_others_may_read_or_change_is_refused(tmp_path: Path, mode: int) -> None:
    path = people(tmp_path, ada="use")
    path.chmod(mode)

    with pytest.raises(UsersFileError, match="expected 0600"):
        read_users(path)
    path.chmod(0o640)
    assert read_users(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give a file away")
def test_a_file_of_another_user_is_refused_and_root_makes_it_for_the_folders_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.chown(tmp_path, 4711, 4712)
    path = people(tmp_path, ada="use")

    assert (path.stat().st_uid, path.stat().st_gid) == (4711, 4712)
    with pytest.raises(UsersFileError, match="belongs to user 4711"):
        read_users(path)
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    assert read_users(path)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "Input data was truncated"),
        ("\x80", "malformed|invalid"),
        ('{"format": 2, "users": []}', "its format is 2, this program knows 1"),
        ('{"format": 1, "users": [{"name": "ada"}]}', "missing required field `access`"),
        ('{"format": 1, "users": [], "more": 1}', "unknown field `more`"),
        (
            '{"format": 1, "users": [{"name": "a", "access": "root", "password": "x"}]}',
            "Invalid enum value 'root'",
        ),
        (
            '{"format": 1, "users": [{"name": "a*", "access": "use", "password": "x"}]}',
            "'a\\*' is no name",
        ),
        (
            '{"format": 1, "users": [{"name": "a", "access": "use", "password": "x"}]}',
            "the password of a is no hash",
        ),
    ],
)
def test_a_file_that_cannot_be_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "users"
    path.write_bytes(text.encode("latin-1"))
    path.chmod(0o600)

    with pytest.raises(UsersFileError, match=words) as caught:
        read_users(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("name", "labels", "words"),
    [
        ("", [], "is no name"),
        (".ada", [], "is no name"),
        ("a" * 65, [], "is no name"),
        ("ada\n", [], "is no name"),
        ("ADA", [], "there is a user 'ada' already"),
        ("bo", [""], "label '' of bo"),
        ("bo", ["x\ny"], "printable"),
    ],
)
def test_a_user_that_cannot_be_is_named(name: str, labels: list[str], words: str) -> None:
    ada = User("ada", "use", hash_of(GOOD))

    with pytest.raises(ValueError, match=words):
        check_user(User(name, "use", hash_of(GOOD), labels), {"ada": ada})


def test_changes_at_a_time_wait_for_each_other(tmp_path: Path) -> None:
    path = people(tmp_path)
    hashed = hash_of(GOOD)

    def add(number: int) -> None:
        with changing(path) as users:
            users[f"u{number}"] = User(f"u{number}", "read", hashed)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(read_users(path)) == 12


def test_an_exception_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = people(tmp_path, ada="use")

    with pytest.raises(ZeroDivisionError), changing(path) as users:
        users.clear()
        raise ZeroDivisionError
    assert set(read_users(path)) == {"ada"}


def test_a_disk_that_fails_is_told_and_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = people(tmp_path, ada="use")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(UsersFileError, match="No space left"):
        patch.setattr(os, "fsync", full)
        with changing(path) as users:
            users.clear()
    assert set(read_users(path)) == {"ada"}
    with pytest.raises(UsersFileError, match="No such file"), changing(tmp_path / "no" / "users"):
        pass


def test_users_are_read_anew_when_the_file_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = people(tmp_path, ada="use")
    users = Users(path)
    assert users.get("ada")
    assert users.get("bo") is None

    people(tmp_path, ada="use", bo="read")
    assert users.get("bo")

    path.write_text("nonsense")
    assert users.get("ada") is None
    assert "nobody can log in" in caplog.text
    caplog.clear()
    assert users.get("ada") is None
    assert caplog.text == ""
    path.unlink()
    assert users.get("ada") is None
    people(tmp_path, ada="operate")
    ada = users.get("ada")
    assert ada
    assert ada.may("operate")


# --- the command ---


def test_users_come_change_and_go_by_the_command(tmp_path: Path) -> None:
    path = tmp_path / "users"
    assert run(tmp_path, "add", "ada", "--access", "use", typed=f"{GOOD}\n") == (
        0, "ada is added, and may use\n", "",
    )
    first = read_users(path)["ada"]
    assert is_right(GOOD, first.password)
    assert run(tmp_path, "change", "ada", "--access", "operate", "--label", "ada@x.org")[0] == 0
    assert run(tmp_path, "list")[1] == "ada\toperate\tada@x.org\n"
    assert read_users(path)["ada"].password == first.password
    assert run(tmp_path, "change", "ada", "--password", typed="another password")[0] == 0
    assert is_right("another password", read_users(path)["ada"].password)
    assert run(tmp_path, "change", "ada", "--label", "")[0] == 0
    assert read_users(path)["ada"].labels == []
    assert run(tmp_path, "remove", "ada")[1] == "ada is removed\n"
    assert run(tmp_path, "list") == (0, "", "")


@pytest.mark.parametrize(
    ("words", "typed", "said"),
    [
        (["add", "a*", "--access", "use"], GOOD, "'a*' is no name"),
        (["add", "bo", "--access", "use"], "short", "10 to 256 characters, not 5"),
        (["add", "bo", "--access", "use"], "", "10 to 256 characters, not 0"),
        (["add", "Ada", "--access", "use"], GOOD, "there is a user 'ada' already"),
        (["change", "ada"], "", "say --access, --password or --label"),
        (["change", "bo", "--access", "use"], "", "there is no user 'bo'; there are: ada"),
        (["change", "ada", "--label", "a\nb"], "", "printable"),
        (["remove", "bo"], "", "there is no user 'bo'; there are: ada"),
    ],
)
def test_orders_that_cannot_be_are_told(
    tmp_path: Path, words: list[str], typed: str, said: str
) -> None:
    path = people(tmp_path, ada="use")
    before = path.read_bytes()

    status, out, errors = run(tmp_path, *words, typed=typed)

    assert (status, out) == (1, "")
    assert said in errors
    assert "Traceback" not in errors
    assert path.read_bytes() == before


def test_the_file_is_named_by_an_option_or_by_the_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = people(tmp_path, ada="use")
    config = tmp_path / "web.ini"
    config.write_text(f"[web]\nusers = {path}\n")

    assert main(["user", "list", "--config", str(config)]) == 0
    assert "ada" in capsys.readouterr().out
    assert main(["user", "list"]) == 1
    assert "which file?" in capsys.readouterr().err
    config.write_text("[web]\n")
    assert main(["user", "list", "--config", str(config)]) == 1
    assert main(["user", "list", "--config", str(tmp_path / "none")]) == 1
    assert main(["user", "list", "--users", str(tmp_path / "none")]) == 1
    assert "No such file" in capsys.readouterr().err


def test_at_a_terminal_the_password_is_asked_for_twice_and_not_shown(tmp_path: Path) -> None:
    def talk(answers: list[str]) -> tuple[int, str]:
        ours, theirs = pty.openpty()
        words = ["add", "ada", "--access", "use", "--users", str(tmp_path / "users")]
        with subprocess.Popen(
            [sys.executable, "-m", "spalloc_web", "user", *words],
            stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        ) as program:
            os.close(theirs)
            shown = ""
            for prompt, answer in zip(("Password of ada: ", "Once more: "), answers, strict=False):
                while prompt not in shown:
                    shown += os.read(ours, 1024).decode()
                os.write(ours, answer.encode() + b"\n")
            # At its end the terminal reads as an error.
            with contextlib.suppress(OSError):
                while text := os.read(ours, 1024):
                    shown += text.decode()
            os.close(ours)
        return program.returncode, shown

    status, shown = talk([GOOD, "something else"])
    assert status == 1
    assert "not the same" in shown
    status, shown = talk(["short"])
    assert status == 1
    status, shown = talk(["\x04"])
    assert status == 1
    assert "nothing was changed" in shown
    status, shown = talk([GOOD, GOOD])
    assert status == 0
    assert GOOD not in shown
    assert is_right(GOOD, read_users(tmp_path / "users")["ada"].password)


def test_a_password_that_is_no_text_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read, write = os.pipe()
    os.write(write, b"\xff\xfe\n")
    os.close(write)
    with os.fdopen(read, encoding="utf-8") as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        words = ["user", "add", "ada", "--access", "use", "--users", str(tmp_path / "users")]
        assert main(words) == 1
    assert "is no text" in capsys.readouterr().err


def test_a_user_needs_an_access(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(["add", "ada"])
    assert ended.value.code == 2
    with pytest.raises(SystemExit):
        command.main(["add", "ada", "--access", "root"])
    assert "read" in capsys.readouterr().err
