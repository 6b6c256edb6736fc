"""The examples of the manual and of README work as they are printed.

Python runs against our own server. The manual is tested only in the repository.
"""

import os
import re
import shlex
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from spalloc_client.config import read_config
from spalloc_client.scripts import alloc, job, machine, ps, where_is
from spalloc_client.scripts._command import Parser

from tests.real_server import CLIENT, OurServer, our_server

DOCS = CLIENT.parent / "docs"
PAGES = [
    path
    for path in (DOCS / "client.rst", CLIENT / "README.rst", *DOCS.glob("commands/*.rst"))
    if path.exists()
]

_BLOCK = re.compile(r"^\.\. code-block:: (\w+)\n\n((?:(?: {4}.*)?\n)+)", re.MULTILINE)
_LITERAL = re.compile(r"(?<=::\n\n)((?: {4}.*\n|\n)+)")


def blocks(language: str) -> Iterator[object]:
    """Give the blocks of code in a language, with names to tell them by."""
    for page in PAGES:
        found = [code for name, code in _BLOCK.findall(page.read_text()) if name == language]
        for number, code in enumerate(found, 1):
            yield pytest.param(textwrap.dedent(code), id=f"{page.name}-{number}")


def command_lines() -> Iterator[object]:
    """Give the lines of shell that call our commands."""
    for page in PAGES:
        for block in _LITERAL.findall(page.read_text()):
            for line in re.findall(r"^ {4}(?:\$ )?(spalloc(?:-[a-z-]+)?(?: .*)?)$", block, re.M):
                if line.split()[0] in PARSERS:
                    yield pytest.param(line, id=line)


PARSERS = {
    "spalloc": alloc._parser,
    "spalloc-ps": ps._parser,
    "spalloc-machine": machine._parser,
    "spalloc-job": job._parser,
    "spalloc-where-is": where_is._parser,
}


@pytest.fixture(scope="module")
def ours() -> Iterator[OurServer]:
    with our_server() as server:
        yield server


@pytest.mark.parametrize("code", list(blocks("python")))
def test_python_runs_as_it_is_printed(ours: OurServer, code: str) -> None:
    settings = {"HOSTNAME": "localhost", "OWNER": "me", "PORT": str(ours.port)}
    environment = {f"SPALLOC_{name}": value for name, value in settings.items()}
    source = code.replace('ProtocolClient("localhost"', f'ProtocolClient("localhost", {ours.port}')

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", source],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize("text", list(blocks("ini")))
def test_settings_are_read_as_they_are_printed(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "settings"
    file.write_text(text)

    settings = read_config([str(file)])

    assert settings.hostname is not None
    assert settings.owner == "me@example.org"
    assert caplog.messages == []


@pytest.mark.parametrize("line", list(command_lines()))
def test_command_lines_have_options_that_there_are(line: str) -> None:
    name, *words = shlex.split(re.split(r"\s+[>|]\s+", line)[0])
    options, _ = alloc._split(words) if name == "spalloc" else (words, None)
    parser: Parser = PARSERS[name]()

    try:
        parser.parse_args(options)
    except SystemExit as exc:  # it prints a completion script
        assert exc.code in {None, 0}


@pytest.mark.skipif(not DOCS.exists(), reason="the manual is in the repository only")
def test_there_are_examples_of_each_kind() -> None:
    assert len(list(blocks("python"))) >= 5
    assert len(list(blocks("ini"))) >= 2
    assert len(list(command_lines())) >= 5
