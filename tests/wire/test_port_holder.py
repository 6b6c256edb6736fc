import os
import socket
from pathlib import Path

from spalloc_server._wire.port_holder import holder_of


def test_the_process_that_listens_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        holder = holder_of(listening.getsockname()[1])

    assert holder is not None
    assert holder.startswith(f"process {os.getpid()} (")


def test_a_port_that_nobody_listens_on_has_no_holder() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))

        assert holder_of(bound.getsockname()[1]) is None


def test_without_a_process_file_system_nobody_is_named(tmp_path: Path) -> None:
    assert holder_of(22244, proc=tmp_path) is None


def test_a_process_that_cannot_be_seen_is_not_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        (tmp_path / "net").mkdir()
        for table in ("tcp", "tcp6"):
            (tmp_path / "net" / table).write_text(Path("/proc/net", table).read_text())
        (tmp_path / "1").mkdir()  # another user's: it has no fd to look into

        assert holder_of(port, proc=tmp_path) is None
