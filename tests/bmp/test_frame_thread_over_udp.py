"""Frame threads and simulated frames, talking over real UDP, with every fault."""

import threading
from collections.abc import Iterator, Sequence

import pytest

from spalloc_server import async_bmp_controller
from spalloc_server._bmp import name_lookup, wiring
from spalloc_server._bmp import transceiver as _transceiver
from spalloc_server._bmp.transceiver import FPGAWait
from spalloc_server._simulator import Simulation
from spalloc_server.async_bmp_controller import AsyncBMPController, BoardFault, LinkRequest
from spalloc_server.links import Links
from tests.support.fake_bmp import Asked

PATIENCE = 30.0  # seconds before a test gives up; nothing waits this long
HOST = "bmp.example"


@pytest.fixture
def simulation(monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulation]:
    monkeypatch.setattr(async_bmp_controller, "_SECONDS_BETWEEN_TRIES", 0.0)
    monkeypatch.setattr(name_lookup, "LONGEST_NAP", 0.05)
    monkeypatch.setattr(_transceiver, "LONGEST_NAP", 0.05)
    monkeypatch.setattr(_transceiver, "_PASSING_RESULT_PAUSE", 0.001)
    with Simulation(seed=1) as simulation:
        monkeypatch.setattr(wiring, "fpga_wait", 0.0)
        monkeypatch.setattr(wiring, "resolve", simulation.resolve)
        yield simulation


