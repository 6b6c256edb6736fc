"""Packages import only those that their docstrings name."""

from __future__ import annotations

import ast
from pathlib import Path

import spalloc_web

FOLDER = Path(spalloc_web.__file__).parent
#: Packages, and the other parts of this distribution that each may import.
ALLOWED = {
    "_facility": set(),
    "_accounts": {"_settings"},
    "_orders": {"_accounts", "_facility"},
    "_past": {"_settings"},
    "_shown": {"_facility", "_past", "_sight"},
    "_live": {"_facility", "_shown", "_sight"},
    "_notices": {"_facility", "_settings"},
}


def imported(package: str) -> set[str]:
    found = set()
    for path in (FOLDER / package).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                parts = node.module.split(".")
                if parts[0] == "spalloc_web" and len(parts) > 1:
                    found.add(parts[1])
    return found - {package}


def test_packages_import_only_those_that_they_may() -> None:
    assert {package: imported(package) - allowed for package, allowed in ALLOWED.items()} == {
        package: set() for package in ALLOWED
    }
    packages = {path.parent.name for path in FOLDER.glob("_*/__init__.py")}
    assert packages == {*ALLOWED, "_http"}
    # The check sees imports at all.
    assert imported("_http") >= {"_accounts", "_orders", "_facility"}
