"""The manual's pictures of terminals show the commands' output today.

``PICTURES=write pytest tests/test_pictures.py`` writes them anew.
"""

import io
import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from tests.fake_server import FakeServer

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
COLUMNS = 92

pytestmark = pytest.mark.skipif(not PICTURES.exists(), reason="needs the repository's manual")


@pytest.fixture
def busy(server: FakeServer) -> FakeServer:
    """A server whose answers never change."""
    moment = 1_795_000_000.0
    server.add_job(owner="ada@example.org", start_time=moment)
    server.add_job(
        owner="bob@example.org", start_time=moment + 60, boards=[[1, 0, z] for z in range(3)]
    )
    return server


def screen(server: FakeServer, line: str) -> str:
    """Return a command's output, with its colours."""
    name, *words = line.split()
    code = f"import sys; from spalloc_client.scripts import {name} as m; sys.exit(m.main())"
    where = ["-H", "127.0.0.1", "-P", str(server.port)]
    environment = {
        **os.environ,
        "COLUMNS": str(COLUMNS),
        "FORCE_COLOR": "1",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONIOENCODING": "utf-8",
    }
    environment.pop("NO_COLOR", None)
    done = subprocess.run(
        [sys.executable, "-c", code, *where, *words],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return done.stdout


def picture(output: str, title: str) -> str:
    nowhere = io.StringIO()
    console = Console(
        record=True, width=COLUMNS, file=nowhere, force_terminal=True, color_system="standard"
    )
    console.print(Text.from_ansi(output.rstrip("\n")))
    # Fonts are the reader's own: nothing is to be fetched for a picture.
    return re.sub(r"@font-face \{.*?\}", "", console.export_svg(title=title), flags=re.DOTALL)


def words_of(svg: str) -> list[str]:
    """Return the text of a picture, line by line; rich may draw it otherwise tomorrow."""
    lines: dict[str, str] = {}
    for y, text in re.findall(r'<text[^>]* y="([^"]+)"[^>]*>(.*?)</text>', svg):
        lines[y] = lines.get(y, "") + unescape(text).replace("\xa0", " ")
    return [" ".join(line.split()) for line in lines.values() if line.strip()]


@pytest.mark.parametrize(
    ("name", "line", "title"),
    [
        ("terminal-ps", "ps", "spalloc-ps"),
        ("terminal-machines", "machine", "spalloc-machine"),
        ("terminal-machine", "machine demo", "spalloc-machine demo"),
        ("terminal-job", "job 1", "spalloc-job 1"),
    ],
)
def test_a_picture_is_of_the_output(busy: FakeServer, name: str, line: str, title: str) -> None:
    drawn = picture(screen(busy, line), title)
    path = PICTURES / f"{name}.svg"
    if os.environ.get("PICTURES") == "write":
        path.write_text(drawn, encoding="utf-8")

    assert words_of(path.read_text(encoding="utf-8")) == words_of(drawn)
    assert len(words_of(drawn)) > 2
