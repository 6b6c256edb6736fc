import logging
import os
import signal
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NoReturn

import pytest
from spalloc_client import (
    Job,
    JobDestroyedError,
    JobState,
    ProtocolError,
    ProtocolTimeoutError,
    ServerLostError,
    ServerVersionError,
    SpallocServerException,
    StateChangeTimeoutError,
)

from tests.fake_server import GARBAGE, HANG, VANISH, FakeServer


def make(server: FakeServer, *what: int, **kwargs: Any) -> Job:
    given = {"owner": "me", "keepalive": None, "reconnect_delay": 0.01, "timeout": 10.0, **kwargs}
    return Job(*what, hostname="127.0.0.1", port=server.port, **given)


@pytest.fixture
def queueing(server: FakeServer) -> FakeServer:
    server.instant = False
    return server


def run_aside(pool: ThreadPoolExecutor, job: Job, old: JobState) -> "Future[JobState]":
    return pool.submit(job.wait_for_state_change, old)


ON_BOARDS = {"state": 3, "power": True, "allocated_machine_name": "demo", "boards": [[0, 0, 0]]}


# --- making one ---


def test_a_job_asks_for_what_it_was_told(server: FakeServer) -> None:
    job = make(
        server,
        4,
        5,
        owner="ann",
        keepalive=None,
        machine="demo",
        min_ratio=0.5,
        max_dead_boards=None,
        max_dead_links=3,
        require_torus=True,
    )
    job.close()

    assert server.calls("create_job") == [
        (
            [4, 5],
            {
                "owner": "ann",
                "keepalive": None,
                "machine": "demo",
                "tags": None,
                "min_ratio": 0.5,
                "max_dead_boards": None,
                "max_dead_links": 3,
                "require_torus": True,
            },
        )
    ]


def test_what_is_not_given_comes_from_files(server: FakeServer, tmp_path: Path) -> None:
    config = tmp_path / "file"
    config.write_text(
        f"[spalloc]\nhostname=127.0.0.1\nport={server.port}\nowner=file\ntags=a, b\n"
        "keepalive=None\nmax_dead_boards=7\n"
    )

    Job(config_filenames=str(config), owner="argument").close()

    (_, asked) = server.calls("create_job")[0]
    assert asked["owner"] == "argument"
    assert asked["tags"] == ["a", "b"]
    assert asked["keepalive"] is None
    assert asked["max_dead_boards"] == 7
    assert asked["min_ratio"] == 0.333


