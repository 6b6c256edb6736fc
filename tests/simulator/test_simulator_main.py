"""``spalloc-simulator`` as a process, and its command line."""

import json
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from spalloc_server._configuration_file import parse_configuration
from spalloc_server._simulator import Simulation, addresses, builtin
from spalloc_server._simulator.main import main
from spalloc_server._version import __version__
from spalloc_server.configuration import Machine
from spalloc_server.coordinates import board_down_link

_PROGRAM = [
    sys.executable,
    "-c",
    "import sys; from spalloc_server._simulator.main import main; sys.exit(main())",
]
_DEMO = Path(__file__).parent.parent.parent / "examples" / "demo.cfg"


@pytest.fixture
def hosts() -> list[str]:
    """Two loopback addresses that are free."""
    free = addresses.FreeAddresses()
    bound = [free.bind_next() for _ in range(2)]
    for _, used in bound:
        used.close()
    return [address for address, _ in bound]


def _configuration(folder: Path, hosts: Sequence[str]) -> Path:
    """Configuration of a frame of three boards, and a single one."""
    path = folder / "machines.cfg"
    path.write_text(
        "three = Machine('three', width=1, height=1,\n"
        "    board_locations={(0, 0, z): (0, 1, z) for z in range(3)},\n"
        f"    bmp_ips={{(0, 1): {hosts[0]!r}}},\n"
        "    spinnaker_ips={(0, 0, z): f'192.168.1.{z}' for z in range(3)})\n"
        f"one = Machine.single_board('one', bmp_ip={hosts[1]!r}, spinnaker_ip='192.168.2.1')\n"
        "configuration = Configuration(machines=[three, one])\n"
    )
    return path


