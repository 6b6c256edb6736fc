"""Two hundred odd configurations: each is served, or refused with words, and --check agrees."""

from __future__ import annotations

import os
import random
from functools import partial
from pathlib import Path

import pytest

from spalloc_server._configuration_file import ConfigurationError, load_configuration
from spalloc_server._programs.check import check_main
from spalloc_server._programs.output import printing
from spalloc_server.controller import Controller
from spalloc_server.server import SpallocServer
from tests.support.simulated_server import Client, simulated_server

SEED = int(os.environ.get("CONFIGURATIONS_SEED", "20261128"))
NUMBER = int(os.environ.get("CONFIGURATIONS", "200"))

#: Values of every kind, as text of Python.
ODD = (
    *("None", "True", "-1", "0", "1", "2.5", "1e999", "float('nan')", "10**30", "''", "' '"),
    *("'m'", "'mü'", "'\\ud800'", "'a\\nb'", "[]", "{}", "set()", "()", "(0, 0)", "(0, 0, 0)"),
    *("{(0, 0, 0)}", "{(0, 0, 0): (0, 0, 0)}", "{None}", "{'default', None}", "object()"),
    *("'10.0.0.1'", "'0.0.0.0'", "'10.0.0.1 '", "frozenset({'x'})", "Links.north", "b'm'"),
    *("type('S', (str,), {})('m')", "type('I', (int,), {})(2)", "type('F', (float,), {})(2)"),
    *("10**400", "{(Links.east, 0, 0)}", "{type('S', (str,), {})('default')}"),
)
FIELDS = (
    *("name", "tags", "width", "height", "dead_boards", "dead_links"),
    *("board_locations", "bmp_ips", "spinnaker_ips"),
)
SETTINGS = (
    *("durability", "overlap_power_on", "scheduling", "patience", "takeover_grace"),
    "keep_names_days",
)
GLOBALS = ("port", "ip", "timeout_check_interval", "max_retired_jobs", "seconds_before_free")


#: Values that are odd, but make sense.
UNUSUAL = {
    "name": ("'mü'", "'m m'", "'m' * 500"),
    "tags": ("set()", "frozenset({'x', 'y'})", "{'default', ' '}"),
    "width": ("7", "40"),
    "height": ("5", "40"),
    "dead_boards": ("{(x, y, z) for x in range(2) for y in range(1) for z in range(3)}",),
    "dead_links": ("set()", "{(0, 0, z, link) for z in range(3) for link in Links}"),
    "board_locations": ("{(0, 0, z): (7, 3, 22 - z) for z in range(3)}",),
    "bmp_ips": ("{(0, 0): 'bmp', (7, 3): 'other'}", "{(0, 0): '10.0.0.300', (7, 3): 'x' * 300}"),
    "spinnaker_ips": ("{(0, 0, z): f'10.0.0.{z + 1}' for z in range(3)}",),
    "durability": ("'none'", "'always'", "None"),
    "overlap_power_on": ("False",),
    "scheduling": ("'fcfs'", "'fcfs-grid'"),
    "patience": ("0", "0.001", "1e9"),
    "takeover_grace": ("0", "1e9"),
    "keep_names_days": ("1", "36525", "None"),
    "port": ("1", "70000"),
    "ip": ("'127.0.0.1'", "'localhost'"),
    "timeout_check_interval": ("0.01", "1e6"),
    "max_retired_jobs": ("0", "10**9"),
    "seconds_before_free": ("0", "1e9"),
}

GOOD = (
    "configuration = Configuration(machines=[Machine('m', width=1, height=1, "
    "board_locations={(0, 0, z): (0, 0, z) for z in range(3)}, bmp_ips={(0, 0): 'bmp'}, "
    "spinnaker_ips={(0, 0, z): f'board-{z}' for z in range(3)})])\n"
)


