"""One thread per frame: order, merging, faults and second tries, on fake hardware."""

import errno
import logging
import pickle
import threading
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server import async_bmp_controller
from spalloc_server._bmp import frame_hardware
from spalloc_server.async_bmp_controller import (
    FPGA_LINK_STOP_REGISTERS,
    AsyncBMPController,
    AtomicRequests,
    BoardFault,
    FailureReason,
    LinkRequest,
)
from spalloc_server.links import Links
from tests.support.fake_bmp import ALWAYS, Asked, FakeTransceiver

PATIENCE = 10.0  # seconds before a test gives up; nothing waits this long


class Rig:
    """A frame's thread with fake hardware."""

    def __init__(self) -> None:
        self.bmp = FakeTransceiver()
        self.controller = AsyncBMPController("frame0")
        self.controller._transceiver = self.bmp
        self.answering: list[bool] = []
        self.controller.on_answering_change = self.answering.append

    def ask(self, *asked: Asked) -> None:
        with self.controller:
            for one in asked:
                self.controller.add_requests(one.requests)

    def finish(self) -> None:
        self.controller.stop()
        self.controller.join(PATIENCE)
        assert not self.controller.is_alive()

    def do(self, *asked: Asked) -> None:
        self.ask(*asked)
        self.finish()


@pytest.fixture
def rig() -> Iterator[Rig]:
    rig = Rig()
    yield rig
    rig.controller.abandon()
    rig.controller.join(PATIENCE)


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Second tries come at once."""
    monkeypatch.setattr(async_bmp_controller, "_SECONDS_BETWEEN_TRIES", 0.0)


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    """Second tries do not come while the test runs."""
    monkeypatch.setattr(async_bmp_controller, "_SECONDS_BETWEEN_TRIES", 1e6)


class Gate:
    """Stops the thread before a command on given boards until it is opened."""

    def __init__(self, bmp: FakeTransceiver, what: str, board: int) -> None:
        self.reached = threading.Event()
        self.open = threading.Event()
        self._where = (what, board)
        bmp.before = self._before

    def _before(self, what: str, boards: list[int]) -> None:
        if what == self._where[0] and self._where[1] in boards:
            self.reached.set()
            assert self.open.wait(PATIENCE)


def link(board: int, link: Links = Links.north, enable: bool = False) -> LinkRequest:
    return LinkRequest(board, link, enable)


# --- what is asked for ---


def test_link_stop_registers_are_those_of_the_spio_project() -> None:
    assert {
        Links.east: (0, 0x5C),
        Links.south: (0, 0x1005C),
        Links.south_west: (1, 0x5C),
        Links.west: (1, 0x1005C),
        Links.north: (2, 0x5C),
        Links.north_east: (2, 0x1005C),
    } == FPGA_LINK_STOP_REGISTERS


def test_requests_are_read_as_they_were_asked() -> None:
    def on_done(success: bool, reason: str | None) -> None:
        """Not called."""

    requests = AtomicRequests(on_done)
    requests.power(3, True)
    requests.power(1, True)
    requests.power(2, False)
    requests.link(3, Links.east, False)

    assert requests.power_on_boards == [3, 1]
    assert requests.power_off_boards == [2]
    assert requests.link_requests == [LinkRequest(3, Links.east, False)]
    assert requests.on_done is on_done
    assert not requests.background
    board, which, enable = requests.link_requests[0]
    assert (board, which, enable) == (3, Links.east, False)


def test_a_reason_is_a_text_that_carries_the_facts() -> None:
    fault = BoardFault(3, "is on fire", "power_on")

    reason = FailureReason("board 3 is on fire", [fault], silent=True)

    assert reason == "board 3 is on fire"
    assert type(str(reason)) is str
    copy = pickle.loads(pickle.dumps(reason))
    assert (copy, copy.faults, copy.silent) == (reason, (fault,), True)


# --- one request ---


def test_power_on_checks_the_fpgas_and_then_sets_the_links(rig: Rig) -> None:
    asked = Asked(on=[5, 3], links=[link(5, Links.east), link(3, Links.west, True)])

    rig.do(asked)

    checks = [("read", board, fpga, 0x40004) for board in (5, 3) for fpga in range(3)]
    assert asked.succeeded
    assert rig.bmp.log == [
        ("on", 5, 3),
        ("version", 5),
        *checks[:3],
        ("version", 3),
        *checks[3:],
        ("write", 5, Links.east, 1),
        ("write", 3, Links.west, 0),
    ]


def test_on_links_off_are_done_in_that_order(rig: Rig) -> None:
    asked = Asked(off=[1], links=[link(2)], on=[3])

    rig.do(asked)

    assert asked.succeeded
    assert [entry[:2] for entry in rig.bmp.log if entry[0] in ("on", "write", "off")] == [
        ("on", 3),
        ("write", 2),
        ("off", 1),
    ]


def test_power_off_asks_for_no_version_and_checks_nothing(rig: Rig) -> None:
    asked = Asked(off=[7, 2])

    rig.do(asked)

    assert asked.succeeded
    assert rig.bmp.log == [("off", 7, 2)]


def test_a_request_for_nothing_succeeds_without_hardware(rig: Rig) -> None:
    asked = Asked()

    rig.do(asked)

    assert asked.succeeded
    assert rig.bmp.log == []


def test_a_board_named_twice_is_switched_once(rig: Rig) -> None:
    rig.do(Asked(on=[1, 2, 1]))

    assert rig.bmp.powers == [("on", 1, 2)]


def test_an_old_bmp_has_no_fpgas_to_check_and_no_links_to_set(rig: Rig) -> None:
    rig.bmp.version[1] = (1, 9, 9)
    asked = Asked(on=[1], links=[link(1)])

    rig.do(asked)

    assert asked.succeeded
    assert rig.bmp.log == [("on", 1), ("version", 1)]


def test_a_version_is_asked_once_per_board(rig: Rig) -> None:
    for _ in range(2):
        asked = Asked(on=[1, 2], links=[link(1), link(3)])
        rig.ask(asked)
        assert asked.done.wait(PATIENCE)

    assert rig.bmp.count("version") == 3


def test_a_failure_makes_a_version_be_asked_again(rig: Rig, at_once: None) -> None:
    rig.bmp.bad_registers[1] = 1
    other = Asked(links=[link(2)])

    rig.do(other, Asked(links=[link(1)]), Asked(links=[link(2)]))

    assert [entry for entry in rig.bmp.log if entry[0] == "version"] == [
        ("version", 2),
        ("version", 1),
        ("version", 1),
    ]


def test_a_silent_frame_makes_all_versions_be_asked_again(rig: Rig, at_once: None) -> None:
    asked = Asked(links=[link(1)])
    rig.ask(asked)
    assert asked.done.wait(PATIENCE)
    rig.bmp.silences = 1
    asked = Asked(off=[2])
    rig.ask(asked)
    assert asked.done.wait(PATIENCE)

    rig.do(Asked(links=[link(1)]))

    assert rig.bmp.count("version") == 2


def test_a_whole_frame_takes_no_more_commands_than_needed(rig: Rig) -> None:
    boards = list(range(24))
    asked = Asked(on=boards, links=[link(board, which) for board in boards for which in Links])

    rig.do(asked)

    assert rig.bmp.powers == [("on", *boards)]
    assert rig.bmp.count("version") == 24
    assert rig.bmp.count("read") == 24 * 3
    assert rig.bmp.count("write") == 24 * 6
    assert len(rig.bmp.log) == 1 + 24 + 72 + 144


# --- merging ---


def test_24_jobs_created_at_once_take_two_power_commands(rig: Rig) -> None:
    gate = Gate(rig.bmp, "on", 0)
    jobs = [Asked(on=[board], links=[link(board)]) for board in range(24)]

    rig.controller.add_requests(jobs[0].requests)
    assert gate.reached.wait(PATIENCE)
    for job in jobs[1:]:
        rig.controller.add_requests(job.requests)
    gate.open.set()
    rig.finish()

    assert all(job.succeeded for job in jobs)
    assert rig.bmp.powers == [("on", 0), ("on", *range(1, 24))]


def test_requests_that_come_one_after_the_other_are_done_together(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_bmp_controller, "_SECONDS_TO_GATHER", 1e6)
    jobs = [Asked(on=[board]) for board in range(3)]

    for job in jobs:
        rig.controller.add_requests(job.requests)
    rig.finish()

    assert all(job.succeeded for job in jobs)
    assert rig.bmp.powers == [("on", 0, 1, 2)]


def test_a_request_waits_no_longer_for_others_however_many_come(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_bmp_controller, "_SECONDS_TO_GATHER", 0.01)
    first = Asked(on=[1])
    rig.controller.add_requests(first.requests)

    for _ in range(int(PATIENCE * 1000)):
        if first.done.wait(0.001):
            break
        rig.controller.add_requests(Asked(on=[2]).requests)

    assert first.succeeded


def test_a_finished_request_is_answered_before_the_batch_goes_on(rig: Rig) -> None:
    gate = Gate(rig.bmp, "write", 2)
    first, second = (Asked(on=[board], links=[link(board)]) for board in (1, 2))

    rig.ask(first, second)
    assert gate.reached.wait(PATIENCE)

    assert first.done.wait(PATIENCE)
    assert not second.done.is_set()
    gate.open.set()
    assert second.done.wait(PATIENCE)


def test_equal_power_commands_collapse_and_all_who_asked_are_answered(rig: Rig) -> None:
    asked = [Asked(on=[1]), Asked(on=[2, 1]), Asked(off=[3]), Asked(off=[3, 4])]

    rig.do(*asked)

    assert all(one.succeeded for one in asked)
    assert rig.bmp.powers == [("on", 1, 2), ("off", 3, 4)]


def test_a_board_is_never_switched_off_before_it_was_switched_on(rig: Rig) -> None:
    answered: list[str] = []
    on = Asked(on=[1], then=lambda: answered.append("on"))
    off = Asked(off=[1], then=lambda: answered.append("off"))

    rig.do(on, off, Asked(on=[1]))

    assert rig.bmp.powers == [("on", 1), ("off", 1), ("on", 1)]
    assert answered == ["on", "off"]


def test_links_of_a_board_that_is_switched_again_first_are_skipped(rig: Rig) -> None:
    asked = [
        Asked(on=[1], links=[link(1, Links.east), link(2, Links.east)]),
        Asked(on=[1], links=[link(1, Links.west)]),
    ]

    rig.do(*asked)

    assert all(one.succeeded for one in asked)
    assert [entry for entry in rig.bmp.log if entry[0] == "write"] == [
        ("write", 2, Links.east, 1),
        ("write", 1, Links.west, 1),
    ]


def test_the_queue_is_held_inside_with_and_with_may_be_nested(rig: Rig) -> None:
    asked = [Asked(on=[board]) for board in range(3)]

    with rig.controller as held:
        assert held is rig.controller
        with rig.controller:
            rig.controller.add_requests(asked[0].requests)
        rig.controller.add_requests(asked[1].requests)
        rig.controller.add_requests(asked[2].requests)
        assert rig.controller.queue_length == 3
        assert rig.bmp.log == []
    rig.finish()

    assert rig.bmp.powers == [("on", 0, 1, 2)]


def test_an_exception_inside_with_lets_the_queue_go(rig: Rig) -> None:
    asked = Asked(on=[1])

    with pytest.raises(RuntimeError), rig.controller:
        rig.controller.add_requests(asked.requests)
        raise RuntimeError

    assert asked.done.wait(PATIENCE)


# --- FPGAs that come up wrong ---


@pytest.mark.parametrize("times", [1, 2])
def test_only_boards_with_wrong_fpgas_are_power_cycled_again(rig: Rig, times: int) -> None:
    rig.bmp.wrong_fpgas[2] = times
    asked = [Asked(on=[1, 2]), Asked(on=[3])]

    rig.do(*asked)

    assert all(one.succeeded for one in asked)
    assert rig.bmp.powers == [("on", 1, 2, 3)] + times * [("on", 2)]


def test_jobs_do_not_wait_for_their_neighbours_power_cycles(rig: Rig) -> None:
    rig.bmp.wrong_fpgas[2] = 2
    order: list[str] = []
    bad = Asked(on=[2, 3], links=[link(2), link(3)], then=lambda: order.append("bad"))
    good = Asked(on=[1], links=[link(1)], then=lambda: order.append("good"))
    shares = Asked(on=[3, 4], links=[link(3), link(4)], then=lambda: order.append("shares"))
    rig.bmp.before = lambda what, boards: order.append(what) if what in ("on", "write") else None

    rig.do(bad, good, shares)

    assert order == [
        "on",
        *["write", "good"],
        *["on", "on"],
        *["write", "bad"],
        *["write", "write", "shares"],
    ]
    assert [entry[1] for entry in rig.bmp.log if entry[0] == "write"] == [1, 2, 3, 4]


def test_three_power_ons_in_all_are_one_try(rig: Rig, at_once: None) -> None:
    rig.bmp.wrong_fpgas[2] = ALWAYS
    bad, good = Asked(on=[1, 2]), Asked(on=[3])

    rig.do(bad, good)

    assert good.succeeded
    assert bad.reason == "Requests failed on BMP frame0: board 2: FPGA 2 says 0"
    assert bad.reason.faults == (BoardFault(2, "FPGA 2 says 0", "fpga"),)
    assert not bad.reason.silent
    once = [("on", 1, 2), ("on", 2), ("on", 2)]
    assert rig.bmp.powers == [("on", 1, 2, 3), *once[1:], *once]


# --- faults ---


def test_a_refused_command_is_repeated_request_by_request(rig: Rig, at_once: None) -> None:
    rig.bmp.refuse_on[2] = ALWAYS
    jobs = [Asked(on=[board], links=[link(board)]) for board in (1, 2, 3)]

    rig.do(*jobs)

    assert [job.answers[0][0] for job in jobs] == [True, False, True]
    assert rig.bmp.powers == [("on", 1, 2, 3), ("on", 1), ("on", 2), ("on", 3), ("on", 2)]
    assert jobs[1].reason == "Requests failed on BMP frame0: board 2: refuses [2]"
    assert jobs[1].reason.faults == (BoardFault(2, "refuses [2]", "power_on"),)


def test_a_request_refused_alone_is_not_repeated_before_its_second_try(
    rig: Rig, at_once: None
) -> None:
    rig.bmp.refuse_off[2] = ALWAYS
    asked = Asked(off=[2, 1])

    rig.do(asked)

    assert rig.bmp.powers == [("off", 2, 1), ("off", 2, 1)]
    assert {fault.board for fault in asked.reason.faults} == {1, 2}
    assert {fault.during for fault in asked.reason.faults} == {"power_off"}


def test_a_refused_command_is_not_repeated_for_what_was_switched_meanwhile(
    rig: Rig, at_once: None
) -> None:
    rig.bmp.refuse_on[3] = ALWAYS
    asked = [Asked(on=[1, 2]), Asked(on=[2]), Asked(on=[3])]

    rig.do(*asked)

    assert [one.answers[0][0] for one in asked] == [True, True, False]
    assert rig.bmp.powers == [("on", 1, 2, 3), ("on", 1, 2), ("on", 3), ("on", 3)]


def test_a_refused_second_power_cycle_is_sorted_out_too(rig: Rig, at_once: None) -> None:
    rig.bmp.wrong_fpgas.update({1: 1, 2: 1})
    refused: list[str] = []

    def refuse_once_wrong(what: str, boards: list[int]) -> None:
        if what == "on" and not refused and rig.bmp.powers:
            refused.append(what)
            rig.bmp.refuse_on[2] = ALWAYS

    rig.bmp.before = refuse_once_wrong
    good, bad = Asked(on=[1]), Asked(on=[2])

    rig.do(good, bad)

    assert good.succeeded
    assert not bad.succeeded
    assert rig.bmp.powers == [("on", 1, 2), ("on", 1, 2), ("on", 1), ("on", 2), ("on", 2)]


def test_a_link_that_cannot_be_set_fails_only_who_asked(rig: Rig, at_once: None) -> None:
    rig.bmp.bad_registers[2] = ALWAYS
    jobs = [Asked(links=[link(board), link(4)]) for board in (1, 2, 3)]

    rig.do(*jobs)

    assert [job.answers[0][0] for job in jobs] == [True, False, True]
    assert jobs[1].reason.faults == (BoardFault(2, "RC_CMD", "link"),)


def test_a_board_that_cannot_be_checked_fails_only_who_asked(rig: Rig, at_once: None) -> None:
    rig.bmp.bad_registers[2] = ALWAYS
    jobs = [Asked(on=[board]) for board in (1, 2, 3)]

    rig.do(*jobs)

    assert [job.answers[0][0] for job in jobs] == [True, False, True]
    assert jobs[1].reason.faults == (BoardFault(2, "RC_CMD", "fpga"),)


def test_all_faulty_boards_of_a_request_are_named(rig: Rig, at_once: None) -> None:
    rig.bmp.bad_registers.update({1: ALWAYS, 3: ALWAYS})
    asked = Asked(on=[1, 2, 3])

    rig.do(asked)

    assert asked.reason == "Requests failed on BMP frame0: boards 1, 3: RC_CMD"


def test_a_mute_board_is_told_from_a_mute_frame(rig: Rig, at_once: None) -> None:
    rig.bmp.mute_boards[2] = ALWAYS
    jobs = [Asked(on=[board]) for board in (1, 2, 3)]

    rig.do(*jobs)

    assert [job.answers[0][0] for job in jobs] == [True, False, True]
    assert jobs[1].reason.faults == (BoardFault(2, "no answer", "fpga"),)
    assert not jobs[1].reason.silent
    assert rig.controller.answering is True
    assert rig.answering == []


def test_a_board_of_an_answering_frame_is_asked_once_more(rig: Rig) -> None:
    rig.bmp.mute_boards[2] = 1
    asked = Asked(on=[2])

    rig.do(asked)

    assert asked.succeeded
    assert [entry[:2] for entry in rig.bmp.log[1:4]] == [
        ("version", 2),
        ("version", 0),
        ("version", 2),
    ]


def test_silence_fails_all_who_share_the_command(rig: Rig, at_once: None) -> None:
    rig.bmp.silences = ALWAYS
    jobs = [Asked(on=[board]) for board in range(24)]

    rig.do(*jobs)

    assert rig.bmp.powers == [("on", *range(24)), ("on", 0)], "one second try tells for all"
    for job in jobs:
        assert job.reason == "Requests failed on BMP frame0: it does not answer"
        assert job.reason.silent
        assert job.reason.faults == ()


def test_silence_is_not_held_against_what_was_not_tried(rig: Rig, never: None) -> None:
    rig.bmp.silences = 1
    on, off = Asked(on=[1]), Asked(off=[2])

    rig.ask(on, off)

    assert off.done.wait(PATIENCE)
    assert off.succeeded
    assert on.answers == []


@pytest.mark.parametrize("silent_command", range(6))
def test_a_frame_may_fall_silent_at_any_command(
    rig: Rig, at_once: None, silent_command: int
) -> None:
    commands = 0

    def fall_silent(what: str, boards: list[int]) -> None:
        nonlocal commands
        if commands == silent_command:
            rig.bmp.silences = 4
        commands += 1

    rig.bmp.before = fall_silent
    asked = Asked(on=[1], links=[link(1)], off=[2])

    rig.do(asked)

    assert len(asked.answers) == 1
    assert rig.answering[0] is False


def test_silence_and_answers_after_it_are_told(rig: Rig, at_once: None) -> None:
    rig.bmp.silences = 2
    failed, succeeded = Asked(off=[1]), Asked(off=[1])
    assert rig.controller.answering is None

    rig.ask(failed)
    assert failed.done.wait(PATIENCE)
    assert rig.controller.answering is False
    rig.ask(succeeded)
    rig.finish()

    assert rig.answering == [False, True]
    assert rig.controller.answering is True


def test_an_error_reply_says_that_the_frame_answers(rig: Rig, at_once: None) -> None:
    rig.bmp.silences = 1
    rig.bmp.refuse_off[1] = ALWAYS

    rig.do(Asked(off=[1]))

    assert rig.answering == [False, True]


@pytest.mark.parametrize("error", [ValueError("what?"), OSError(5, "input"), KeyError(3)])
def test_an_exception_of_any_kind_fails_only_the_request(
    rig: Rig, at_once: None, error: Exception
) -> None:
    def fail(what: str, boards: list[int]) -> None:
        if 2 in boards:
            raise error

    rig.bmp.before = fail
    good, bad = Asked(on=[1]), Asked(on=[2])

    rig.do(good, bad)

    assert good.succeeded
    assert bad.reason.startswith("Requests failed on BMP frame0: board 2: ")
    assert not bad.reason.silent


def test_timeouts_of_another_transceiver_are_silence(rig: Rig, at_once: None) -> None:
    def time_out(what: str, boards: list[int]) -> None:
        raise TimeoutError("timed out")

    rig.bmp.before = time_out
    asked = Asked(on=[1])

    rig.do(asked)

    assert asked.reason.silent


# --- shortages of this computer ---


@pytest.mark.parametrize(
    "error",
    [OSError(errno.EMFILE, "Too many open files"), ImportError("no spinnman"), MemoryError()],
)
def test_a_shortage_is_waited_out_and_blames_nobody(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    monkeypatch.setattr(frame_hardware, "_PAUSES_IN_SHORTAGE", (0.0,))
    failures = iter([error] * 3)

    def fail(what: str, boards: list[int]) -> None:
        for failure in failures:
            raise failure

    rig.bmp.before = fail
    asked = Asked(on=[1], links=[link(1)])

    with caplog.at_level(logging.INFO):
        rig.do(asked)

    assert asked.succeeded
    assert rig.answering == []
    assert rig.controller.statistics.shortages == 1
    assert rig.controller.statistics.retries == 0
    assert [r.levelname for r in caplog.records] == ["ERROR", "INFO"]
    assert "not the frame's fault" in caplog.text


def test_a_shortage_that_lasts_can_be_abandoned(rig: Rig) -> None:
    met = threading.Event()

    def fail(what: str, boards: list[int]) -> None:
        met.set()
        raise OSError(errno.EMFILE, "Too many open files")

    rig.bmp.before = fail
    asked = Asked(on=[1])
    rig.ask(asked)
    assert met.wait(PATIENCE)

    rig.controller.abandon()
    rig.controller.join(PATIENCE)

    assert not rig.controller.is_alive()
    assert rig.controller.shortage == "no file descriptors left (EMFILE)"
    assert rig.controller.unfinished == [asked.requests]


def test_an_error_reply_after_a_shortage_is_an_answer(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, at_once: None
) -> None:
    monkeypatch.setattr(frame_hardware, "_PAUSES_IN_SHORTAGE", (0.0,))
    failures = iter([MemoryError(), ValueError("odd"), MemoryError()])

    def fail(what: str, boards: list[int]) -> None:
        for failure in failures:
            raise failure

    rig.bmp.before = fail
    rig.bmp.refuse_off[1] = ALWAYS

    rig.do(Asked(off=[1]))

    assert rig.controller.shortage is None


# --- second tries ---


def test_a_failed_request_is_tried_once_more(rig: Rig, at_once: None) -> None:
    rig.bmp.refuse_on[1] = 1
    asked = Asked(on=[2, 1])

    rig.do(asked)

    assert asked.succeeded
    assert rig.bmp.powers == [("on", 2, 1), ("on", 2, 1)]
    assert rig.controller.statistics.retries == 1
    assert rig.controller.statistics.failures == 0


def test_other_boards_are_served_while_a_second_try_is_awaited(rig: Rig, never: None) -> None:
    rig.bmp.refuse_on[1] = 2
    failed, off, other = Asked(on=[1]), Asked(off=[1]), Asked(on=[2])

    rig.ask(failed, off, other)
    assert other.done.wait(PATIENCE)
    later = Asked(on=[3])
    rig.ask(later)
    assert later.done.wait(PATIENCE)

    assert failed.answers == []
    assert off.answers == []
    assert not any(entry[0] == "off" for entry in rig.bmp.log)
    assert rig.controller.unfinished == [failed.requests, off.requests]


def test_a_board_is_not_switched_off_before_the_second_try_to_switch_it_on(
    rig: Rig, at_once: None
) -> None:
    rig.bmp.refuse_on[1] = 1
    on, off = Asked(on=[1]), Asked(off=[1])

    rig.do(on, off)

    assert on.succeeded
    assert off.succeeded
    assert rig.bmp.powers == [("on", 1), ("on", 1), ("off", 1)]
    assert rig.bmp.on == {1: False}


def test_who_shared_a_board_with_a_failure_is_done_after_it(rig: Rig, at_once: None) -> None:
    rig.bmp.refuse_on[1] = 2
    order: list[str] = []
    first = Asked(on=[1, 2], then=lambda: order.append("first"))
    second = Asked(on=[2, 3], then=lambda: order.append("second"))

    rig.do(first, second)

    assert order == ["first", "second"]
    assert rig.bmp.powers[-2:] == [("on", 1, 2), ("on", 2, 3)]


def test_nobody_is_told_of_success_while_a_failure_may_still_touch_the_board(
    rig: Rig, at_once: None
) -> None:
    rig.bmp.refuse_off[2] = 1
    order: list[str] = []
    first = Asked(on=[1], off=[2], then=lambda: order.append("first"))
    second = Asked(on=[1], then=lambda: order.append("second"))

    rig.do(first, second)

    assert order == ["first", "second"]
    assert rig.bmp.powers == [("on", 1), ("off", 2), ("on", 1), ("off", 2), ("on", 1)]


def test_the_wait_between_tries_is_read_when_it_is_needed(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.bmp.refuse_on[1] = 1
    gate = Gate(rig.bmp, "on", 1)
    asked = Asked(on=[1])

    rig.ask(asked)
    assert gate.reached.wait(PATIENCE)
    monkeypatch.setattr(async_bmp_controller, "_SECONDS_BETWEEN_TRIES", 0.0)
    gate.open.set()

    assert asked.done.wait(PATIENCE)
    assert asked.succeeded


# --- background requests ---


def test_background_requests_run_alone_when_nothing_else_waits(rig: Rig) -> None:
    tests = [Asked(on=[board], off=[board], background=True) for board in (1, 2)]
    job = Asked(on=[3])

    rig.ask(*tests, job)
    assert all(test.done.wait(PATIENCE) for test in tests)

    assert all(one.succeeded for one in (*tests, job))
    assert rig.bmp.powers == [("on", 3), ("on", 1), ("off", 1), ("on", 2), ("off", 2)]


def test_background_requests_are_not_tried_again(
    rig: Rig, at_once: None, caplog: pytest.LogCaptureFixture
) -> None:
    rig.bmp.refuse_on[1] = 1
    test = Asked(on=[1], off=[1], background=True)

    rig.ask(test)
    assert test.done.wait(PATIENCE)

    assert test.reason.faults == (BoardFault(1, "refuses [1]", "power_on"),)
    assert rig.bmp.count("on") == 1
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]


def test_a_board_that_fails_its_test_is_switched_off_again(rig: Rig) -> None:
    rig.bmp.wrong_fpgas[1] = ALWAYS
    test = Asked(on=[1], off=[1], background=True)

    rig.ask(test)
    assert test.done.wait(PATIENCE)

    assert not test.succeeded
    assert rig.bmp.on == {1: False}


def test_a_test_overtaken_by_a_job_for_its_board_is_dropped(rig: Rig) -> None:
    gate = Gate(rig.bmp, "on", 5)
    test, other_test = (Asked(on=[b], off=[b], background=True) for b in (1, 2))
    job = Asked(on=[1])

    rig.ask(Asked(on=[5]), test, other_test)
    assert gate.reached.wait(PATIENCE)
    rig.ask(job)
    gate.open.set()
    assert other_test.done.wait(PATIENCE)

    assert job.succeeded
    assert not test.succeeded
    assert test.reason.faults == ()
    assert not test.reason.silent
    assert rig.bmp.on == {5: True, 1: True, 2: False}


def test_stop_leaves_background_requests_undone(rig: Rig) -> None:
    gate = Gate(rig.bmp, "on", 5)
    test, job = Asked(on=[1], off=[1], background=True), Asked(on=[5])

    rig.ask(test, job)
    assert gate.reached.wait(PATIENCE)
    rig.controller.stop()
    gate.open.set()
    rig.finish()

    assert job.succeeded
    assert test.answers == []
    assert rig.controller.unfinished == [test.requests]


# --- probes ---


def test_a_silent_idle_frame_is_asked_until_it_answers(
    rig: Rig, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_bmp_controller, "_SECONDS_BETWEEN_PROBES", 0.0)
    answers = threading.Event()

    def note(answering: bool) -> None:
        if answering:
            answers.set()

    rig.controller.on_answering_change = note
    rig.bmp.silences = 5
    failed = Asked(off=[1])

    rig.ask(failed)

    assert answers.wait(PATIENCE)
    assert failed.reason.silent
    rig.finish()
    assert rig.bmp.log == [("off", 1), ("off", 1)] + 4 * [("version", 0)]


def test_a_silent_frame_is_not_probed_while_a_second_try_is_to_come(
    rig: Rig, never: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_bmp_controller, "_SECONDS_BETWEEN_PROBES", 0.0)
    waits_for_try = threading.Event()
    wait = rig.controller._changed.wait

    def noted_wait(timeout: float | None = None) -> bool:
        if timeout is not None and timeout > 1e5:
            waits_for_try.set()
        return wait(timeout)

    monkeypatch.setattr(rig.controller._changed, "wait", noted_wait)
    rig.bmp.silences = 1

    rig.ask(Asked(off=[1]))

    assert waits_for_try.wait(PATIENCE)
    assert rig.bmp.count("version") == 0


def test_an_answering_frame_is_left_alone(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_bmp_controller, "_SECONDS_BETWEEN_PROBES", 0.0)
    waits: list[float | None] = []
    wait = rig.controller._changed.wait

    def noted_wait(timeout: float | None = None) -> bool:
        waits.append(timeout)
        return wait(timeout)

    monkeypatch.setattr(rig.controller._changed, "wait", noted_wait)
    for _ in range(3):
        asked = Asked(on=[1])
        rig.ask(asked)
        assert asked.done.wait(PATIENCE)
    rig.finish()

    assert all(wait is not None and 44 < wait < 76 for wait in waits), "about once a minute"
    assert rig.bmp.count("version") == 1


def test_an_idle_frame_is_asked_whether_it_still_answers(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_bmp_controller, "_SECONDS_BETWEEN_QUESTIONS", 0.0)
    monkeypatch.setattr(async_bmp_controller, "_SECONDS_BETWEEN_PROBES", 1e6)
    silent = threading.Event()
    rig.controller.on_answering_change = lambda answering: None if answering else silent.set()
    asked = Asked(on=[1])
    rig.ask(asked)
    assert asked.done.wait(PATIENCE)

    rig.bmp.silences = 3

    assert silent.wait(PATIENCE)
    assert rig.controller.answering is False


def test_losing_a_few_packets_makes_no_idle_frame_silent(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.controller._frame.answering = True
    rig.bmp.silences = 2

    rig.controller._frame.ask()

    assert rig.controller.answering is True
    assert rig.answering == []
    assert rig.bmp.count("version") == 3


def test_frames_are_not_all_asked_at_once() -> None:
    frames = [AsyncBMPController(f"bmp-{number}") for number in range(20)]
    for frame in frames:
        frame.stop()
        frame.join(PATIENCE)

    spreads = {frame._spread for frame in frames}

    assert len(spreads) == 20
    assert min(spreads) < 0.85
    assert max(spreads) > 1.15


# --- callbacks ---


@pytest.mark.parametrize("kind", [RuntimeError, SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_a_callback_raises_is_logged_and_ends_nothing(
    kind: type[BaseException], rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise kind("not today")

    first, second = Asked(on=[1], then=fail), Asked(on=[2])

    rig.do(first, second)

    assert first.answers == [(True, None)]
    assert second.succeeded
    assert rig.bmp.powers == [("on", 1, 2)]
    assert "not today" in caplog.text


def test_a_broken_answering_callback_ends_nothing(rig: Rig, at_once: None) -> None:
    def fail(answering: bool) -> None:
        raise RuntimeError("not today")

    rig.controller.on_answering_change = fail
    rig.bmp.silences = 1
    asked = Asked(off=[1])

    rig.do(asked)

    assert asked.succeeded


def test_a_callback_may_ask_for_more(rig: Rig) -> None:
    second = Asked(off=[1])
    first = Asked(on=[1], then=lambda: rig.controller.add_requests(second.requests))

    rig.ask(first)

    assert second.done.wait(PATIENCE)
    assert rig.bmp.powers == [("on", 1), ("off", 1)]


def test_a_mistake_of_our_own_is_answered_and_ends_nothing(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("our fault")

    with monkeypatch.context() as patch:
        patch.setattr(async_bmp_controller, "BatchRun", fail)
        failed = Asked(on=[1])
        rig.ask(failed)
        assert failed.done.wait(PATIENCE)
    fine = Asked(on=[1])
    rig.do(fine)

    assert "internal error" in failed.reason
    assert "our fault" in caplog.text
    assert fine.succeeded


def test_all_hardware_is_used_from_the_frames_own_thread(rig: Rig, at_once: None) -> None:
    rig.bmp.refuse_on[2] = ALWAYS

    rig.do(Asked(on=[1]), Asked(on=[2]), Asked(off=[3]))

    assert rig.bmp.users == {rig.controller._thread.ident}


# --- starting and stopping ---


def test_the_thread_is_named_after_its_frame_and_starts_with_the_callback() -> None:
    started: list[str] = []
    ready = threading.Event()

    def on_thread_start() -> None:
        started.append(threading.current_thread().name)
        assert ready.wait(PATIENCE)

    controller = AsyncBMPController("bmp-host", on_thread_start=on_thread_start)
    bmp = FakeTransceiver()
    controller._transceiver = bmp
    asked = Asked(on=[1])
    controller.add_requests(asked.requests)
    assert bmp.log == []
    ready.set()
    controller.stop()
    controller.join(PATIENCE)

    assert asked.succeeded
    assert started == ["bmp-bmp-host"]


def test_a_broken_start_callback_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("not today")

    controller = AsyncBMPController("frame0", fail)
    controller._transceiver = FakeTransceiver()
    asked = Asked(on=[1])
    controller.add_requests(asked.requests)
    controller.stop()
    controller.join(PATIENCE)

    assert asked.succeeded
    assert "not today" in caplog.text


def test_constructing_touches_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was touched")

    monkeypatch.setattr("socket.socket", refuse)
    monkeypatch.setattr("socket.gethostbyname", refuse)

    controller = AsyncBMPController("no.such.host.invalid")
    assert controller._transceiver is not None
    controller.stop()
    controller.join(PATIENCE)

    assert controller.answering is None


def test_stop_lets_the_queue_be_finished_and_may_come_twice(rig: Rig) -> None:
    asked = [Asked(on=[1]), Asked(off=[1]), Asked(on=[1])]
    assert rig.controller._stop is False

    with rig.controller:
        rig.controller.stop()
        for one in asked:
            rig.controller.add_requests(one.requests)
        rig.controller.stop()
        assert rig.controller._stop is True
        assert rig.controller.is_alive()
    rig.controller.join(PATIENCE)

    assert all(one.succeeded for one in asked)
    assert rig.controller.unfinished == []
    rig.controller.stop()
    rig.controller.join(PATIENCE)


def test_stop_waits_for_second_tries(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_bmp_controller, "_SECONDS_BETWEEN_TRIES", 0.01)
    rig.bmp.refuse_on[1] = 1
    asked = Asked(on=[1])

    rig.do(asked)

    assert asked.succeeded


def test_what_comes_after_the_end_is_unfinished(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    rig.finish()
    asked = Asked(on=[1])

    rig.ask(asked)

    assert rig.controller.unfinished == [asked.requests]
    assert "after the end" in caplog.text


def test_abandon_calls_no_callback_and_tells_what_is_unfinished(rig: Rig) -> None:
    gate = Gate(rig.bmp, "write", 2)
    asked = [Asked(on=[board], links=[link(board)]) for board in (1, 2, 3)]

    rig.ask(*asked)
    assert gate.reached.wait(PATIENCE)
    rig.controller.abandon()
    gate.open.set()
    rig.controller.join(PATIENCE)

    assert not rig.controller.is_alive()
    assert asked[0].succeeded
    assert asked[1].answers == asked[2].answers == []
    assert rig.controller.unfinished == [asked[1].requests, asked[2].requests]
    assert rig.bmp.count("write") == 2


def test_abandon_in_a_callback_is_obeyed_at_once(rig: Rig) -> None:
    first, second = Asked(off=[1], then=rig.controller.abandon), Asked(off=[1])

    rig.ask(first, second)
    rig.controller.join(PATIENCE)

    assert first.succeeded
    assert second.answers == []
    assert rig.controller.unfinished == [second.requests]


def test_abandon_ends_probing(rig: Rig, at_once: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(async_bmp_controller, "_SECONDS_BETWEEN_PROBES", 0.0)

    def abandon(what: str, boards: list[int]) -> None:
        if what == "version":
            rig.controller.abandon()

    rig.bmp.before = abandon
    rig.bmp.silences = 2
    rig.ask(Asked(off=[1]))
    rig.controller.join(PATIENCE)

    assert not rig.controller.is_alive()
    assert rig.answering == [False]


def test_nothing_is_sent_after_abandon(rig: Rig) -> None:
    gate = Gate(rig.bmp, "version", 1)
    rig.ask(Asked(links=[link(1)]))
    assert gate.reached.wait(PATIENCE)

    rig.bmp.bad_registers[1] = rig.bmp.mute_boards[1] = ALWAYS
    rig.controller.abandon()
    gate.open.set()
    rig.controller.join(PATIENCE)

    assert not rig.controller.is_alive()
    assert [entry[0] for entry in rig.bmp.log] == ["version"]


def test_a_probe_that_is_answered_with_an_error_is_answered(
    rig: Rig, at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_bmp_controller, "_SECONDS_BETWEEN_PROBES", 0.0)
    back = threading.Event()

    def break_version(what: str, boards: list[int]) -> None:
        if what == "version":
            raise ValueError("not a version")

    rig.bmp.before = break_version
    rig.controller.on_answering_change = lambda answering: back.set() if answering else None
    rig.bmp.silences = 2
    rig.ask(Asked(off=[1]))

    assert back.wait(PATIENCE)


def test_a_frame_that_falls_silent_after_a_board_did_is_silent(rig: Rig, never: None) -> None:
    rig.bmp.mute_boards.update({2: 2, 0: 0})
    versions_of_0 = 0

    def mute_at_second_question(what: str, boards: list[int]) -> None:
        nonlocal versions_of_0
        if boards == [0]:
            versions_of_0 += 1
            if versions_of_0 == 2:
                rig.bmp.mute_boards[0] = 1

    rig.bmp.before = mute_at_second_question
    silent = threading.Event()
    rig.controller.on_answering_change = lambda answering: silent.set()

    rig.ask(Asked(links=[link(2)]))

    assert silent.wait(PATIENCE)
    assert rig.controller.answering is False


def test_abandon_ends_the_wait_for_a_second_try(rig: Rig, never: None) -> None:
    rig.bmp.refuse_on[1] = ALWAYS
    failed, other = Asked(on=[1]), Asked(on=[2])
    rig.ask(failed, other)
    assert other.done.wait(PATIENCE)

    rig.controller.abandon()
    rig.controller.join(PATIENCE)

    assert not rig.controller.is_alive()
    assert rig.controller.unfinished == [failed.requests]


def test_statistics_count_what_was_done(rig: Rig, at_once: None) -> None:
    rig.bmp.refuse_off[9] = ALWAYS

    rig.do(Asked(on=[1], links=[link(1)]), Asked(on=[2], links=[link(2)]), Asked(off=[9]))

    statistics = rig.controller.statistics
    assert statistics.requests == 3
    assert statistics.power_commands == 3
    assert statistics.link_writes == 2
    assert statistics.retries == 1
    assert statistics.failures == 1
    assert rig.controller.queue_length == 0


def test_failures_are_logged_with_the_host(
    rig: Rig, at_once: None, caplog: pytest.LogCaptureFixture
) -> None:
    rig.bmp.refuse_on[4] = ALWAYS

    with caplog.at_level(logging.WARNING):
        rig.do(Asked(on=[4]))

    assert "BMP frame0: board 4: refuses [4]; trying once more" in caplog.text


# --- any mix of requests and faults ---

FAULTS = ("refuse_on", "refuse_off", "wrong_fpgas", "mute_boards", "bad_registers")
BOARDS = range(5)
some_boards = st.lists(st.sampled_from(BOARDS), max_size=3, unique=True)
some_links = st.lists(
    st.builds(LinkRequest, st.sampled_from(BOARDS), st.sampled_from(Links), st.booleans()),
    max_size=3,
)
on_requests = st.builds(lambda on, links: Asked(on=on, links=links), some_boards, some_links)
off_requests = st.builds(lambda off: Asked(off=off), some_boards)
any_requests = st.builds(Asked, some_boards, some_links, some_boards)
one_fault = st.tuples(
    st.sampled_from(FAULTS), st.sampled_from(BOARDS), st.sampled_from([1, 2, 3, ALWAYS])
)
faults_of_boards = st.lists(one_fault, max_size=4)
ways_to_add = st.lists(st.sampled_from(["together", "during"]), min_size=8, max_size=8)


def run_mix(
    mix: list[Asked],
    faults: list[tuple[str, int, int]],
    ways: list[str],
    prepare: Callable[[FakeTransceiver], None] = lambda bmp: None,
) -> FakeTransceiver:
    """Ask for a mix, some of it while the frame is busy with the rest."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(async_bmp_controller, "_SECONDS_BETWEEN_TRIES", 0.0)
        patch.setattr(async_bmp_controller, "_SECONDS_BETWEEN_PROBES", 1e6)
        rig = Rig()
        for what, board, times in faults:
            getattr(rig.bmp, what)[board] = times
        prepare(rig.bmp)
        at_first = [one for one, way in zip(mix, ways, strict=False) if way == "together"]
        during = [one for one in mix if one not in at_first]
        mix[:] = at_first + during

        def add_one_more(what: str, boards: list[int]) -> None:
            if during:
                rig.controller.add_requests(during.pop(0).requests)

        rig.bmp.before = add_one_more
        rig.ask(*at_first)
        rig.finish()
        rig.ask(*during)  # not asked for in time: no hardware was used
        mix[:] = [one for one in mix if one not in during]
        assert rig.controller.unfinished == [one.requests for one in during]
    return rig.bmp