@pytest.fixture
def calm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send nothing again, however busy the machine is."""
    set_waits(monkeypatch, PATIENCE, PATIENCE, PATIENCE, PATIENCE)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send again soon, but give up late: nothing here is ever silent for good."""
    set_waits(monkeypatch, 0.03, 0.1, 0.3, PATIENCE)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Find silence out soon."""
    set_waits(monkeypatch, 0.05, 0.05, 0.1, 0.3)


def set_waits(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
    for waits in ("_REGISTER_WAITS", "_POWER_ON_WAITS", "_POWER_OFF_WAITS"):
        monkeypatch.setattr(_transceiver, waits, seconds)


@pytest.fixture
def controller(simulation: Simulation) -> Iterator[AsyncBMPController]:
    controller = AsyncBMPController(HOST)
    yield controller
    controller.abandon()
    controller.join(PATIENCE)
    assert not controller.is_alive()


def ask(controller: AsyncBMPController, *asked: Asked) -> None:
    with controller:
        for one in asked:
            controller.add_requests(one.requests)


def do(controller: AsyncBMPController, *asked: Asked) -> None:
    ask(controller, *asked)
    for one in asked:
        assert one.done.wait(PATIENCE)


def stop_all(board: int) -> list[LinkRequest]:
    return [LinkRequest(board, link, False) for link in Links]


def boards_on(simulation: Simulation) -> set[int]:
    frame = simulation.frame(HOST)
    with simulation.still():
        return {board.number for board in frame.boards if board.on}


def stopped_links(simulation: Simulation, board: int) -> set[str]:
    frame = simulation.frame(HOST)
    with simulation.still():
        return set(frame.boards[board].stopped_links)


def test_a_whole_frame_takes_one_power_command_and_a_packet_per_register(
    simulation: Simulation, controller: AsyncBMPController, calm: None
) -> None:
    asked = Asked(
        on=list(range(24)), links=[link for board in range(24) for link in stop_all(board)]
    )

    do(controller, asked)

    assert asked.succeeded
    assert boards_on(simulation) == set(range(24))
    assert all(stopped_links(simulation, board) == {*Links.__members__} for board in range(24))
    assert simulation.frame(HOST).seen.packets == {
        "power": 1,
        "version": 24,
        "read": 24 * 3,
        "write": 24 * 6,
    }


def test_each_link_is_stopped_and_let_run_at_its_own_register(
    simulation: Simulation, controller: AsyncBMPController, calm: None
) -> None:
    do(controller, Asked(on=[5]))

    for link in Links:
        do(controller, Asked(links=[LinkRequest(5, link, False)]))
        assert stopped_links(simulation, 5) == {link.name}
        do(controller, Asked(links=[LinkRequest(5, link, True)]))
        assert stopped_links(simulation, 5) == set()


def test_power_off_takes_one_packet(
    simulation: Simulation, controller: AsyncBMPController, calm: None
) -> None:
    simulation.set_power(HOST, 3, True)
    simulation.set_power(HOST, 4, True)

    do(controller, Asked(off=[3]))

    assert boards_on(simulation) == {4}
    assert simulation.frame(HOST).seen.packets == {"power": 1}


@pytest.mark.parametrize("which", ["", "requests", "replies"])
def test_every_job_is_ready_though_packets_are_lost(
    simulation: Simulation, controller: AsyncBMPController, patient: None, which: str
) -> None:
    simulation.inject(f"{HOST} lose 10% {which}")
    jobs = [Asked(on=[board], links=stop_all(board)[:3]) for board in range(24)]

    do(controller, *jobs)

    assert all(job.succeeded for job in jobs)
    assert boards_on(simulation) == set(range(24))
    assert all(len(stopped_links(simulation, board)) == 3 for board in range(24))
    do(controller, Asked(off=list(range(24))))
    assert boards_on(simulation) == set()


def test_a_silent_frame_fails_what_is_asked_and_answers_again_later(
    simulation: Simulation,
    controller: AsyncBMPController,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(async_bmp_controller, "_SECONDS_BETWEEN_PROBES", 0.01)
    changes: list[bool] = []
    back = threading.Event()

    def note(answering: bool) -> None:
        changes.append(answering)
        if answering:
            back.set()

    controller.on_answering_change = note
    simulation.inject(f"{HOST} silent")
    failed = [Asked(on=[board]) for board in range(24)]

    do(controller, *failed)
    assert all(one.reason.silent for one in failed)
    simulation.inject(f"{HOST} clear")
    assert back.wait(PATIENCE)

    assert changes == [False, True]
    do(controller, works := Asked(on=[1], links=stop_all(1)))
    assert works.succeeded


def test_a_frame_that_answers_in_time_for_the_second_try_fails_nothing(
    simulation: Simulation, controller: AsyncBMPController, impatient: None
) -> None:
    controller.on_answering_change = lambda answering: simulation.inject(f"{HOST} clear")
    simulation.inject(f"{HOST} silent")
    asked = Asked(on=[1], links=stop_all(1))

    do(controller, asked)

    assert asked.succeeded
    assert controller.statistics.retries == 1


def test_a_mute_board_fails_only_who_needs_it(
    simulation: Simulation, controller: AsyncBMPController, impatient: None
) -> None:
    do(controller, Asked(on=[1, 2, 3]))
    simulation.inject(f"{HOST} board 2 mute")
    jobs = [Asked(links=stop_all(board)) for board in (1, 2, 3)]
    controller._frame.forget(frozenset([2]))

    do(controller, *jobs)

    assert [job.answers[0][0] for job in jobs] == [True, False, True]
    assert jobs[1].reason.faults == (BoardFault(2, "no answer", "link"),)
    assert controller.answering is True


def test_boards_that_refuse_power_fail_only_who_asked_for_them(
    simulation: Simulation, controller: AsyncBMPController, calm: None
) -> None:
    simulation.inject(f"{HOST} board 2 refuse-power on")
    simulation.inject(f"{HOST} board 5 refuse-power on 1 times")
    jobs = [Asked(on=[board], links=stop_all(board)) for board in (1, 2, 3, 5)]

    do(controller, *jobs)

    assert [job.answers[0][0] for job in jobs] == [True, False, True, True]
    ((board, what, during),) = jobs[1].reason.faults
    assert (board, during) == (2, "power_on")
    assert "RC_DEAD" in what
    assert boards_on(simulation) == {1, 3, 5}


def test_boards_that_refuse_to_go_off_are_named(
    simulation: Simulation, controller: AsyncBMPController, calm: None
) -> None:
    do(controller, Asked(on=[1, 2]))
    simulation.inject(f"{HOST} board 2 refuse-power off")
    fine, refused = Asked(off=[1]), Asked(off=[2])

    do(controller, fine, refused)

    assert fine.succeeded
    assert [(f.board, f.during) for f in refused.reason.faults] == [(2, "power_off")]
    assert boards_on(simulation) == {2}


@pytest.mark.parametrize(("times", "ready"), [(1, True), (2, True), (5, True), (6, False)])
def test_fpgas_that_come_up_wrong_are_power_cycled(
    simulation: Simulation,
    controller: AsyncBMPController,
    calm: None,
    times: int,
    ready: bool,
) -> None:
    simulation.inject(f"{HOST} board 2 fpga-wrong 1 {times} times")
    other, wrong = Asked(on=[1]), Asked(on=[2])

    do(controller, other, wrong)

    assert other.succeeded
    assert wrong.answers[0][0] is ready
    frame = simulation.frame(HOST)
    assert frame.boards[1].times_on == 1
    assert frame.boards[2].times_on == min(times + 1, 6)
    if not ready:
        assert wrong.reason.faults == (BoardFault(2, "FPGA 1 says 2", "fpga"),)


@pytest.mark.parametrize(
    ("fault", "during"),
    [("board 2 error ARG read", "fpga"), ("board 2 error 0x83 write", "link")],
)
def test_error_answers_fail_only_who_asked(
    simulation: Simulation, controller: AsyncBMPController, calm: None, fault: str, during: str
) -> None:
    simulation.inject(f"{HOST} {fault}")
    jobs = [Asked(on=[board], links=stop_all(board)) for board in (1, 2, 3)]

    do(controller, *jobs)

    assert [job.answers[0][0] for job in jobs] == [True, False, True]
    assert [(f.board, f.during) for f in jobs[1].reason.faults] == [(2, during)]


@pytest.mark.parametrize("code", ["ARG", "TIMEOUT", "BUF"])
@pytest.mark.parametrize("command", ["version", "read", "write", "power"])
def test_passing_errors_cost_no_job(
    simulation: Simulation, controller: AsyncBMPController, calm: None, code: str, command: str
) -> None:
    simulation.inject(f"{HOST} error {code} {command} once")
    asked = Asked(on=[1], links=stop_all(1))

    do(controller, asked)

    assert asked.succeeded
    assert controller.statistics.retries == (0 if code == "TIMEOUT" else 1)


def test_a_slow_frame_is_waited_for(
    simulation: Simulation, controller: AsyncBMPController, patient: None
) -> None:
    simulation.inject(f"{HOST} slow 0.06")
    jobs = [Asked(on=[board], links=stop_all(board)[:1]) for board in (1, 2)]

    do(controller, *jobs)

    assert all(job.succeeded for job in jobs)
    assert boards_on(simulation) == {1, 2}
    assert stopped_links(simulation, 1) == {"east"}


def test_an_old_frame_has_no_registers(
    simulation: Simulation, controller: AsyncBMPController, calm: None
) -> None:
    simulation.inject(f"{HOST} old")
    asked = Asked(on=[1], links=stop_all(1))

    do(controller, asked)

    assert asked.succeeded
    assert simulation.frame(HOST).seen.packets == {"power": 1, "version": 1}


def test_a_frame_that_is_not_there_is_silent(
    simulation: Simulation,
    controller: AsyncBMPController,
    impatient: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    simulation.resolve(HOST)
    simulation.stop()
    asked = Asked(on=[1])

    do(controller, asked)

    assert asked.reason.silent


@pytest.mark.parametrize("fault", ["silent", "slow 3600"])
def test_abandon_ends_the_wait_for_an_answer(
    simulation: Simulation,
    controller: AsyncBMPController,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
) -> None:
    set_waits(monkeypatch, 1000.0, 1000.0, 1000.0, 1000.0)
    simulation.inject(f"{HOST} {fault}")
    sent = note_sending(monkeypatch)
    asked = Asked(on=[1])

    ask(controller, asked)
    assert sent.wait(PATIENCE)
    controller.abandon()
    controller.join(PATIENCE)

    assert not controller.is_alive()
    assert asked.answers == []
    assert controller.unfinished == [asked.requests]


@pytest.mark.parametrize("overlap", [True, False])
def test_abandon_ends_the_wait_for_the_fpgas(
    simulation: Simulation,
    controller: AsyncBMPController,
    monkeypatch: pytest.MonkeyPatch,
    overlap: bool,
) -> None:
    monkeypatch.setattr(wiring, "fpga_wait", 1000.0)
    waits = threading.Event()
    begin_power_on = _transceiver.Transceiver.begin_power_on

    def note(transceiver: _transceiver.Transceiver, *, boards: Sequence[int]) -> FPGAWait:
        wait = begin_power_on(transceiver, boards=boards)
        waits.set()
        return wait

    monkeypatch.setattr(_transceiver.Transceiver, "begin_power_on", note)
    monkeypatch.setattr(wiring, "overlap_power_on", overlap)
    asked = Asked(on=[1])

    ask(controller, asked)
    assert waits.wait(PATIENCE)
    controller.abandon()
    controller.join(PATIENCE)

    assert not controller.is_alive()
    assert asked.answers == []


def note_sending(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once a packet was sent."""
    sent = threading.Event()
    receive = _transceiver.Transceiver._receive

    def note(*args: object) -> bytes | None:
        sent.set()
        return receive(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(_transceiver.Transceiver, "_receive", note)
    return sent


def test_two_threads_may_talk_to_one_frame(
    simulation: Simulation, controller: AsyncBMPController, patient: None
) -> None:
    simulation.inject(f"{HOST} lose 10%")
    jobs = [Asked(on=[board], links=stop_all(board)) for board in range(8)]
    other = AsyncBMPController(HOST)

    ask(controller, *jobs[::2])
    ask(other, *jobs[1::2])
    other.stop()
    other.join(PATIENCE)
    assert all(job.done.wait(PATIENCE) for job in jobs)

    assert all(job.succeeded for job in jobs)
    assert boards_on(simulation) == set(range(8))
