import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from spalloc_client import (
    ProtocolClient,
    ProtocolError,
    ProtocolTimeoutError,
    ServerLostError,
    SpallocServerException,
)

from tests.fake_server import GARBAGE, HANG, VANISH, FakeServer


def connect(server: FakeServer, timeout: float | None = 10.0) -> ProtocolClient:
    client = ProtocolClient("127.0.0.1", server.port, timeout)
    client.connect()
    return client


def test_each_command_is_a_method_that_sends_itself(server: FakeServer) -> None:
    job = server.add_job()
    place = {"machine": "demo"}
    server.behave["where_is"] = lambda **_: place
    server.behave["get_board_position"] = lambda *_: [0, 1, 2]
    server.behave["get_board_at_position"] = lambda *_: [2, 1, 0]

    with ProtocolClient("localhost", server.port) as client:
        assert client.version() == "1.0.0"
        assert client.create_job(1, owner="me", keepalive=None) == 2
        client.job_keepalive(job)
        assert client.get_job_state(job)["state"] == 3
        assert client.get_job_machine_info(job)["boards"] == [[0, 0, 0]]
        client.power_on_job_boards(job)
        client.power_off_job_boards(job)
        client.notify_job()
        client.no_notify_job(job)
        client.notify_machine("demo")
        client.no_notify_machine()
        assert [row["job_id"] for row in client.list_jobs()] == [1, 2]
        assert client.list_machines() == server.machines
        assert client.get_board_position("demo", 0, 0, 0) == [0, 1, 2]
        assert client.get_board_at_position("demo", 0, 1, 2) == [2, 1, 0]
        assert client.where_is(machine="demo", x=0, y=0, z=0) == place
        client.destroy_job(job, "enough")

    assert server.heard == [
        ("version", [], {}),
        ("create_job", [1], {"owner": "me", "keepalive": None}),
        ("job_keepalive", [job], {}),
        ("get_job_state", [job], {}),
        ("get_job_machine_info", [job], {}),
        ("power_on_job_boards", [job], {}),
        ("power_off_job_boards", [job], {}),
        ("notify_job", [None], {}),
        ("no_notify_job", [job], {}),
        ("notify_machine", ["demo"], {}),
        ("no_notify_machine", [None], {}),
        ("list_jobs", [], {}),
        ("list_machines", [], {}),
        ("get_board_position", ["demo", 0, 0, 0], {}),
        ("get_board_at_position", ["demo", 0, 1, 2], {}),
        ("where_is", [], {"machine": "demo", "x": 0, "y": 0, "z": 0}),
        ("destroy_job", [job, "enough"], {}),
    ]


def test_an_exception_of_the_server_is_raised_and_the_connection_stays(server: FakeServer) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("owner must be specified for all jobs")

    server.behave["create_job"] = refuse
    with connect(server) as client:
        with pytest.raises(SpallocServerException, match="owner must be specified"):
            client.create_job()

        assert client.version() == "1.0.0"


def test_notifications_between_command_and_reply_are_kept(server: FakeServer) -> None:
    def answer() -> str:
        server.tell({"jobs_changed": [1]})
        server.tell({"machines_changed": ["demo"]})
        return "1.0.0"

    server.behave["version"] = answer
    with connect(server) as client:
        assert client.wait_for_notification(-1) is None

        assert client.version() == "1.0.0"

        assert client.wait_for_notification() == {"jobs_changed": [1]}
        assert client.wait_for_notification(-1) == {"machines_changed": ["demo"]}
        assert client.wait_for_notification(-1) is None
        with pytest.raises(ProtocolTimeoutError):
            client.wait_for_notification(0)
        with pytest.raises(ProtocolTimeoutError):
            client.wait_for_notification(0.01)


def test_an_answer_that_comes_too_late_is_not_taken_for_the_next(server: FakeServer) -> None:
    go = threading.Event()

    def late(*_: object) -> dict[str, int]:
        go.wait()
        return {"state": 3}

    server.behave["get_job_state"] = late
    with connect(server) as client:
        with pytest.raises(ProtocolTimeoutError, match="did not answer get_job_state"):
            client.get_job_state(1, timeout=0.01)
        go.set()

        assert client.version() == "1.0.0"


def test_the_timeout_of_the_constructor_counts_unless_told_otherwise(
    server: FakeServer, in_vain: set[str]
) -> None:
    in_vain.add("version")
    server.behave["version"] = lambda: HANG
    with connect(server, timeout=0.01) as client, pytest.raises(ProtocolTimeoutError):
        client.version()


@pytest.mark.parametrize("misdeed", [VANISH, GARBAGE])
def test_a_connection_that_breaks_in_the_middle_is_a_protocol_error(
    server: FakeServer, misdeed: object
) -> None:
    server.behave["version"] = lambda: misdeed
    with connect(server) as client:
        with pytest.raises(ProtocolError):
            client.version()

        with pytest.raises(ProtocolError):
            client.list_jobs()
        with pytest.raises(ProtocolError):
            client.wait_for_notification()

        del server.behave["version"]
        client.connect()
        assert client.version() == "1.0.0"


def test_an_answer_without_a_question_is_a_protocol_error(server: FakeServer) -> None:
    with connect(server) as client:
        assert client.version() == "1.0.0"

        server.tell({"return": 1})

        with pytest.raises(ProtocolError, match="nobody asked"):
            client.wait_for_notification()


def test_nobody_there_is_a_lost_server() -> None:
    gone = FakeServer()
    gone.close()
    client = ProtocolClient("127.0.0.1", gone.port)

    with pytest.raises(ServerLostError, match="Connection refused"):
        client.connect()
    with pytest.raises(ServerLostError, match="not connected"):
        client.version()
    with pytest.raises(ServerLostError, match="not connected"):
        client.wait_for_notification()
    with pytest.raises(OSError, match="not connected"):  # what callers of sockets expect
        client.version()


def test_bad_arguments_do_no_harm_to_the_connection(server: FakeServer) -> None:
    with connect(server) as client:
        with pytest.raises(TypeError):
            client.call("create_job", object())

        assert client.version() == "1.0.0"


def test_many_threads_share_a_connection(server: FakeServer) -> None:
    server.behave["get_job_state"] = lambda job_id: {"id": job_id}
    with connect(server) as client, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(client.get_job_state, range(400)))

    assert answers == [{"id": job_id} for job_id in range(400)]
    assert server.connections == 1


def test_closing_wakes_those_who_wait(server: FakeServer) -> None:
    server.behave["version"] = lambda: HANG
    client = connect(server, timeout=None)
    with ThreadPoolExecutor(2) as pool:
        call = pool.submit(client.version)
        notification = pool.submit(client.wait_for_notification)
        server.wait_heard("version")

        client.close()
        client.close()

        assert isinstance(call.exception(), ServerLostError)
        assert isinstance(notification.exception(), ServerLostError)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_leaves_the_connection_to_its_parent(server: FakeServer) -> None:
    with connect(server) as client:
        child = os.fork()
        if child == 0:  # pragma: no cover (coverage does not follow it)
            try:
                client.version()
            except ServerLostError:
                client.connect()
                os._exit(0 if client.version() == "1.0.0" else 1)
            os._exit(2)

        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert client.version() == "1.0.0"
    assert server.connections == 2
