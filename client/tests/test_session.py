import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from spalloc_client import ProtocolTimeoutError, ServerLostError, ServerVersionError
from spalloc_client._endpoint import Endpoint
from spalloc_client._session import Changes, Session, check_version

from tests.fake_server import HANG, VANISH, FakeServer


@pytest.mark.parametrize(
    "version",
    ["0.1.0", "1.0.0", "5.0.1", "7.999.1", "1!7.0.0", "1!7.4.1.dev0", "2.0.0a1", "3.0+g12", "4"],
)
def test_versions_that_speak_the_protocol_are_accepted(version: str) -> None:
    check_version(version)


@pytest.mark.parametrize(
    "version", ["0.0.9", "8.0.0", "8.0.0a1", "2!9.1", "", "x", "1!", None, 7, "9" * 5000]
)
def test_other_versions_are_refused(version: object) -> None:
    with pytest.raises(ServerVersionError, match="version"):
        check_version(version)


def open_session(server: FakeServer, timeout: float | None = 10.0, delay: float = 0.01) -> Session:
    return Session(Endpoint("127.0.0.1", server.port), timeout, delay)


def test_a_server_of_another_version_is_refused_and_left(server: FakeServer) -> None:
    server.version = "8.0.0"
    session = open_session(server)

    with pytest.raises(ServerVersionError, match=r"8\.0\.0"):
        session.call("list_jobs")

    server.wait_clients(0)
    assert not server.calls("list_jobs")


def test_a_call_is_repeated_on_a_new_connection_when_the_old_one_breaks(
    server: FakeServer,
) -> None:
    session = open_session(server)
    answers = iter([VANISH, VANISH, [1]])
    server.behave["list_jobs"] = lambda: next(answers)

    assert session.call("list_jobs") == [1]

    session.close()
    assert server.connections == 3


def test_a_server_that_was_never_met_is_not_waited_for() -> None:
    gone = FakeServer()
    gone.close()
    session = Session(Endpoint("127.0.0.1", gone.port), 1e6, 1e6)

    with pytest.raises(ServerLostError):
        session.call("list_jobs")


def test_a_server_that_was_met_gets_time_to_come_back(server: FakeServer) -> None:
    session = open_session(server, timeout=60.0)
    session.call("list_jobs")
    server.stop()

    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(session.call, "list_jobs")
        server.start()

        assert call.result() == []

    session.close()


def test_a_server_that_stays_away_is_lost(server: FakeServer, in_vain: set[str]) -> None:
    session = open_session(server, timeout=0.05)
    session.call("list_jobs")
    server.stop()

    with pytest.raises(ServerLostError):
        session.call("list_jobs")

    session.close()


def test_a_silent_server_is_a_timeout_and_not_asked_twice(server: FakeServer) -> None:
    session = open_session(server, timeout=0.05)
    session.connect(10.0)
    server.behave["list_jobs"] = lambda: HANG

    with pytest.raises(ProtocolTimeoutError):
        session.call("list_jobs")

    session.close()
    assert len(server.calls("list_jobs")) == 1


def test_subscriptions_are_made_again_on_each_connection(server: FakeServer) -> None:
    session = open_session(server)
    session.subscribe("notify_job", 1)
    session.subscribe("notify_job", 1)
    session.connect()
    session.subscribe("notify_machine")
    session.connect()
    changes = Changes()
    with session.listen(changes):
        server.drop_clients()
        assert changes.wait(30)

    session.connect()

    assert server.calls("notify_job") == [([1], {})] * 2
    assert server.calls("notify_machine") == [([], {})] * 2
    session.close()


def test_several_changes_are_told_as_one() -> None:
    changes = Changes()
    for _ in range(3):
        changes.tell()

    assert changes.wait(0)
    assert not changes.wait(0)


def test_a_listener_hears_of_notifications(server: FakeServer) -> None:
    session = open_session(server)
    session.connect()
    changes = Changes()
    heard = threading.Event()
    with session.listen(changes):
        server.tell({"jobs_changed": [1]})
        if changes.wait(None):
            heard.set()

    assert heard.is_set()
    session.close()


def test_without_a_connection_nobody_needs_a_nudge(server: FakeServer) -> None:
    session = open_session(server)

    session.nudge()

    assert server.connections == 0