@contextmanager
def _running(
    *args: str | Path, prefix: Sequence[str] = ()
) -> Iterator[tuple["subprocess.Popen[str]", list[str]]]:
    """The program, ready, and the lines it said."""
    with subprocess.Popen(
        [*prefix, *_PROGRAM, *map(str, args)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            lines = []
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                if line == "ready\n":
                    break
            yield process, lines
        finally:
            process.kill()


def _version_of_board(address: str, board: int) -> int:
    """Result of asking for a version."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.settimeout(20)
        peer.connect((address, 17893))
        peer.send(struct.pack("<2x8B2H3I", 0x87, 255, board, 255, 0, 0, 0, 0, 0, 1, 0, 0, 0))
        result = peer.recv(512)[10]
    assert isinstance(result, int)
    return result


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_it_says_what_runs_where_serves_and_stops(
    tmp_path: Path, hosts: list[str], stop: signal.Signals
) -> None:
    control = tmp_path / "control"
    options = ("--seed", "7", "--fault", f"{hosts[0]} board 1 error 0x84", "--listen", control)
    with _running(_configuration(tmp_path, hosts), *options) as (process, lines):
        assert lines == [
            f"{hosts[0]}:17893 is machine three, cabinet 0, frame 1, 3 boards",
            f"{hosts[1]}:17893 is machine one, cabinet 0, frame 0, 1 board",
            f"fault: {hosts[0]} board 1 error 0x84",
            f"control socket {control}",
            "seed 7",
            "ready",
        ]
        results = [_version_of_board(hosts[0], board) for board in range(4)]
        assert results == [0x80, 0x84, 0x80, 0x88]
        assert _version_of_board(hosts[1], 0) == 0x80

        process.send_signal(stop)

        assert process.communicate(timeout=60)[0] == "stopped\n"
        assert process.returncode == 0
    assert not control.exists()


def test_sigint_stops_it_even_if_the_parent_ignored_it(tmp_path: Path, hosts: list[str]) -> None:
    ignoring = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh"]
    with _running(_configuration(tmp_path, hosts), prefix=ignoring) as (process, _):
        process.send_signal(signal.SIGINT)

        assert process.wait(timeout=60) == 0


def test_it_is_steered_by_the_same_program(
    tmp_path: Path, hosts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    control = tmp_path / "control"
    with _running(_configuration(tmp_path, hosts), "--listen", control):
        assert main(["--control", str(control), hosts[0], "board", "1", "mute"]) == 0
        assert main(["--control", str(control), f"{hosts[0]} set-power on"]) == 0
        assert main(["--control", str(control), "faults"]) == 0
        assert capsys.readouterr() == (f"{hosts[0]} board 1 silent\n", "")
        assert main(["--control", str(control), "--json", f"{hosts[0]} power"]) == 0
        assert json.loads(capsys.readouterr().out) == {hosts[0]: {"0": True, "1": True, "2": True}}

        assert main([hosts[0], "--control", str(control), "power", "--json"]) == 0
        assert main(["--json", hosts[0], "--control", str(control), "power"]) == 0
        first, second = capsys.readouterr().out.splitlines()
        assert json.loads(first) == json.loads(second)

        assert main(["--control", str(control), "bmp9 mute"]) == 1

        out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("spalloc-simulator: 'bmp9' is neither a frame nor a command; frames")


# --- refusals: told in one line, exit status 1 ---


def _refusal(capsys: pytest.CaptureFixture[str], *args: str | Path) -> str:
    assert main([str(arg) for arg in args]) == 1
    err = capsys.readouterr().err
    assert err.startswith("spalloc-simulator: ")
    assert err.count("\n") == 1
    return err


def test_other_than_loopback_addresses_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    err = _refusal(capsys, _DEMO)

    assert "machine frame: BMP '192.168.0.0' of cabinet 0, frame 0 is not a loopback" in err
    assert "spalloc_server --simulate" in err


def test_an_address_in_use_is_refused(
    tmp_path: Path, hosts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with addresses.bind(hosts[1]):
        err = _refusal(capsys, _configuration(tmp_path, hosts))

    assert f"cannot serve {hosts[1]}, UDP port 17893: the address is in use" in err
    addresses.bind(hosts[0]).close()  # given back


def test_a_board_beyond_a_frame_is_refused(
    tmp_path: Path, hosts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    path = _configuration(tmp_path, hosts)
    path.write_text(path.read_text().replace("(0, 1, z)", "(0, 1, z + 22)"))

    err = _refusal(capsys, path)

    assert f"cannot serve {hosts[0]}: a frame has 1 to 24 boards, not 25" in err


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (None, "cannot be read"),
        ("configuration = ", "line 1: syntax error"),
        ("configuration = Configuration()", "no machine with a BMP"),
    ],
)
def test_a_configuration_that_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, what: str
) -> None:
    path = tmp_path / "machines.cfg"
    if text is not None:
        path.write_text(text)

    err = _refusal(capsys, path)

    assert str(path) in err
    assert what in err


def test_a_bad_fault_is_refused(
    tmp_path: Path, hosts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    err = _refusal(capsys, _configuration(tmp_path, hosts), "--fault", "slow down")

    assert "--fault 'slow down': slow: 'down' is not a number of seconds; give 0 to 3600" in err


def test_a_control_socket_that_cannot_be_made(
    tmp_path: Path, hosts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    err = _refusal(capsys, _configuration(tmp_path, hosts), "--listen", tmp_path)

    assert "something else" in err


def test_no_simulation_to_steer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    err = _refusal(capsys, "--control", tmp_path / "control", "power")

    assert "cannot reach a simulation at" in err


@pytest.mark.parametrize(
    ("args", "what"),
    [
        ([], "give one configuration file"),
        (["a.cfg", "b.cfg"], "give one configuration file"),
        (["--control", "socket"], "--control needs a text"),
        (["--seed", "x", "a.cfg"], "invalid int value: 'x'"),
    ],
)
def test_a_wrong_command_line(
    capsys: pytest.CaptureFixture[str], args: list[str], what: str
) -> None:
    with pytest.raises(SystemExit) as raised:
        main(args)

    assert raised.value.code == 2
    assert what in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "text"), [("--version", __version__), ("--help", "fpga-wrong")]
)
def test_what_it_tells_about_itself(
    capsys: pytest.CaptureFixture[str], option: str, text: str
) -> None:
    with pytest.raises(SystemExit) as raised:
        main([option])

    assert raised.value.code == 0
    assert text in capsys.readouterr().out


# --- the configurations that come along ---


def _demo() -> dict[str, Machine]:
    text = _DEMO.read_text()
    return {m.name: m for m in parse_configuration(text, _DEMO).machines}


def test_the_demonstration_is_a_frame_and_a_single_board() -> None:
    machines = _demo()

    assert list(machines) == ["frame", "solo"]
    frame, solo = machines.values()
    assert (frame.width, frame.height, len(frame.board_locations)) == (4, 2, 24)
    assert len(frame.dead_boards) == 1
    assert (solo.width, solo.height, len(solo.dead_boards)) == (1, 1, 2)


def test_the_demonstrations_dead_link_is_marked_on_both_ends() -> None:
    frame = _demo()["frame"]

    other_ends = {
        (*board_down_link(x, y, z, link, frame.width, frame.height)[:3], link.opposite)
        for x, y, z, link in frame.dead_links
    }

    assert len(frame.dead_links) == 2
    assert other_ends == frame.dead_links


def test_the_built_in_configuration_is_one_frame_of_24_boards() -> None:
    configuration = parse_configuration(builtin.CONFIGURATION, builtin.FILENAME)

    (machine,) = configuration.machines
    assert (machine.width, machine.height) == (4, 2)
    assert sorted(machine.board_locations.values()) == [(0, 0, board) for board in range(24)]


def test_any_configuration_is_simulated_in_process() -> None:
    with Simulation() as simulation:
        for machine in _demo().values():
            for host in machine.bmp_ips.values():
                assert _version_of_board(simulation.resolve(host), 0) == 0x80
