"""The man pages that the wheel installs are those of the manual's present text."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.commands import MAINS
from tests.real_server import BINARIES, CLIENT

MAN = CLIENT / "man"
DOCS = CLIENT.parent / "docs"


def words(page: Path) -> list[str]:
    """Return the words of a page, without macros, escapes and the version in its title."""
    lines = page.read_text().splitlines()
    text = lines[next(n for n, line in enumerate(lines) if line.startswith(".TH")) + 1 :]
    plain = [re.sub(r"^\.[A-Za-z]*|\\f[BIPR]|\\", "", line) for line in text]
    return re.findall(r"[^\s]+", " ".join(plain))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pages built just now."""
    python = BINARIES / "python"
    if not DOCS.exists() or not python.exists():
        pytest.skip("the manual is in the repository only")
    folder = tmp_path_factory.mktemp("man")
    options = ["-t", "man", "-c", str(DOCS), "-D", "root_doc=spalloc"]
    quiet = ["-q", "-D", "suppress_warnings=toc.not_included"]
    done = subprocess.run(
        [python, "-m", "sphinx", *quiet, *options, "-b", "man", DOCS / "commands", folder],
        env={**os.environ, "COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "No module named sphinx" in done.stderr:
        pytest.skip("Sphinx is not there")
    assert (done.returncode, done.stderr) == (0, "")
    return folder


@pytest.mark.parametrize("name", MAINS)
def test_the_pages_are_those_of_the_manual(built: Path, name: str) -> None:
    assert words(MAN / f"{name}.1") == words(built / f"{name}.1"), "run: make man"


@pytest.mark.parametrize("name", MAINS)
def test_each_page_has_examples_and_exit_statuses(name: str) -> None:
    text = (MAN / f"{name}.1").read_text()

    for section in ("SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "ENVIRONMENT", "EXAMPLES"):
        assert f"\n.SH {section}\n" in text
    assert "\u2013" not in text  # a dash where two were meant


def test_another_text_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.1"
    page.write_text('.de1 X\n..\n.TH "A" "1" "today"\n.SH NAME\n\\fBspalloc\\fP \\-\\-owner\n')
    other = tmp_path / "other.1"
    other.write_text('.TH "A" "1" "tomorrow"\n.SH NAME\nspalloc \\-\\-ower\n')

    assert words(page) == ["NAME", "spalloc", "--owner"]
    assert words(other) != words(page)
