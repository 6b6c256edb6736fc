"""The two import names, and the imports that are allowed."""

import ast
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
import spalloc
import spalloc.config
import spalloc_client
import spalloc_client.config

PACKAGE = Path(spalloc_client.__file__).parent


def test_spalloc_is_a_second_name_for_the_same_objects() -> None:
    for name in spalloc_client.__all__:
        assert getattr(spalloc, name) is getattr(spalloc_client, name)
    for module in ("job", "protocol_client", "states", "errors"):
        ours = getattr(spalloc_client, module)
        theirs = getattr(spalloc, module)
        for name in getattr(ours, "__all__", []):
            assert getattr(theirs, name) is getattr(ours, name)
    assert spalloc.config.read_config is spalloc_client.config.read_config


@pytest.mark.parametrize("package", ["spalloc", "spalloc_client"])
def test_the_configuration_can_be_asked_under_both_names(package: str) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", f"{package}.config"],
        capture_output=True,
        text=True,
        check=True,
    )

    assert ".spalloc" in done.stdout
    assert done.stderr == ""


def test_nothing_imports_the_server() -> None:
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not any(name.startswith("spalloc_server") for name in names), path


def test_the_library_alone_does_not_load_the_drawing_library() -> None:
    code = "import sys, spalloc_client; sys.exit('rich' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_names_are_loaded_when_they_are_asked_for() -> None:
    code = (
        "import sys, spalloc_client; early = {n for n in sys.modules if 'spalloc_client.' in n};"
        "assert early == {'spalloc_client._version'}, early;"
        "spalloc_client.errors; spalloc_client.config; spalloc_client.Job; spalloc_client.job"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

    assert {*spalloc_client.__all__, "config", "errors"} <= set(dir(spalloc_client))
    with pytest.raises(AttributeError, match="'spalloc_client' has no attribute 'job_s'"):
        spalloc_client.job_s  # noqa: B018


def test_the_installed_version_is_the_packages() -> None:
    assert metadata.version("spalloc-client") == spalloc_client.__version__


def test_only_what_was_agreed_is_needed() -> None:
    needed = [
        line.split(";")[0].split(">")[0].strip()
        for line in metadata.requires("spalloc-client") or []
        if "extra ==" not in line
    ]

    assert sorted(needed) == ["platformdirs", "rich", "shtab"]
