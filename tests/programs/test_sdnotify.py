import os
from pathlib import Path

import pytest

from spalloc_server._programs.sdnotify import ServiceManager
from tests.support.notify_socket import NotifySocket


def test_nothing_happens_where_nobody_listens() -> None:
    manager = ServiceManager({})

    assert not manager.listens
    assert manager.watchdog is None
    assert not manager.tell(READY=1)


def test_assignments_arrive_in_one_datagram(tmp_path: Path) -> None:
    with NotifySocket(tmp_path / "notify") as systemd:
        manager = ServiceManager(systemd.environ)

        assert manager.listens
        assert manager.tell(READY=1, STATUS="ready")
        assert systemd.received() == ["READY=1", "STATUS=ready"]


def test_abstract_sockets_are_understood() -> None:
    with NotifySocket(f"@spalloc-test-{os.getpid()}") as systemd:
        assert ServiceManager(systemd.environ).tell(WATCHDOG=1)
        assert systemd.received() == ["WATCHDOG=1"]


def test_a_status_stays_on_one_line(tmp_path: Path) -> None:
    with NotifySocket(tmp_path / "notify") as systemd:
        ServiceManager(systemd.environ).tell(STATUS="disk:\nREADY=1")

        assert systemd.received() == ["STATUS=disk: READY=1"]


def test_a_manager_that_has_gone_is_logged_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    manager = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "nobody")})

    assert not manager.tell(READY=1)
    assert "was not told READY" in caplog.text


def test_other_kinds_of_addresses_are_not_used(caplog: pytest.LogCaptureFixture) -> None:
    assert not ServiceManager({"NOTIFY_SOCKET": "vsock:2:1234"}).listens
    assert "vsock:2:1234" in caplog.text


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.5),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_the_one_of_this_process(
    environ: dict[str, str], seconds: float | None
) -> None:
    assert ServiceManager(environ).watchdog == seconds
