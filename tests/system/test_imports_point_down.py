"""Imports point down, and importing does nothing.

The order is that of the table below, read from the bottom of the program to
its top. Helper modules have no place of their own: what a module reaches
through them counts as its own.
"""

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import spalloc_server

PACKAGE = Path(spalloc_server.__file__).parent

ORDER = (
    ("links", "coordinates", "area_to_rect", "pack_tree"),
    ("configuration", "allocator", "job_queue"),
    ("async_bmp_controller",),
    ("controller",),
    ("polling_server_core", "configuration_reloader"),
    ("server",),
)
RANK = {module: rank for rank, modules in enumerate(ORDER) for module in modules}


def names_in(package: Path) -> dict[str, Path]:
    """Modules of a package by their name within it."""
    paths = sorted(package.rglob("*.py"))
    return {".".join(path.relative_to(package).with_suffix("").parts): path for path in paths}


def imports_of(path: Path, package: Path) -> set[str]:
    """Dotted names of all that a module imports from its own package."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
            found.add(str(node.module))
    prefix = f"{package.name}."
    return {name.removeprefix(prefix) for name in found if name.startswith(prefix)}


def upward(package: Path) -> list[str]:
    """Imports, direct or through helpers, that point up."""
    direct = {name: imports_of(path, package) for name, path in names_in(package).items()}
    wrong = []
    for module, rank in RANK.items():
        reached = {module}
        while new := {far for near in reached for far in direct.get(near, ())} - reached:
            reached |= new
        higher = sorted(far for far in reached if RANK.get(far, -1) > rank)
        wrong += [f"{module} reaches {far}" for far in higher]
    return wrong


def test_imports_point_down() -> None:
    assert upward(PACKAGE) == []


@pytest.mark.parametrize(
    "statement",
    [
        "import small.server",
        "from small import server",
        "from small.server import main",
        "def lazily():\n    from small.server import main",
        "from small import _helper",
    ],
)
def test_an_import_that_points_up_is_found(tmp_path: Path, statement: str) -> None:
    package = tmp_path / "small"
    package.mkdir()
    (package / "server.py").write_text("import small.links\n")
    (package / "_helper.py").write_text("from small.server import main\n")
    (package / "links.py").write_text("import os\n")
    assert upward(package) == []

    (package / "links.py").write_text(f"{statement}\n")

    assert upward(package) == ["links reaches server"]


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
    modules = [
        f"{package.name}.{name}".removesuffix(".__init__") for name in sorted(names_in(package))
    ]
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
