"""``spalloc-state quarantine`` against a server in this process."""

import contextlib
import errno
import json
import os
import queue
import socket
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from spalloc_server._access.policy import Policy
from spalloc_server._bmp import wiring
from spalloc_server._jobs.out_of_service import OutOfService, rows
from spalloc_server._jobs.quarantine import Quarantine
from spalloc_server._jobs.records import MachineMap
from spalloc_server._programs import quarantine_tool
from spalloc_server._programs.state_tool import main
from spalloc_server._simulator import Simulation
from spalloc_server._wire import control as _control
from spalloc_server._wire import control_socket, orders
from spalloc_server._wire.control import Control, control_path
from spalloc_server._wire.control_socket import Connection, ControlFailed, Listener
from spalloc_server.server import SpallocServer
from tests.support.machines import machine

_CONFIG = """
boards = [(x, 0, z) for x in range(2) for z in range(3)]
configuration = Configuration(seconds_before_free=0, ip="127.0.0.1", machines=[Machine(
    "m", width=2, height=1,
    board_locations={board: (0, 3, n) for n, board in enumerate(boards)},
    bmp_ips={(0, 3): "frame"}, spinnaker_ips={board: f"b{n}" for n, board in enumerate(boards)},
)])
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "m.cfg"
    path.write_text(_CONFIG)
    return path


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    with Simulation() as simulation:
        wiring.fpga_wait = 0.0
        wiring.resolve = simulation.resolve
        yield simulation
    wiring.reset()


@pytest.fixture
def server(config: Path, simulation: Simulation) -> Iterator[SpallocServer]:
    with SpallocServer(config, port=0) as server:
        yield server


@pytest.fixture
def run(config: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command; give exit status, output and errors."""

    def run(*args: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = main(["quarantine", str(config), *args])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run


# --- the command ---


def test_nothing_is_out(server: SpallocServer, run: Run) -> None:
    assert run() == (0, "all boards are in service\n", "")


def test_boards_are_taken_out_listed_and_put_back(server: SpallocServer, run: Run) -> None:
    added = run("add", "m:0,0,1", "m:c0f3b5", "m:0,0,1", "--reason", "new  FPGA\x1b")

    assert added[0] == 0
    assert added[1].count("taken out of service") == 2
    status, listed, _ = run("list")
    assert status == 0
    lines = listed.splitlines()
    assert lines[0].split()[:2] == ["board", "since"]
    assert [line.split()[0] for line in lines[1:]] == ["m:0,0,1", "m:1,0,2"]
    assert all("operator: new FPGA\\x1b" in line for line in lines[1:])
    assert run("release", "m:0,0,1")[1] == "board (0, 0, 1) of machine m back in service\n"
    assert [row.board for row in server._controller.overview.out_of_service()] == [(1, 0, 2)]


@pytest.mark.parametrize(
    "words",
    [
        ("add", "m:0,0,1", "m:1,0,2", "--reason", "x"),
        ("add", "--reason", "x", "m:0,0,1", "m:1,0,2"),
        ("add", "m:0,0,1", "--reason", "x", "m:1,0,2"),
        ("--reason", "x", "add", "m:0,0,1", "m:1,0,2"),
        ("--reason=x", "add", "--", "m:0,0,1", "m:1,0,2"),
    ],
)
def test_boards_and_options_come_in_any_order(
    server: SpallocServer, run: Run, words: tuple[str, ...]
) -> None:
    status, _, error = run(*words)

    assert (status, error) == (0, "")
    out = server._controller.overview.out_of_service()
    assert {row.board for row in out} == {(0, 0, 1), (1, 0, 2)}


def test_options_may_come_before_the_configuration(
    server: SpallocServer, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["quarantine", "--json", str(config), "--physical", "list"]) == 0

    assert json.loads(capsys.readouterr().out) == {"out": [], "waiting": []}


def test_an_operators_words_stay_on_one_line_of_the_log(
    server: SpallocServer, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        run("add", "m:0,0,1", "--reason", "burnt\x1b[31m \u202efan")

    assert "taken out of service: burnt\\x1b[31m \\u202efan" in caplog.text
    assert "\x1b" not in caplog.text


def test_the_physical_list_is_for_who_repairs(server: SpallocServer, run: Run) -> None:
    run("add", "m:1,0,1", "--reason", "x")

    _, listed, _ = run("list", "--physical")

    assert listed.splitlines()[1].split()[:6] == ["m:c0f3b4", "0", "3", "4", "b4", "frame"]


def test_the_list_can_be_read_by_programs(server: SpallocServer, run: Run) -> None:
    run("add", "m:1,0,1", "--reason", "x")
    job = server.create_job(None, 2, 1, owner="me")

    data = json.loads(run("list", "--json")[1])

    (row,) = data["out"]
    assert (row["board"], row["physical"], row["kind"]) == ([1, 0, 1], [0, 3, 4], "operator")
    assert data["waiting"] == [{"job": job, "machine": "m", "boards": [[1, 0, 1]]}]
    assert f"job {job} waits for board (1, 0, 1) of machine m" in run("list")[1]


def test_frames_machines_and_ranges_are_taken_out_and_put_back(
    server: SpallocServer, run: Run
) -> None:
    assert run("add", "m:c0f3", "--reason", "fan")[1] == (
        "board (0, 0, 0) of machine m taken out of service\n"
        "board (0, 0, 1) of machine m taken out of service\n"
        "board (0, 0, 2) of machine m taken out of service\n"
        "board (1, 0, 0) of machine m taken out of service\n"
        "board (1, 0, 1) of machine m taken out of service\n"
        "board (1, 0, 2) of machine m taken out of service\n"
    )
    assert run("release", "m:c0f3b1-2", "m:1,0,0-1,0,2")[1].count("back in service") == 5
    assert [row.board for row in server._controller.overview.out_of_service()] == [(0, 0, 0)]

    assert run("add", "m", "--reason", "fan")[0] == 0
    assert len(server._controller.overview.out_of_service()) == 6
    assert run("release", "--all")[1].count("back in service") == 6
    assert server._controller.overview.out_of_service() == []


def test_only_those_of_a_group_that_are_out_are_released(server: SpallocServer, run: Run) -> None:
    run("add", "m:0,0,1", "--reason", "fan")

    assert run("release", "m")[1] == "board (0, 0, 1) of machine m back in service\n"


def test_equal_rows_of_a_frame_are_one(server: SpallocServer, run: Run) -> None:
    run("add", "m", "--reason", "fan")

    for words in ((), ("--physical",)):
        lines = run("list", *words)[1].splitlines()
        assert len(lines) == 2
        assert lines[1].startswith("m:c0f3 (6 boards)  ")
    assert len(json.loads(run("list", "--json")[1])["out"]) == 6


def test_a_dead_board_that_is_taken_out_is_told(server: SpallocServer, run: Run) -> None:
    dead = server._controller.machines["m"]
    server._controller.machines = {"m": dead._replace(dead_boards=frozenset({(0, 0, 1)}))}

    told = run("add", "m:0,0,1", "--reason", "fan")[1].splitlines()

    assert told[-1] == "board (0, 0, 1) of machine m: dead by the configuration already"


def test_boards_of_a_silent_frame_come_back_by_themselves(server: SpallocServer, run: Run) -> None:
    where = server._recorded._records.maps["m"]
    with server._recorded.undisturbed:
        server._recorded._health.fall_silent("m", where.in_frame((0, 0, 0))[0])

    lines = run("list")[1].splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == ["m:c0f3 (6 boards)"]
    status, _, error = run("release", "m")
    assert status == 1
    assert "of machine m: will come back when the frame answers again" in error


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["add", "m:0,0,1"], "add needs --reason"),
        (["add", "--reason", "x"], "add which boards?"),
        (["release", "m:0,0,1", "--reason", "x"], "--reason goes with add"),
        (["list", "m:0,0,1"], "list takes no boards"),
        (["add", "0,0,1", "--reason", "x"], "'0,0,1' names no machine; write MACHINE:X,Y,Z"),
        (["add", "m:0,0", "--reason", "x"], "no machine 'm:0,0'; there are m; write MACHINE"),
        (["add", "n:0,0,1"], "no machine 'n'; there are m"),
        (["add", "m:c1f2", "--reason", "x"], "machine 'm' has no such boards"),
        (["add", "m:0,0,1", "--all", "--reason", "x"], "--all goes with release alone"),
        (["release", "m:0,0,1", "--all"], "--all goes with release alone"),
        (["release", "--all"], "not out of service: nothing is"),
        (["release", "m:c0f3"], "not out of service: 6 boards (0, 0, 0), "),
        (["add", "n:0,0,1", "--reason", "x"], "no machine 'n'; there are m"),
        (["add", "m:0,0,1", "m:0,0,7", "--reason", "x"], "machine 'm' has no such board"),
        (["add", "m:c0f0b0", "--reason", "x"], "machine 'm' has no such board"),
        (["add", "m:0,0,1", "--reason", "x" * 501], "at most 500 characters"),
        (["release", "m:0,0,1"], "not out of service: board (0, 0, 1) of machine m"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_is_done(
    server: SpallocServer, run: Run, args: list[str], said: str
) -> None:
    status, out, error = run(*args)

    assert (status, out) == (1, "")
    assert said in error
    assert server._controller.overview.out_of_service() == []


def test_without_a_server_what_it_saved_is_listed(
    config: Path, simulation: Simulation, run: Run
) -> None:
    with SpallocServer(config, port=0) as server:
        job = server.create_job(None, 0, 0, 1, owner="me")
        server.create_job(None, 0, 0, 1, owner="me")  # is queued
        run("add", "m:0,0,1", "m:1,0,1", "--reason", "x")

    status, listed, error = run("list", "--physical")

    assert status == 0
    assert "m:c0f3b4" in listed
    assert "no server runs" in error
    assert run("list")[1].splitlines()[1].split()[-1] == str(job)


def test_without_a_server_nothing_can_be_changed(config: Path, run: Run) -> None:
    status, _, error = run("add", "m:1,0,1", "--reason", "x")

    assert status == 1
    assert "no server runs on" in error
    assert run()[0] == 1


def test_a_state_that_cannot_be_looked_for_is_told(config: Path, run: Run) -> None:
    nowhere = config.parent / "nowhere"

    status, out, error = run("list", "--state-dir", str(nowhere))

    assert (status, out) == (1, "")
    assert error == f"spalloc-state: {nowhere} cannot be searched (No such file or directory)\n"


def test_a_simulated_server_and_another_folder_are_reached(
    config: Path, simulation: Simulation, tmp_path: Path, run: Run
) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    where = ["--simulated", "--state-dir", str(folder)]

    with SpallocServer(config, port=0, state_dir=folder, label="simulated"):
        assert run("add", "m:1,0,1", "--reason", "x", *where)[0] == 0
        assert run("add", "m:1,0,1", "--reason", "x")[0] == 1

    assert "m:1,0,1" in run("list", *where)[1]


def test_a_simulated_server_is_asked_if_no_other_runs(
    config: Path, simulation: Simulation, run: Run
) -> None:
    with SpallocServer(config, port=0, label="simulated"):
        status, out, error = run("add", "m:1,0,1", "--reason", "x")
        listed = run()[1]

    assert (status, out) == (0, "board (1, 0, 1) of machine m taken out of service\n")
    assert error == f"no server runs on {config} but one with --simulate; that one was asked\n"
    assert "m:1,0,1" in listed


def test_the_real_server_is_asked_if_a_simulated_one_runs_too(
    config: Path, server: SpallocServer, run: Run
) -> None:
    with SpallocServer(config, port=0, label="simulated"):
        assert run("add", "m:1,0,1", "--reason", "x")[::2] == (0, "")
        assert "m:1,0,1" in run()[1]
        assert run("--simulated") == (0, "all boards are in service\n", "")


# --- the socket ---


def test_only_the_owner_may_use_the_socket_and_it_goes_with_the_server(
    config: Path, simulation: Simulation
) -> None:
    path = control_path(config.parent, config.name)

    with SpallocServer(config, port=0):
        mode = path.stat().st_mode

    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    assert not path.exists()


def test_a_server_without_room_for_the_socket_serves_all_the_same(
    config: Path, simulation: Simulation, caplog: pytest.LogCaptureFixture
) -> None:
    control_path(config.parent, config.name).write_text("not a socket")

    with SpallocServer(config, port=0) as server:
        assert server.create_job(None, owner="me") == 1

    assert "spalloc-state cannot reach this server" in caplog.text
    assert control_path(config.parent, config.name).read_text() == "not a socket"


@pytest.mark.parametrize(
    "line",
    [
        "",
        "x",
        "[]",
        "null",
        '{"do": 3}',
        '{"do": "add"}',
        '{"do": "add", "boards": [3]}',
        '{"do": "add", "boards": ["m:0,0,1"], "reason": " "}',
    ],
)
def test_nonsense_is_refused(server: SpallocServer, config: Path, line: str) -> None:
    path = control_path(config.parent, config.name)

    answer = json.loads(control_socket.ask(path, line, "a server"))

    assert answer["ok"] is False
    assert answer["text"]


def test_an_operator_who_says_nothing_holds_up_nobody(
    server: SpallocServer, config: Path, run: Run
) -> None:
    with socket.socket(socket.AF_UNIX) as idle:
        idle.connect(str(control_path(config.parent, config.name)))
        idle.sendall(b'{"do": ')

        assert run()[0] == 0


def test_who_waits_for_an_answer_hears_of_the_end(tmp_path: Path) -> None:
    woken = threading.Event()
    control = Control(tmp_path / "control", woken.set)
    answers: list[Any] = []
    asker = threading.Thread(
        target=lambda: answers.append(control_socket.ask(tmp_path / "control", "x", "a server"))
    )
    asker.start()
    assert woken.wait(20)

    control.stop()
    control.stop()
    asker.join()

    assert json.loads(answers[0])["text"] == "the server is stopping"
    assert not (tmp_path / "control").exists()


@pytest.mark.parametrize("error", [errno.EROFS, errno.EIO, errno.EACCES, errno.ENOENT])
def test_a_socket_that_cannot_be_removed_does_not_disturb_the_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    """A traceback would be the thread's own, which pytest makes a failure."""
    path = tmp_path / "socket"
    control = Control(path, lambda: None)

    def unlink(path: Path) -> None:
        raise OSError(error, os.strerror(error), str(path))

    with monkeypatch.context() as broken:
        broken.setattr(Path, "unlink", unlink)
        control.stop()

    assert path.exists()
    Control(path, lambda: None).stop()
    assert not path.exists()


def test_nothing_is_answered_before_it_is_settled(tmp_path: Path) -> None:
    woken = threading.Event()
    control = Control(tmp_path / "control", woken.set)
    with socket.socket(socket.AF_UNIX) as operator:
        operator.connect(str(tmp_path / "control"))
        operator.sendall(b"do it\n")
        assert woken.wait(20)

        assert control.carry_out(lambda line, _: f"{line}: done")
        operator.setblocking(False)
        with pytest.raises(BlockingIOError):
            operator.recv(100)
        control.settle()
        operator.settimeout(20)

        assert operator.recv(100) == b"do it: done\n"
    assert not control.carry_out(lambda line, _: line)
    control.stop()


# --- the control socket ---


def test_a_control_thread_that_fails_says_so_and_hangs_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise RuntimeError("surprise")

    control = Control(tmp_path / "control", fail)
    with socket.socket(socket.AF_UNIX) as operator:
        operator.connect(str(tmp_path / "control"))
        operator.settimeout(20)
        operator.sendall(b"x\n")

        assert operator.recv(100) == b""
    control.stop()

    assert "orders are taken no more" in caplog.text
    assert "surprise" in caplog.text


def test_an_operator_beyond_the_most_takes_the_place_of_one_that_was_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_control, "_MAX_CONNECTIONS", 1)
    turns: queue.Queue[int] = queue.Queue()
    control = Control(tmp_path / "control", lambda: turns.put(len(control._connections)))
    first, second = socket.socket(socket.AF_UNIX), socket.socket(socket.AF_UNIX)
    with first, second:
        for operator in (first, second):
            operator.settimeout(20)
            operator.connect(str(tmp_path / "control"))
            operator.sendall(b"x\n")
        for operator in (first, second):
            assert turns.get(timeout=20) == 1
            control.carry_out(lambda line, _: f"{line}: done")
            control.settle()
            assert operator.recv(100) == b"x: done\n"
            operator.close()
    control.stop()


def test_an_order_after_the_end_is_answered_at_once(tmp_path: Path) -> None:
    control = Control(tmp_path / "control", lambda: None)
    control.stop()

    assert "the server is stopping" in control._ask_loop(0, "x")


def test_a_place_that_cannot_be_looked_at_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ControlFailed, match=r"file/control: Not a directory"):
        Listener(tmp_path / "file" / "control")