def compressed(commands: list[str]) -> list[str]:
    """Equal neighbours collapsed into one."""
    return [
        command
        for index, command in enumerate(commands)
        if index == 0 or commands[index - 1] != command
    ]


def is_subsequence(short: list[str], long: list[str]) -> bool:
    rest = iter(long)
    return all(item in rest for item in short)


def switched(bmp: FakeTransceiver, board: int) -> list[str]:
    """The commands that a board was given."""
    return compressed([str(what) for what, *boards in bmp.powers if board in boards])


def asked_of(mix: list[Asked], board: int, tries: int = 1) -> list[str]:
    """The commands that a board was to be given."""
    return compressed(
        [
            what
            for one in mix
            for _ in range(tries)
            for what, boards in (
                ("on", one.requests.power_on_boards),
                ("off", one.requests.power_off_boards),
            )
            if board in boards
        ]
    )


@given(st.lists(on_requests | off_requests, max_size=8), faults_of_boards, ways_to_add)
def test_each_board_is_switched_exactly_in_the_order_asked(
    mix: list[Asked], faults: list[tuple[str, int, int]], ways: list[str]
) -> None:
    bmp = run_mix(mix, faults, ways)

    for board in BOARDS:
        assert switched(bmp, board) == asked_of(mix, board)


@given(st.lists(any_requests, max_size=8), faults_of_boards, ways_to_add, st.integers(0, 3))
def test_every_request_is_answered_once_and_none_overtakes(
    mix: list[Asked], faults: list[tuple[str, int, int]], ways: list[str], silences: int
) -> None:
    def fall_silent(bmp: FakeTransceiver) -> None:
        bmp.silences = silences

    bmp = run_mix(mix, faults, ways, fall_silent)

    assert all(len(one.answers) == 1 for one in mix)
    for board in BOARDS:
        assert is_subsequence(switched(bmp, board), asked_of(mix, board, tries=2))


