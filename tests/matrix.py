"""All distributions, built and tried with every Python that is found.

Run as ``python -m tests.matrix`` (see ``make test-all``): builds wheel and sdist of server,
client and web pages and has them checked by twine, then, for each version of Python in
`VERSIONS` that this computer has, makes an empty virtual environment for each distribution,
installs the wheel there, runs the tests that come with the sdist against what is installed, and
sees that the sdist installs the same.  Versions may be named, as in
``python -m tests.matrix 3.12``.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

VERSIONS = ("3.10", "3.11", "3.12", "3.13")
ROOT = Path(__file__).parent.parent
#: {distribution's file name: (where it is built, the packages it installs)}.
DISTRIBUTIONS = {
    "spalloc_server": (".", ("spalloc_server",)),
    "spalloc_client": ("client", ("spalloc_client", "spalloc")),
    "spalloc_web": ("web", ("spalloc_web",)),
}
#: Tests that need the repository: they build the project, or run the client against the server
#: (and the original one) from environments that the Makefile makes.
OF_THE_REPOSITORY = (
    "--ignore=tests/system/test_packaging.py",
    "--deselect=tests/system/test_contrib.py::test_the_container_is_built_from_no_more_than_it_needs",
    "--ignore=tests/test_real_servers.py",
    "--ignore=tests/test_original_server.py",
)


#: Prints the version of a Python that can make environments.
_PROBE = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"


def interpreters() -> dict[str, Path]:
    """Return an interpreter for each version that is found: on the path, or of pyenv.

    What is there but does not run, such as pyenv's stand-in for a version that is not
    chosen, is passed over.
    """
    found: dict[str, Path] = {}
    for candidate in _candidates():
        version = _version(candidate)
        if version in VERSIONS:
            found.setdefault(version, candidate)
    return dict(sorted(found.items(), key=lambda each: VERSIONS.index(each[0])))


def _candidates() -> Iterator[Path]:
    yield Path(sys.executable)
    for folder in os.get_exec_path():
        for name in (*(f"python{version}" for version in VERSIONS), "python3"):
            path = shutil.which(name, path=folder)
            if path is not None:
                yield Path(path)
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    yield from sorted(pyenv.glob("versions/*/bin/python3"))


def _version(interpreter: Path) -> str | None:
    try:
        asked = subprocess.run(
            [interpreter, "-I", "-c", _PROBE], capture_output=True, text=True, check=False
        )
    except OSError:  # no program at all
        return None
    return asked.stdout.strip() if asked.returncode == 0 else None


def build(into: Path) -> None:
    """Build wheel and sdist of all distributions; the wheel is made from the sdist."""
    for folder, _ in DISTRIBUTIONS.values():
        _run([sys.executable, "-m", "build", "-q", "--outdir", into, ROOT / folder], ROOT)
    _run([sys.executable, "-m", "twine", "check", "--strict", *sorted(into.iterdir())], ROOT)


def try_out(version: str, interpreter: Path, dist: Path, work: Path) -> dict[str, str | None]:
    """Test all distributions, each in an empty environment of its own.

    Returns
    -------
    dict
        {distribution: what its tests came to, in words; None if not all passed}.
    """
    # Each of them, whatever came of the one before.
    return {name: _test(version, interpreter, name, dist, work) for name in DISTRIBUTIONS}


def _test(version: str, interpreter: Path, name: str, dist: Path, work: Path) -> str | None:
    folder = work / version / name
    print(f"--- {name} on Python {version}", flush=True)
    _run([interpreter, "-m", "venv", folder / "venv"], work)
    python = folder / "venv" / "bin" / "python"
    install: list[str | Path] = [python, "-m", "pip", "--disable-pip-version-check", "install"]
    wheel, sdist = next(dist.glob(f"{name}-*.whl")), next(dist.glob(f"{name}-*.tar.gz"))
    _run([*install, "-qq", f"{wheel}[test]"], work)
    outcome = _tests(python, name, sdist, folder)
    # What the sdist installs is what was tested, so it need not be tested again.
    of_the_wheel = _installed(python, name, folder)
    _run([*install, "-qq", "--force-reinstall", "--no-deps", sdist], work)
    if _installed(python, name, folder) != of_the_wheel:
        print(f"{sdist.name} installs something else than {wheel.name}", flush=True)
        return None
    return outcome


def _installed(python: Path, name: str, folder: Path) -> str:
    """Describe what a distribution has installed: modules and commands."""
    command: list[str | Path] = [python, "-I", "-c", _LISTING, name, *DISTRIBUTIONS[name][1]]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


#: Looks at the files themselves, as an old pip notes down less of an sdist than of a wheel.
_LISTING = """
import hashlib, importlib.metadata, importlib.util, pathlib, sys
name, *packages = sys.argv[1:]
for package in packages:
    folder = pathlib.Path(importlib.util.find_spec(package).origin).parent
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix != ".pyc":
            print(path, hashlib.sha256(path.read_bytes()).hexdigest())
distribution = importlib.metadata.distribution(name)
print(distribution.version, sorted(map(str, distribution.requires)))
print(sorted((each.name, each.value) for each in distribution.entry_points))
"""


def _tests(python: Path, name: str, sdist: Path, work: Path) -> str | None:
    """Run a distribution's tests on what is installed, its own sources put out of the way."""
    with tarfile.open(sdist) as archive:
        archive.extractall(work, filter="data")
    (unpacked,) = work.glob(f"{name}-*")
    for package in DISTRIBUTIONS[name][1]:
        shutil.rmtree(unpacked / package)
    pytest: list[str | Path] = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    last = ""
    with subprocess.Popen(
        [*pytest, *OF_THE_REPOSITORY],
        cwd=unpacked,
        env=_environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as tests:
        assert tests.stdout is not None
        for line in tests.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    return re.sub(r" in .*", "", last) if tests.returncode == 0 else None


def _environment() -> dict[str, str]:
    """Return the environment without what would change what Python imports, or how it runs."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


def _run(command: Sequence[str | Path], folder: Path) -> None:
    print("$", *command, flush=True)
    subprocess.run(command, cwd=folder, env=_environment(), check=True)


def main(args: Sequence[str] | None = None) -> int:
    """Build, try with each interpreter, sum up; returns 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("versions", nargs="*", metavar="VERSION", help=", ".join(VERSIONS))
    wanted = parser.parse_args(args).versions or VERSIONS
    if unknown := set(wanted) - set(VERSIONS):
        parser.error(f"no version {', '.join(sorted(unknown))}; there are {', '.join(VERSIONS)}")
    found = interpreters()
    for version in wanted:
        print(f"Python {version}: {found.get(version, 'not found')}", flush=True)
    results: dict[str, dict[str, str | None]] = {}
    with tempfile.TemporaryDirectory(prefix="spalloc-matrix-") as folder:
        work = Path(folder)
        build(work / "dist")
        for version in wanted:
            if version in found:
                results[version] = try_out(version, found[version], work / "dist", work)
    for version in wanted:
        print(f"Python {version}: {_summary(results.get(version))}")
    passed = all(outcome for each in results.values() for outcome in each.values())
    return 0 if results and passed else 1


def _summary(result: dict[str, str | None] | None) -> str:
    if result is None:
        return "not found"
    return "; ".join(f"{name} {outcome or 'FAILED'}" for name, outcome in result.items())


if __name__ == "__main__":
    sys.exit(main())
