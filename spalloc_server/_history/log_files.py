"""Files of old logs and exports: how they are opened, told apart and ordered."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO


def is_export(path: Path) -> bool:
    """Whether a file begins like JSON lines."""
    with open_text(path) as file:
        return file.read(1) == "{"


def open_text(path: Path) -> TextIO:
    """Open a file, maybe compressed, to be read; bytes that are not UTF-8 become escapes."""
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8", errors="backslashreplace")
    return path.open(encoding="utf-8", errors="backslashreplace")


def in_order(paths: Iterable[Path]) -> list[Path]:
    """Sort logs by their first lines, which begin with the time."""

    def first_time(path: Path) -> str:
        with open_text(path) as file:
            return next((line[:23] for line in file if line[:1].isdigit()), "")

    return sorted(paths, key=first_time)