@given(st.lists(any_requests, max_size=8), faults_of_boards, ways_to_add)
def test_a_faulty_board_fails_only_requests_that_name_it(
    mix: list[Asked], faults: list[tuple[str, int, int]], ways: list[str]
) -> None:
    run_mix(mix, faults, ways)

    faulty = {board for _, board, _ in faults} - {0}
    for one in mix:
        # A mute board 0 is a mute frame.
        if any(what == "mute_boards" and board == 0 for what, board, _ in faults):
            continue
        if not one.requests.boards & (faulty | {0}):
            assert one.succeeded


@given(st.lists(on_requests | off_requests, max_size=8), faults_of_boards, ways_to_add)
def test_success_means_that_it_was_done(
    mix: list[Asked], faults: list[tuple[str, int, int]], ways: list[str]
) -> None:
    wrong: list[str] = []

    def look(bmp: FakeTransceiver) -> None:
        for one in mix:
            one._then = lambda one=one: look_at(bmp, one)

    def look_at(bmp: FakeTransceiver, one: Asked) -> None:
        if not one.answers[-1][0]:
            return
        requests = one.requests
        if not all(bmp.on[b] and b in bmp.checked for b in requests.power_on_boards):
            wrong.append(f"not on: {requests.power_on_boards} {bmp.log}")
        if any(bmp.on[b] for b in requests.power_off_boards):
            wrong.append(f"not off: {requests.power_off_boards} {bmp.log}")

    run_mix(mix, faults, ways, look)

    assert not wrong