def mutated(choose: random.Random) -> str:
    """A configuration file in which one to three things are odd."""
    machine = {
        "name": "'m'",
        "tags": "{'default'}",
        "width": "2",
        "height": "1",
        "dead_boards": "{(1, 0, 0), (1, 0, 1), (1, 0, 2)}",
        "dead_links": "{(0, 0, 0, Links.north)}",
        "board_locations": "{(0, 0, z): (0, 0, z) for z in range(3)}",
        "bmp_ips": "{(0, 0): 'bmp'}",
        "spinnaker_ips": "{(0, 0, z): f'board-{z}' for z in range(3)}",
    }
    globals_: dict[str, str] = {}
    settings: dict[str, str] = {}
    for _ in range(choose.randint(1, 3)):
        kind = choose.choice((machine, machine, globals_, settings))
        names = FIELDS if kind is machine else GLOBALS if kind is globals_ else SETTINGS
        name = choose.choice(names)
        kind[name] = choose.choice(UNUSUAL[name] if choose.random() < 0.6 else ODD)
    fields = ", ".join(f"{name}={value}" for name, value in machine.items())
    others = "".join(f", {name}={value}" for name, value in globals_.items())
    lines = [f"{name} = {value}" for name, value in settings.items()]
    lines.append(f"configuration = Configuration(machines=[Machine({fields})]{others})")
    return "\n".join(lines) + "\n"


def serves(server: SpallocServer) -> None:
    """Every command that lists things answers, and a job is created or refused with words."""
    with Client(server.port) as client:
        for command in ("version", "list_machines", "list_jobs", "get_facility", "list_queue"):
            client.call(command)
        for machine in client.call("list_machines"):
            assert client.call("list_boards", machine["name"]) is not None
        client.call("create_job", owner="me", keepalive=None)
        assert client.call("list_jobs") is not None
    turns = server.turns
    assert turns < 1000, "the loop does not spin"


@pytest.mark.parametrize("part", range(4))
def test_a_configuration_is_served_or_refused_with_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], part: int
) -> None:
    config = tmp_path / "machines.cfg"
    served = 0
    for number in range(part, NUMBER, 4):
        text = mutated(random.Random(f"{SEED} {number}"))
        config.write_text(text, encoding="utf-8", errors="surrogateescape")
        about = f"number {number} of seed {SEED}:\n{text}"

        status = printing("--check", partial(check_main, str(config), json=False))
        said = capsys.readouterr().out
        try:
            load_configuration(config)
        except ConfigurationError as refusal:
            assert status == 1, about
            assert (
                "expected" in str(refusal)
                or "addresses" in str(refusal)
                or ("which" in str(refusal) or "negative" in str(refusal))
            ), f"{refusal}\n{about}"
            continue
        if "does not resolve: nothing can listen" in said:
            continue
        assert status == 0, f"{said}\n{about}"
        _start(config, about)
        served += 1
    assert served >= 5, "the search is not all refusals"


def _start(config: Path, about: str) -> None:
    try:
        with simulated_server(config, cold_start=True, bind=None) as server:
            serves(server)
    except Exception as failure:
        raise AssertionError(about) from failure


def test_a_reload_of_odd_configurations_harms_no_running_job(tmp_path: Path) -> None:
    config = tmp_path / "machines.cfg"
    config.write_text(GOOD)
    with simulated_server(config) as server, Client(server.port) as client:
        job_id = client.call("create_job", owner="me", keepalive=None)
        client.wait_until(job_id, 3)
        for number in range(0, NUMBER, 10):
            text = mutated(random.Random(f"{SEED} {number}"))
            config.write_text(text, encoding="utf-8", errors="surrogateescape")
            before = client.call("get_job_state", job_id)["state"]
            loaded = server.read_config_file()
            client.call("list_machines")
            assert loaded or client.call("get_job_state", job_id)["state"] == before
        config.write_text(GOOD)
        assert server.read_config_file()
        assert isinstance(server.controller, Controller)
