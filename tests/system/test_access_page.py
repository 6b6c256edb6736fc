"""The manual's page on access, line by line: its policies, its commands and its program."""

from __future__ import annotations

import shlex
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

from spalloc_server._programs.options import _parser
from tests.support.fronted_server import FrontedServer, needs_tls
from tests.support.keepers import OURS, Unavailable, python_of
from tests.support.server_process import ServerProcess
from tests.support.tcp_client import TcpClient

PAGE = Path(__file__).parents[2] / "docs" / "access.rst"
#: A machine of the name, cabinet and frame that the page speaks of.
SITE = """
m = Machine.with_standard_ips(
    "spin5", base_ip="10.1.0.0", board_locations={(0, 0, z): (0, 2, z) for z in range(3)}
)
configuration = Configuration(machines=[m], ip="127.0.0.1", seconds_before_free=0)
"""


def blocks() -> list[str]:
    """Return the literal blocks of the page, each to the left."""
    found, lines = [], PAGE.read_text().splitlines()
    for number, line in enumerate(lines):
        if not line.endswith("::") or line.lstrip().startswith(".."):
            continue
        indent = len(line) - len(line.lstrip())
        block: list[str] = []
        for follower in lines[number + 1 :]:
            if follower and len(follower) - len(follower.lstrip()) <= indent:
                if block and any(block):
                    break
                continue
            block.append(follower)
        found.append(textwrap.dedent("\n".join(block)).strip() + "\n")
    return found


POLICIES = [each for each in blocks() if each.startswith("policy = ")]
COMMANDS = [
    line
    for each in blocks()
    for line in each.replace("\\\n", " ").splitlines()
    if line.startswith(("spalloc-state ", "spalloc_server "))
]


def test_the_page_has_what_is_tested_here() -> None:
    assert len(POLICIES) == 3
    assert len(COMMANDS) >= 12


@pytest.mark.parametrize("policy", POLICIES)
def test_each_policy_is_free_of_findings(tmp_path: Path, policy: str) -> None:
    config = tmp_path / "spalloc.cfg"
    config.write_text(SITE + policy)

    done = run("spalloc_server", "--check", str(config))

    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 errors, 0 warnings" in done.stdout
    assert "access rule" not in done.stdout


def test_each_command_does_what_it_says(tmp_path: Path) -> None:
    config = tmp_path / "spalloc.cfg"
    config.write_text(SITE + POLICIES[-1])
    with ServerProcess(tmp_path, "spalloc.cfg", "--first-id", "17") as server:
        with TcpClient(server.port) as client:
            for _ in range(2):
                client.call("create_job", owner="me@example.org", keepalive=None)
        told = ""
        for line in COMMANDS:
            words = [
                {"/etc/spalloc/spalloc.cfg": str(config), "/var/lib/spalloc": str(tmp_path)}.get(
                    word, word
                )
                for word in shlex.split(line)
            ]
            done = run(*words)
            assert done.returncode == 0, (line, done.stdout + done.stderr)
            told += done.stdout
        assert server.stop() == 0

    assert "job 18 is of cert:ada@example.org" in told
    assert "host:10.1.2.3: use (rule 4 of 5, 10.1.0.0/16)" in told
    assert "host:192.0.2.1: read (rule 5 of 5, 0.0.0.0/0)" in told
    assert "cert:ada@example.org: use (rule 2 of 5, cert:*@example.org)" in told


def test_the_units_drop_in_has_options_of_the_program() -> None:
    (block,) = (each for each in blocks() if "proxy.conf" in each)
    command = block.replace("\\\n", " ").partition("ExecStart=/usr/bin/env spalloc_server")[2]
    words = shlex.split(command.partition("END")[0].replace("${", "/").replace("}", ""))

    options = _parser().parse_args(words)

    assert [each.address for each in options.proxy] == ["/RUNTIME_DIRECTORY/proxy.sock"]
    assert options.proxy_group == "haproxy"
    recipe = (PAGE.parents[1] / "contrib" / "tls" / "haproxy.cfg").read_text()
    assert "unix@/run/spalloc/proxy.sock" in recipe
    assert "RuntimeDirectory=spalloc\n" in block


@needs_tls
def test_the_operators_program_runs_with_a_certificate(tmp_path: Path) -> None:
    try:
        python = python_of(OURS)
    except Unavailable as e:
        pytest.skip(str(e))
    (program,) = (each for each in blocks() if each.startswith("from spalloc_client"))
    policy = POLICIES[-1].removeprefix("policy = ")
    with closing(FrontedServer(tmp_path, policy)) as site:
        site.tls_proxy()
        for old, new in {
            "spalloc.example.org": "localhost",
            "22245": str(site.tls_port),
            "grace.pem": site.certificate("grace@example.org").name,
            "spin5:c0f2": "frame:c0f0",
        }.items():
            assert old in program
            program = program.replace(old, new)

        subprocess.run([python, "-c", program], cwd=tmp_path, check=True, timeout=60)

        out = site.server.controller.overview.out_of_service()
        assert {row.what for row in out} == {"new fan on Monday"}
        assert len(out) == 23


def run(program: str, *args: str) -> subprocess.CompletedProcess[str]:
    """Run one of the server's programs."""
    main = {
        "spalloc_server": "from spalloc_server.__main__ import main",
        "spalloc-state": "from spalloc_server._programs.state_tool import main",
    }[program]
    return subprocess.run(
        [sys.executable, "-c", f"import sys; {main}; sys.exit(main())", *args],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