def test_a_machine_given_overrules_tags_of_files_and_the_other_way(
    server: FakeServer, tmp_path: Path
) -> None:
    config = tmp_path / "file"
    config.write_text("[spalloc]\ntags = a\n")
    make(server, config_filenames=[str(config)], machine="demo").close()
    config.write_text("[spalloc]\nmachine = demo\n")
    make(server, config_filenames=[str(config)], tags=["a"]).close()

    (_, first), (_, second) = server.calls("create_job")
    assert (first["machine"], first["tags"]) == ("demo", None)
    assert (second["machine"], second["tags"]) == (None, ["a"])


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ((0,), "the number of boards must be a whole number from 1, not 0"),
        ((1, -1), "width and height in triads must be whole numbers from 1, not -1"),
        ((0, 0, -1), "the coordinates of a board must be whole numbers from 0, not -1"),
        ((1, 2, 3, 4), "at most three numbers choose boards, not 4"),
        ((2.0,), "boards are chosen by whole numbers, not 2.0"),
        ((True,), "boards are chosen by whole numbers, not True"),
        (("3",), "boards are chosen by whole numbers, not '3'"),
        ((None, 3), "boards are chosen by whole numbers, not None"),
    ],
)
def test_wrong_numbers_are_value_errors(
    server: FakeServer, what: tuple[Any, ...], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        make(server, *what)

    assert server.connections == 0


def refuse(server: FakeServer) -> None:
    def create(*args: int, **kwargs: Any) -> int:
        job_id = server.do_create_job(*args, **kwargs)
        server.destroy(job_id, "Cancelled: No suitable machines available.")
        return job_id

    server.behave["create_job"] = create


def test_a_refused_job_tells_which_limit_excluded_which_machine(server: FakeServer) -> None:
    refuse(server)

    with pytest.raises(JobDestroyedError) as caught, make(server, 400, max_dead_boards=0):
        pass

    assert caught.value.reason == "Cancelled: No suitable machines available."
    assert str(caught.value) == (
        "Cancelled: No suitable machines available. "
        "demo is too small for 400 boards: it is of 4 x 3 triads, 36 boards; "
        "little tags: lacks default"
    )


def test_a_refused_job_tells_limits_by_the_names_of_arguments(server: FakeServer) -> None:
    refuse(server)

    with pytest.raises(
        JobDestroyedError, match=r"demo max_dead_boards 0: at least 2 of 36 boards"
    ), make(server, 4, 3, tags=["fast"], max_dead_boards=0):
        pass

    with pytest.raises(
        JobDestroyedError, match=r"\. no machine is called x; there are: demo, little$"
    ), make(server, machine="x"):
        pass


def test_a_refusal_is_told_without_explanation_if_need_be(server: FakeServer) -> None:
    refuse(server)
    server.behave["list_machines"] = lambda: 7

    with pytest.raises(JobDestroyedError) as caught, make(server, 400):
        pass

    assert str(caught.value) == "Cancelled: No suitable machines available."


def test_numbers_that_are_not_given_may_be_none(server: FakeServer) -> None:
    what: tuple[Any, ...] = (3, None, None)

    make(server, *what).destroy()

    assert server.calls("create_job")[0][0] == [3]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"owner": None}, "owner"),
        ({"machine": "demo", "tags": ["a"]}, "machine and tags"),
        ({"tags": "fast"}, "tags"),
        ({"keepalive": 0}, "keepalive"),
        ({"keepalive": -1.0}, "keepalive"),
        ({"keepalive": "long"}, "keepalive must be a number of seconds above 0, .* not 'long'"),
        ({"timeout": 0}, "timeout must be a number of seconds above 0, or None, not 0"),
        ({"timeout": True}, "timeout must be a number of seconds above 0, or None, not True"),
        ({"tls": "yes"}, "tls must be True or False, not 'yes'"),
        ({"config_filenames": 5}, "config_filenames must be a text or a sequence .* not 5"),
        ({"timeout": "5"}, "timeout must be .* not '5'"),
        ({"reconnect_delay": -1}, "reconnect_delay must be .* 0 or more, not -1"),
        ({"reconnect_delay": None}, "reconnect_delay must be .* not None"),
        ({"min_ratio": float("nan")}, "min_ratio must be a number from 0 to 1, or None, not nan"),
    ],
)
def test_wrong_arguments_are_value_errors(
    server: FakeServer, wrong: dict[str, Any], words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        make(server, **wrong)

    assert server.connections == 0


@pytest.mark.parametrize("port", [0, 65536, "22244", True, None])
def test_a_port_is_a_port(port: Any) -> None:
    with pytest.raises(ValueError, match=f"port must be .* from 1 to 65535, not {port!r}"):
        Job(hostname="127.0.0.1", port=port, owner="me")


def test_a_hostname_is_a_text() -> None:
    with pytest.raises(ValueError, match="hostname must be a text, not 5"):
        Job(hostname=5, owner="me")  # type: ignore[arg-type]


def test_tags_may_be_a_set(server: FakeServer) -> None:
    make(server, tags={"a"}).close()

    (_, asked) = server.calls("create_job")[0]
    assert asked["tags"] == ["a"]


def test_a_hostname_is_needed() -> None:
    with pytest.raises(ValueError, match="hostname"):
        Job(owner="me")


def test_nobody_there_is_said() -> None:
    gone = FakeServer()
    gone.close()
    with pytest.raises(ServerLostError, match="refused"):
        make(gone)


def test_a_server_of_the_wrong_version_is_said(server: FakeServer) -> None:
    server.version = "9.0.0"
    with pytest.raises(ServerVersionError, match=r"9\.0\.0"):
        make(server)

    assert not server.calls("create_job")


def test_an_epoch_in_the_version_does_not_matter(server: FakeServer) -> None:
    server.version = "1!7.0.0"
    make(server).close()


@pytest.mark.parametrize("misdeed", [VANISH, GARBAGE, "one", None])
def test_a_creation_that_breaks_is_a_protocol_error_and_not_repeated(
    server: FakeServer, misdeed: object
) -> None:
    server.behave["create_job"] = lambda *_, **__: misdeed
    with pytest.raises(ProtocolError):
        make(server)

    assert len(server.calls("create_job")) == 1
    server.wait_clients(0)


@pytest.mark.parametrize(
    ("keepalive", "end"), [(60.0, "ends by itself within 60 s"), (None, "stays until destroyed")]
)
def test_a_creation_that_hangs_is_a_timeout_that_tells_of_a_job_to_come(
    server: FakeServer, in_vain: set[str], keepalive: float | None, end: str
) -> None:
    in_vain.add("create_job")
    server.behave["create_job"] = lambda *_, **__: HANG

    with pytest.raises(ProtocolTimeoutError, match=f"create_job within 0.1 s; .* that {end}"):
        make(server, timeout=0.1, keepalive=keepalive)

    server.wait_clients(0)


def test_the_servers_refusal_is_raised(server: FakeServer) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("min_ratio: no")

    server.behave["create_job"] = refuse
    with pytest.raises(SpallocServerException, match="min_ratio: no"):
        make(server)


def test_an_interrupt_while_the_server_makes_the_job_leaves_no_job(server: FakeServer) -> None:
    """The server answers only when the signal has struck."""
    struck = threading.Event()

    def strike(*args: int, **kwargs: Any) -> int:
        os.kill(os.getpid(), signal.SIGUSR1)
        struck.wait(30)
        return server.do_create_job(*args, **kwargs)

    def on_signal(*_: object) -> None:
        struck.set()
        raise KeyboardInterrupt

    server.behave["create_job"] = strike
    before = signal.signal(signal.SIGUSR1, on_signal)
    try:
        with pytest.raises(KeyboardInterrupt):
            make(server)
    finally:
        signal.signal(signal.SIGUSR1, before)

    server.wait_heard("destroy_job")
    assert server.jobs == {}
    server.wait_clients(0)


def test_a_keepalive_that_cannot_be_started_leaves_no_job(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def shortage(*_: object) -> NoReturn:
        raise OSError("Too many open files")

    monkeypatch.setattr("spalloc_client.job.Keepalive", shortage)

    with pytest.raises(OSError, match="Too many open files"):
        make(server, keepalive=60.0)

    assert server.jobs == {}


# --- taking one over ---


def test_a_job_can_be_taken_over_without_an_owner(server: FakeServer) -> None:
    job_id = server.add_job(keepalive=None)

    with make(server, resume_job_id=job_id, owner=None) as job:
        assert job.id == job_id
        assert job.keepalive is None

    assert server.calls("create_job") == []
    assert server.reasons == {job_id: None}


def test_a_job_that_is_gone_cannot_be_taken_over(server: FakeServer) -> None:
    job_id = server.add_job()
    server.destroy(job_id, "fire")

    with pytest.raises(JobDestroyedError, match="fire"):
        make(server, resume_job_id=job_id)
    with pytest.raises(JobDestroyedError, match="does not know job 99"):
        make(server, resume_job_id=99)


# --- facts ---


def test_a_job_tells_what_the_server_knows(server: FakeServer) -> None:
    with make(server) as job:
        assert (job.id, job.state, job.power, job.reason) == (1, JobState.ready, True, None)
        assert job.hostname == "board-0"
        assert job.connections == {(0, 0): "board-0"}
        assert (job.width, job.height) == (8, 8)
        assert job.machine_name == "demo"
        assert job.boards == [(0, 0, 0)]
        assert job.keepalive is None
        assert job.alive
        assert "Job 1" in repr(job)

    assert not job.alive
    assert job.state is JobState.destroyed  # asked over a connection of its own
    server.wait_clients(0)


def test_without_boards_nothing_is_known_of_them(queueing: FakeServer) -> None:
    job = make(queueing)

    assert job.state is JobState.queued
    assert job.power is None
    assert [job.hostname, job.machine_name] == [None, None]
    assert [job.connections, job.boards] == [None, None]
    assert [job.width, job.height] == [None, None]

    job.destroy("why not")
    assert job.reason == "why not"


def test_where_is_machine_tells_cabinet_frame_and_board(server: FakeServer) -> None:
    answer = {
        "machine": "demo",
        "logical": [0, 0, 0],
        "physical": [2, 4, 7],
        "chip": [0, 0],
        "board_chip": [0, 0],
        "job_id": 1,
        "job_chip": [0, 0],
    }
    server.behave["where_is"] = lambda job_id, chip_x, chip_y: answer if chip_x < 8 else None
    with make(server) as job:
        assert job.where_is_machine(0, 0) == (2, 4, 7)
        with pytest.raises(ValueError, match=r"no chip \(9, 0\)"):
            job.where_is_machine(9, 0)


def test_an_answer_that_makes_no_sense_is_a_protocol_error(server: FakeServer) -> None:
    with make(server) as job:
        nonsense: list[Any] = [{}, [], 7, None, {"state": 99}, {"state": "x", "power": 1}]
        for answer in nonsense:
            server.behave["get_job_state"] = lambda _, answer=answer: answer
            with pytest.raises(ProtocolError, match="makes no sense"):
                _ = job.state
        del server.behave["get_job_state"]


# --- power ---


def test_power_commands_are_sent(server: FakeServer) -> None:
    with make(server) as job:
        job.set_power(False)
        assert job.power is False
        job.set_power(True)
        job.reset()

    assert len(server.calls("power_off_job_boards")) == 1
    assert len(server.calls("power_on_job_boards")) == 2


# --- waiting ---


def test_a_change_of_state_is_waited_for_by_notification(queueing: FakeServer) -> None:
    job = make(queueing)
    with ThreadPoolExecutor(1) as pool:
        waiting = run_aside(pool, job, JobState.queued)
        queueing.wait_heard("get_job_state")
        queueing.tell({"jobs_changed": [job.id]})  # nothing new
        queueing.wait_heard("get_job_state", 2)

        queueing.change(job.id, **ON_BOARDS)

        assert waiting.result() is JobState.ready
    assert len(queueing.calls("get_job_state")) == 3
    job.destroy()


def test_several_threads_wait_for_one_job(queueing: FakeServer) -> None:
    job = make(queueing)
    with ThreadPoolExecutor(4) as pool:
        waiting = [run_aside(pool, job, JobState.queued) for _ in range(4)]
        queueing.wait_heard("get_job_state", 4)

        queueing.change(job.id, **ON_BOARDS)

        assert {future.result() for future in waiting} == {JobState.ready}
    job.destroy()


def test_a_state_may_be_told_by_its_number(queueing: FakeServer) -> None:
    job = make(queueing)

    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(job.wait_for_state_change, 1)  # type: ignore[arg-type]
        queueing.wait_heard("get_job_state")
        queueing.change(job.id, **ON_BOARDS)

        assert waiting.result() is JobState.ready
    job.destroy()


def test_when_time_is_over_the_old_state_is_returned(queueing: FakeServer) -> None:
    job = make(queueing)

    assert job.wait_for_state_change(JobState.queued, 0) is JobState.queued
    assert job.wait_for_state_change(JobState.queued, 0.01) is JobState.queued
    assert job.wait_for_state_change(JobState.power, 0) is JobState.queued
    with pytest.raises(StateChangeTimeoutError, match="still queued"):
        job.wait_until_ready(0.01)
    job.destroy()


def test_waiting_for_ready_passes_through_the_other_states(queueing: FakeServer) -> None:
    with ThreadPoolExecutor(1) as pool:
        job = make(queueing)
        waiting = pool.submit(job.wait_until_ready)
        queueing.wait_heard("get_job_state")

        queueing.change(job.id, **{**ON_BOARDS, "state": 2})
        queueing.wait_heard("get_job_state", 2)
        queueing.change(job.id, state=3)

        assert waiting.result() is None
        job.destroy()


def test_waiting_for_a_job_that_is_destroyed_says_why(queueing: FakeServer) -> None:
    with ThreadPoolExecutor(1) as pool:
        job = make(queueing)
        waiting = pool.submit(job.wait_until_ready)
        queueing.wait_heard("get_job_state")

        queueing.destroy(job.id, "Cancelled: fire")

        with pytest.raises(JobDestroyedError, match="Cancelled: fire"):
            waiting.result()
        job.close()


def test_closing_wakes_threads_that_wait(queueing: FakeServer) -> None:
    job = make(queueing, keepalive=60.0)
    with ThreadPoolExecutor(3) as pool:
        waiting = [run_aside(pool, job, JobState.queued) for _ in range(2)]
        ready = pool.submit(job.wait_until_ready)
        queueing.wait_heard("get_job_state", 3)

        job.close()

        assert [future.result() for future in waiting] == [JobState.queued] * 2
        with pytest.raises(StateChangeTimeoutError, match="job 1 was closed before it was ready"):
            ready.result()
    queueing.wait_clients(0)
    assert list(queueing.jobs) == [job.id]


def test_closing_wakes_threads_that_wait_for_a_lost_server(queueing: FakeServer) -> None:
    job = make(queueing, reconnect_delay=3600.0)
    with ThreadPoolExecutor(1) as pool:
        waiting = run_aside(pool, job, JobState.queued)
        queueing.wait_heard("get_job_state")
        queueing.stop()

        job.close()

        assert waiting.result() is JobState.queued


def test_destroying_wakes_threads_that_wait(queueing: FakeServer) -> None:
    job = make(queueing)
    with ThreadPoolExecutor(2) as pool:
        waiting = run_aside(pool, job, JobState.queued)
        ready = pool.submit(job.wait_until_ready)  # looks twice before it waits
        queueing.wait_heard("get_job_state", 3)
        queueing.behave["destroy_job"] = lambda *_: queueing.jobs.clear()  # without a notification

        job.destroy("enough")

        assert waiting.result() is JobState.destroyed
        with pytest.raises(JobDestroyedError, match="enough"):
            ready.result()
    queueing.wait_clients(0)


def test_a_closed_job_is_waited_for_no_longer(queueing: FakeServer) -> None:
    job = make(queueing)
    job.close()

    assert job.wait_for_state_change(JobState.queued) is JobState.queued
    assert job.wait_for_state_change(JobState.ready) is JobState.queued
    queueing.wait_clients(0)


def test_waiting_outlives_a_restart_of_the_server(queueing: FakeServer) -> None:
    with ThreadPoolExecutor(1) as pool:
        job = make(queueing)
        waiting = run_aside(pool, job, JobState.queued)
        queueing.wait_heard("get_job_state")

        queueing.stop()
        queueing.jobs[job.id].update(ON_BOARDS)
        queueing.start()

        assert waiting.result() is JobState.ready
        job.destroy()
    assert queueing.jobs == {}


def test_waiting_outlives_a_server_that_hangs(
    queueing: FakeServer, in_vain: set[str]
) -> None:
    job = make(queueing, timeout=0.05)
    queueing.behave["get_job_state"] = lambda _: HANG
    in_vain.add("get_job_state")
    with ThreadPoolExecutor(1) as pool:
        waiting = run_aside(pool, job, JobState.queued)
        queueing.wait_heard("get_job_state", 3)

        queueing.jobs[job.id].update(ON_BOARDS)
        del queueing.behave["get_job_state"]
        in_vain.clear()

        assert waiting.result() is JobState.ready
    job.close()


def test_waiting_for_a_server_that_stays_away_ends_in_time(queueing: FakeServer) -> None:
    job = make(queueing)
    queueing.stop()

    assert job.wait_for_state_change(JobState.queued, 0.05) is JobState.queued
    with pytest.raises(StateChangeTimeoutError, match="silent"):
        job.wait_until_ready(0.05)
    job.close()


def test_a_server_replaced_by_one_of_another_version_is_said(queueing: FakeServer) -> None:
    job = make(queueing)
    queueing.version = "9.0.0"
    queueing.drop_clients()

    with pytest.raises(ServerVersionError):
        job.wait_until_ready()
    job.close()


# --- the end ---


def test_leaving_the_context_destroys_the_job(server: FakeServer) -> None:
    with pytest.raises(ZeroDivisionError), make(server) as job:
        _ = 1 / 0

    assert server.reasons == {job.id: None}
    server.wait_clients(0)


def test_a_job_that_never_gets_ready_is_destroyed(queueing: FakeServer) -> None:
    job = make(queueing)
    queueing.destroy(job.id, "fire")

    with pytest.raises(JobDestroyedError, match="fire"), job:
        raise AssertionError("not reached")

    queueing.wait_clients(0)


def test_a_closed_job_goes_on(server: FakeServer) -> None:
    with make(server) as job:
        job.close()

    assert server.reasons == {}
    assert list(server.jobs) == [job.id]


def test_a_server_that_is_gone_at_the_end_is_only_a_warning(
    server: FakeServer, caplog: pytest.LogCaptureFixture, in_vain: set[str]
) -> None:
    with caplog.at_level(logging.WARNING), make(server, timeout=0.05) as job:
        server.stop()

    assert f"job {job.id} could not be destroyed" in caplog.text
    assert "having no keepalive" in caplog.text


def test_destroying_tells_when_the_server_cannot_be_told(
    server: FakeServer, in_vain: set[str]
) -> None:
    job = make(server, timeout=0.05)
    server.stop()

    with pytest.raises(ServerLostError):
        job.destroy()
    assert not job.alive


def test_destroying_waits_for_a_server_that_restarts(server: FakeServer) -> None:
    job = make(server, timeout=60.0)
    server.stop()
    with ThreadPoolExecutor(1) as pool:
        destroying = pool.submit(job.destroy)
        server.start()

        destroying.result()

    assert server.jobs == {}


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_leaving_the_context_in_a_forked_child_does_nothing(server: FakeServer) -> None:
    with make(server) as job:
        child = os.fork()
        if child == 0:  # pragma: no cover (coverage does not follow it)
            try:
                good = job.state is JobState.ready  # over a connection of the child's own
                job.__exit__(None, None, None)
                os._exit(0 if good else 1)
            finally:
                os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

        assert job.state is JobState.ready
        assert server.reasons == {}
    assert server.reasons == {job.id: None}
