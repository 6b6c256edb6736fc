"""Imports point down, and importing does nothing.

The table of ``docs/layers.csv`` lists the modules of the top folder and the packages, from the
bottom of the program to its top, each with the others that it may import.
"""

import csv
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import spalloc_server
from tests.support.house import circles, imports_of, modules_of

PACKAGE = Path(spalloc_server.__file__).parent
LAYERS = Path(__file__).parents[2] / "docs" / "layers.csv"

def layers() -> dict[str, set[str]]:
    """Each module of the top folder and each package, with those that it may import."""
    with LAYERS.open(newline="") as file:
        return {name: set(below.split()) for name, below in list(csv.reader(file))[1:]}


def forbidden(package: Path, allowed: Mapping[str, set[str]]) -> set[str]:
    """Imports that leave a module's place for one that the table does not allow."""
    modules = modules_of(package)
    wrong = set()
    for name, path in modules.items():
        for imported in imports_of(name, path, modules):
            here, there = place_of(name), place_of(imported)
            if here != there and there not in allowed.get(here, set()):
                wrong.add(f"{short(name)} imports {short(imported)}")
    return wrong


def short(name: str) -> str:
    return name.partition(".")[2] or "__init__"


def place_of(name: str) -> str:
    """Module of the top folder or package that a module is, or is in."""
    return short(name).partition(".")[0]


def test_every_module_and_package_is_in_the_table() -> None:
    places = {place_of(name) for name in modules_of(PACKAGE)}

    assert places <= set(layers())


def test_the_table_points_down() -> None:
    names = list(layers())

    for number, (name, below) in enumerate(layers().items()):
        higher = below - set(names[:number])
        if name == "_simulator":
            higher -= {"_programs"}  # a program too: it has a command line of its own
        assert not higher, f"{name} may import {higher}, which stand below it in the table"


def test_imports_are_those_that_the_table_allows() -> None:
    assert forbidden(PACKAGE, layers()) == set()


def test_closed_packages_have_no_more_arrows_than_these() -> None:
    assert layers()["_saved"] == {"_clock"}
    assert layers()["_bmp"] == {"_clock", "links"}


@pytest.mark.parametrize(
    "statement",
    [
        "import small.server",
        "from small import server",
        "from small.server import main",
        "def lazily():\n    from small.server import main",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from small.server import main",
    ],
)
def test_an_import_that_is_not_allowed_is_found(tmp_path: Path, statement: str) -> None:
    package = tmp_path / "small"
    (package / "_inner").mkdir(parents=True)
    allowed = {"server": {"links", "_inner"}, "_inner": {"links"}, "__init__": set[str]()}
    (package / "__init__.py").write_text("")
    (package / "links.py").write_text("import os\n")
    (package / "server.py").write_text("import small.links\nfrom small._inner import deep\n")
    (package / "_inner" / "__init__.py").write_text("")
    (package / "_inner" / "deep.py").write_text("from small import links\n")
    assert forbidden(package, allowed) == set()
    assert circles(package) == []

    (package / "_inner" / "deep.py").write_text(f"{statement}\n")

    assert forbidden(package, allowed) == {"_inner.deep imports server"}
    assert circles(package) == [["small._inner.deep", "small.server"]]


# --- importing does nothing ---

#: Run with a package and its modules. Everything is imported twice, so that what the
#: libraries do when they are imported first is not counted.
PROBE = """
import importlib, json, logging, signal, sys, threading

package, modules = sys.argv[1], sys.argv[2:]
optional = {"prometheus_client", "sdnotify", "systemd", "pytest", "hypothesis", "mock"}
done = []

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in optional:
            raise ModuleNotFoundError(f"{name} is optional", name=name)

def audit(event, args):
    if watching and event == "open" and not str(args[0]).endswith((".py", ".pyc", ".so")):
        done.append(f"opens {args[0]}")
    elif watching and event.startswith(("socket.", "subprocess.", "os.fork")):
        done.append(event)

def start(thread):
    done.append("starts a thread")

def import_all():
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        del sys.modules[name]
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as exc:
            done.append(f"{module}: {exc}")

def handlers():
    return [signal.getsignal(number) for number in sorted(signal.valid_signals())]

sys.dont_write_bytecode = True
sys.meta_path.insert(0, Missing())
watching = False
sys.addaudithook(audit)
before = handlers()
import_all()
del done[:]
watching = True
threading.Thread.start = start
import_all()
watching = False
if handlers() != before:
    done.append("installs a signal handler")
if logging.getLogger().handlers or logging.getLogger(package).handlers:
    done.append("sets up logging")
print(json.dumps(done))
"""


def what_importing_does(package: Path) -> list[str]:
    modules = list(modules_of(package))
    answer = subprocess.run(
        [sys.executable, "-c", PROBE, package.name, *modules],
        cwd=package.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(answer.stdout)
    assert isinstance(told, list)
    return told


def test_importing_any_module_does_nothing() -> None:
    assert what_importing_does(PACKAGE) == []


def test_whatever_importing_does_is_found(tmp_path: Path) -> None:
    package = tmp_path / "small"
    package.mkdir()
    (package / "__main__.py").write_text(f"open({str(tmp_path / 'log')!r}, 'w').close()\n")
    (package / "a.py").write_text("import prometheus_client\n")
    (package / "b.py").write_text("import socket\nsocket.socket().close()\n")
    (package / "c.py").write_text("import signal\nsignal.signal(signal.SIGUSR1, signal.SIG_IGN)\n")
    (package / "d.py").write_text("import logging\nlogging.basicConfig()\n")
    (package / "e.py").write_text(
        "import threading\nthreading.Thread(target=id, args=(0,)).start()\n"
    )

    done = what_importing_does(package)

    assert done == [
        f"opens {tmp_path / 'log'}",
        "small.a: prometheus_client is optional",
        "socket.__new__",
        "starts a thread",
        "installs a signal handler",
        "sets up logging",
    ]
