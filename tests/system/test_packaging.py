"""What is built is complete, and right in form."""

import configparser
import os
import re
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from spalloc_server import __version__
from tests import matrix

ROOT = Path(__file__).parent.parent.parent
CLONE = (ROOT / ".git").exists()


def run(*arguments: object, folder: Path = ROOT) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"NO_COLOR": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheels and sdists of both distributions."""
    folder = tmp_path_factory.mktemp("dist")
    for where, _ in matrix.DISTRIBUTIONS.values():
        run("-m", "build", "-q", "--no-isolation", "--outdir", folder, ROOT / where)
    return folder


def test_wheel_and_sdist_are_right_in_form(dist: Path) -> None:
    files = sorted(dist.iterdir())

    assert [path.name for path in files] == [
        f"spalloc_client-{__version__}-py3-none-any.whl",
        f"spalloc_client-{__version__}.tar.gz",
        f"spalloc_server-{__version__}-py3-none-any.whl",
        f"spalloc_server-{__version__}.tar.gz",
        f"spalloc_web-{__version__}-py3-none-any.whl",
        f"spalloc_web-{__version__}.tar.gz",
    ]
    run("-m", "twine", "check", "--strict", *files)


@pytest.mark.parametrize(
    ("distribution", "files"),
    [
        ("spalloc_server", {"spalloc_server/py.typed", "spalloc_server/_simulator/main.py"}),
        (
            "spalloc_client",
            {"spalloc_client/py.typed", "spalloc/py.typed", "spalloc_client/scripts/ps.py"},
        ),
        (
            "spalloc_web",
            {
                "spalloc_web/py.typed",
                "spalloc_web/static/js/now.js",
                "spalloc_web/static/vendor/uplot/LICENSE",
                "spalloc_web/templates/now.html",
            },
        ),
    ],
)
def test_the_wheel_has_the_packages_and_nothing_else(
    dist: Path, distribution: str, files: set[str]
) -> None:
    (wheel,) = dist.glob(f"{distribution}-*.whl")

    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()

    assert {name.partition("/")[0] for name in names} == {
        *matrix.DISTRIBUTIONS[distribution][1],
        f"{distribution}-{__version__}.dist-info",
        *({f"{distribution}-{__version__}.data"} if distribution in WITH_MAN_PAGES else ()),
    }
    assert files <= set(names)


WITH_MAN_PAGES = {"spalloc_server", "spalloc_client", "spalloc_web"}


@pytest.mark.parametrize("distribution", sorted(WITH_MAN_PAGES))
def test_the_wheel_installs_a_man_page_for_each_program(dist: Path, distribution: str) -> None:
    (wheel,) = dist.glob(f"{distribution}-*.whl")

    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (points,) = (name for name in names if name.endswith("entry_points.txt"))
        programs = re.findall(r"^([\w-]+) =", archive.read(points).decode(), re.MULTILINE)

    pages = {Path(name).stem for name in names if "/data/share/man/man1/" in name}
    # One program has two names, and one a page of its own for a sub-command.
    assert pages - {"spalloc-web-user"} == set(programs) - {"spalloc-server"}


def test_the_sdist_has_all_that_an_administrator_or_a_tester_wants(dist: Path) -> None:
    (sdist,) = dist.glob("spalloc_server-*.tar.gz")

    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    assert {
        "CHANGELOG.rst",
        "LICENSE",
        "Makefile",
        "client/setup.cfg",
        "contrib/systemd/spalloc_server.service",
        "docs/conf.py",
        "docs/exchanges/version.txt",
        "examples/million-cores.csv",
        "ruff.toml",
        "stubs/spinnman/exceptions.pyi",
        "tests/data/scp_recorded.json",
        "tests/system/test_packaging.py",
    } <= names
    assert not {name for name in names if "__pycache__" in name or ".venv" in name}


@pytest.mark.skipif(not CLONE, reason="compares the sdist with what the repository holds")
@pytest.mark.parametrize("folder", [where for where, _ in matrix.DISTRIBUTIONS.values()])
def test_the_sdist_is_what_the_repository_holds(tmp_path: Path, folder: str) -> None:
    # What lies about in a working folder is nobody's business.
    subprocess.run(
        ["git", "clone", "-q", "--depth", "1", f"file://{ROOT}", tmp_path / "clone"], check=True
    )

    run("-m", "check_manifest", "-q", "--no-build-isolation", folder=tmp_path / "clone" / folder)


def test_this_python_is_one_that_the_matrix_finds() -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"

    assert version in matrix.interpreters()


def test_what_is_no_python_is_not_found(tmp_path: Path) -> None:
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    (tmp_path / "python3.13").write_text("")

    assert matrix._version(shim) is None
    assert matrix._version(tmp_path / "python3.13") is None
    assert matrix._version(tmp_path / "python3.10") is None


def test_a_stand_in_on_the_path_does_not_hide_what_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for folder in ("first", "second", "pyenv"):
        (tmp_path / folder).mkdir()
    shim = tmp_path / "first" / f"python{version}"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    running = tmp_path / "second" / f"python{version}"
    running.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    running.chmod(0o755)
    monkeypatch.setenv("PATH", f"{shim.parent}:{running.parent}")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))

    assert matrix.interpreters() == {version: running}


def test_a_version_that_is_unknown_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        matrix.main(["3.9"])

    assert "no version 3.9; there are 3.10, 3.11, 3.12, 3.13" in capsys.readouterr().err


#: Extras with tools of the developers.
TOOLS = {"docs", "test", "mutants"}


def needed(folder: Path) -> set[str]:
    """Distributions that a setup.cfg asks for, but for the developers' tools."""
    setup = configparser.ConfigParser()
    setup.read(folder / "setup.cfg")
    extras = setup["options.extras_require"]
    lists = [setup["options"]["install_requires"]] + [
        wanted for extra, wanted in extras.items() if extra not in TOOLS
    ]
    lines = [line for wanted in lists for line in wanted.split("\n")]
    names = [re.match(r"[\w.-]+", line) for line in lines]
    return {name.group() for name in names if name is not None}


def justified(folder: Path) -> set[str]:
    """Distributions in the tables of a README's section on dependencies."""
    section = (folder / "README.rst").read_text().partition("Dependencies\n---")[2]
    section = section.partition("\n---")[0]
    rows = re.findall(r"^([\w-]+)  +\S", section, re.MULTILINE)
    return set(rows)


@pytest.mark.parametrize("folder", [".", "client", "web"])
def test_each_dependency_is_justified_in_a_line(folder: str) -> None:
    assert justified(ROOT / folder) == needed(ROOT / folder) != set()