def test_a_socket_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "control"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(str(path))

        with pytest.raises(ControlFailed, match=r"cannot make the control socket .*control: "):
            Listener(path)

    assert stat.S_ISSOCK(path.stat().st_mode)


def test_a_connection_with_nothing_to_read_is_looked_at_again() -> None:
    ours, theirs = socket.socketpair()
    connection = Connection(ours, lambda line: f"{line}!")
    with theirs:
        assert connection.go_on()
        theirs.sendall(b"x\n")

        assert connection.go_on()
        assert theirs.recv(100) == b"x!\n"
    connection.close()


def test_a_connection_that_is_reset_is_over() -> None:
    ours, theirs = socket.socketpair()
    connection = Connection(ours, lambda line: f"{line}!")
    ours.send(b"unread")
    theirs.close()

    assert not connection.go_on()
    connection.close()


def test_an_order_at_which_the_server_fails_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        undisturbed = contextlib.nullcontext()

        @property
        def overview(self) -> None:
            raise RuntimeError("surprise")

    answer = json.loads(orders.carry_out(Broken(), Policy(), '{"do": "list"}', "unix:0"))  # type: ignore[arg-type]

    assert answer == {"ok": False, "text": "the server failed: RuntimeError: surprise"}
    assert "an operator's order failed" in caplog.text


# --- rows ---


@pytest.mark.parametrize(
    ("kind", "due", "words"),
    [
        ("silent", None, "when it answers"),
        ("operator", None, "never"),
        ("fpga", 3600.0, "in 60 min"),
        ("fpga", 89.0, "in 89 s"),
        ("fpga", 11.2, "in 12 s"),
        ("fpga", 0.0, "now"),
    ],
)
def test_the_next_test_is_told_in_words(kind: str, due: float | None, words: str) -> None:
    row = OutOfService(
        *("m", (0, 0, 1), (0, 3, 1), "frame", None, kind, "what", 1.7e9), 0, 0, due, None
    )

    assert quarantine_tool._next_test(row) == words


def test_a_case_of_a_board_that_is_in_no_frame_is_not_listed() -> None:
    quarantine = Quarantine()
    for board in ((0, 0, 1), (7, 7, 0)):
        quarantine.hold(board, "x", 1.7e9)

    found = rows(MachineMap(machine()), quarantine, 0.0)

    assert [row.board for row in found] == [(0, 0, 1)]
