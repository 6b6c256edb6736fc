"""TLS, Unix sockets, and servers that hang up on us."""

import os
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from spalloc_client import (
    ConfigError,
    Job,
    JobDestroyedError,
    ProtocolClient,
    ServerLostError,
    SpallocServerException,
)
from spalloc_client._endpoint import Endpoint, receive, send
from spalloc_client._session import Session

from tests.commands import runner
from tests.fake_server import FakeServer


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Certificates: of an authority, of the server, of a client, and of another authority."""
    folder = tmp_path_factory.mktemp("tls")
    ours, other = trustme.CA(), trustme.CA()
    server, client = ours.issue_cert("127.0.0.1", "localhost"), ours.issue_cert("me@example.org")
    client.cert_chain_pems[0].write_to_path(folder / "client.crt")
    ours.cert_pem.write_to_path(folder / "ca.crt")
    other.cert_pem.write_to_path(folder / "other.crt")
    client.private_key_pem.write_to_path(folder / "client.key")
    client.private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
    server.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return {path.stem + path.suffix.replace(".", "_"): str(path) for path in folder.iterdir()}


def server_context(files: dict[str, str], ask: bool = False) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=files["ca_crt"])
    context.load_cert_chain(files["server_pem"])
    if ask:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


@pytest.fixture
def secure(files: dict[str, str]) -> Iterator[FakeServer]:
    server = FakeServer(context=server_context(files))
    yield server
    server.close()


@pytest.fixture
def asking(files: dict[str, str]) -> Iterator[FakeServer]:
    """A server that asks for a certificate of ours."""
    server = FakeServer(context=server_context(files, ask=True))
    yield server
    server.close()


@pytest.fixture
def local(tmp_path: Path) -> Iterator[FakeServer]:
    """A server at a Unix socket."""
    server = FakeServer(path=str(tmp_path / "socket"))
    yield server
    server.close()


def make(server: FakeServer, hostname: str = "127.0.0.1", **kwargs: Any) -> Job:
    given = {"owner": "me", "keepalive": 0.1, "reconnect_delay": 0.01, "timeout": 10.0, **kwargs}
    return Job(hostname=hostname, port=server.port or 22244, **{"config_filenames": [], **given})


# --- TLS ---


def test_a_job_lives_behind_tls(secure: FakeServer, files: dict[str, str]) -> None:
    with make(secure, tls=True, ca=files["ca_crt"]) as job:
        assert job._guard is not None
        assert job._guard.pid is not None
        secure.wait_heard("job_keepalive", 3)
        secure.drop_clients()
        secure.wait_heard("job_keepalive", len(secure.calls("job_keepalive")) + 3)

        assert job.hostname == "board-0"

    assert secure.reasons == {1: None}


def test_long_answers_come_whole_through_tls(secure: FakeServer, files: dict[str, str]) -> None:
    long = [{"name": "x" * 50_000}] * 20
    secure.behave["list_machines"] = lambda: long

    with ProtocolClient(
        "127.0.0.1", secure.port, 10.0, tls=True, ca=files["ca_crt"]
    ) as client:
        for _ in range(3):
            assert client.list_machines() == long


def test_long_commands_go_whole_through_tls(secure: FakeServer, files: dict[str, str]) -> None:
    reason = "y" * 3_000_000

    with ProtocolClient(
        "127.0.0.1", secure.port, 30.0, tls=True, ca=files["ca_crt"]
    ) as client:
        client.destroy_job(7, reason)
        assert client.version() == "1.0.0"

    assert secure.calls("destroy_job") == [([7, reason], {})]


@pytest.mark.parametrize(
    "how", [("client_crt", "client_key"), ("client_pem", None)]
)
def test_a_certificate_of_ours_opens_the_door(
    asking: FakeServer, files: dict[str, str], how: tuple[str, str | None]
) -> None:
    cert, key = files[how[0]], None if how[1] is None else files[how[1]]

    with make(asking, tls=True, ca=files["ca_crt"], cert=cert, key=key) as job:
        asking.wait_heard("job_keepalive", 2)
        assert job.id == 1


def test_without_one_the_door_stays_shut(asking: FakeServer, files: dict[str, str]) -> None:
    with pytest.raises(ServerLostError, match=r"TLS failed|closed the connection|reset by peer"):
        make(asking, tls=True, ca=files["ca_crt"])


def test_a_server_that_is_not_trusted_is_said(secure: FakeServer, files: dict[str, str]) -> None:
    with pytest.raises(ServerLostError, match="its certificate is not trusted: "):
        make(secure, tls=True, ca=files["other_crt"])
    with pytest.raises(ServerLostError, match="its certificate is not trusted: "):
        make(secure, tls=True)
    assert secure.jobs == {}


def test_a_server_of_another_name_is_not_trusted(
    secure: FakeServer, files: dict[str, str]
) -> None:
    endpoint = Endpoint("127.0.0.2", secure.port, tls=True, ca=files["ca_crt"])
    endpoint.hostname = "127.0.0.1"  # reached, but called otherwise
    endpoint._context = _Renaming(endpoint._context)  # type: ignore[assignment]

    with pytest.raises(ssl.SSLCertVerificationError, match=r"127\.0\.0\.2"):
        endpoint.connect()


class _Renaming:
    def __init__(self, context: Any) -> None:
        self._context = context

    def wrap_socket(self, plain: socket.socket, server_hostname: str) -> Any:
        return self._context.wrap_socket(plain, server_hostname="127.0.0.2")


def test_a_server_without_tls_is_said(server: FakeServer, files: dict[str, str]) -> None:
    def talk() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(100)
            connection.sendall(b"what?\n")
            connection.recv(100)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=talk)
        thread.start()
        endpoint = Endpoint(
            "127.0.0.1", listener.getsockname()[1], tls=True, ca=files["ca_crt"]
        )
        with pytest.raises(ServerLostError, match="it does not speak TLS"):
            make_client(endpoint)
        thread.join()


def test_a_server_that_never_begins_tls_is_given_up(
    files: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spalloc_client._endpoint._PATIENCE_WITH_TLS", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        client = ProtocolClient("127.0.0.1", port, 10.0, tls=True, ca=files["ca_crt"])

        with pytest.raises(ServerLostError, match=r"cannot reach .*timed out"):
            client.connect()


def make_client(endpoint: Endpoint) -> None:
    client = ProtocolClient("127.0.0.1", endpoint.port, 10.0)
    client._endpoint = endpoint
    client.connect()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ca": "/no/such"}, "ca: /no/such cannot be used: No such file"),
        ({"ca": os.devnull}, f"ca: {os.devnull} cannot be used: TLS failed: no certificate"),
        ({"cert": "/no/such"}, "cert: /no/such cannot be used: No such file"),
        ({"cert": "client_crt"}, "cannot be used: it holds no certificate with its key; "),
        ({"cert": "client_crt", "key": "ca_crt"}, "cannot be used: one of them is not in PEM"),
        ({"cert": "client_pem", "key": "/no/such"}, "with key /no/such cannot be used"),
        ({"key": "client_key"}, "key needs cert"),
    ],
)
def test_files_that_cannot_be_used_are_named(
    server: FakeServer, files: dict[str, str], settings: dict[str, str], words: str
) -> None:
    given = {name: files.get(value, value) for name, value in settings.items()}

    with pytest.raises(ConfigError, match=words):
        make(server, tls=True, **given)
    # Without TLS they are of no interest.
    make(server, keepalive=None, **given).destroy()


def test_commands_speak_tls(
    secure: FakeServer, files: dict[str, str], capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = runner("127.0.0.1", secure.port, capsys)
    job_id = secure.add_job()
    options = f"--tls --ca {files['ca_crt']}"

    assert run(f"spalloc-ps {options}")[0] == 0
    assert run(f"spalloc-job {job_id} --power-on {options}")[0] == 0
    assert run(f"spalloc {options} --owner me -c true")[0] == 0
    assert run(f"spalloc-ps --ca {files['ca_crt']}")[::2] == (
        2, "spalloc-ps: --ca is of no use without --tls\n"
    )  # fmt: skip
    assert "not trusted" in run("spalloc-ps --tls")[2]
    assert "ca: /no/such cannot be used" in run("spalloc-ps --tls --ca /no/such")[2]
    monkeypatch.setenv("SPALLOC_TLS", "yes")
    monkeypatch.setenv("SPALLOC_CA", files["ca_crt"])
    assert run("spalloc-ps")[0] == 0


# --- Unix sockets ---


@pytest.mark.parametrize("form", ["{}", "unix:{}"])
def test_a_job_lives_behind_a_unix_socket(
    local: FakeServer, tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hostname = form.format(tmp_path / "socket")

    with make(local, hostname) as job:
        local.wait_heard("job_keepalive", 3)
        assert repr(job) == f"<Job 1 at {hostname}>"
        assert job.hostname == "board-0"
    assert local.reasons == {1: None}

    run = runner(hostname, 22244, capsys)
    assert run("spalloc-ps") == (0, "No jobs.\n", "")


def test_a_unix_socket_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(ServerLostError, match="cannot reach /no/such: No such file or directory"):
        Job(hostname="/no/such", owner="me", config_filenames=[])


def test_a_unix_socket_has_no_tls() -> None:
    with pytest.raises(ConfigError, match="a Unix socket has no TLS"):
        Job(hostname="unix:/x", owner="me", tls=True, config_filenames=[])


# --- doors that are shut ---


def _shut(listener: socket.socket, way: str, greeting: int = 0) -> None:
    connection, _ = listener.accept()
    if greeting:
        connection.recv(greeting)
    if way == "reset":
        linger = b"\1\0\0\0\0\0\0\0"
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    connection.close()


@pytest.mark.parametrize("way", ["close", "reset"])
def test_a_server_that_hangs_up_at_once_may_not_admit_us(way: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_shut, args=(listener, way))
        thread.start()
        client = ProtocolClient("127.0.0.1", listener.getsockname()[1], 10.0)
        with pytest.raises(ServerLostError) as caught, client:
            client.version()
        thread.join()

    assert str(caught.value).endswith(
        " before it answered anything; your address may not be admitted, or it may want TLS"
    )


@pytest.mark.parametrize("way", ["close", "reset"])
def test_a_server_that_breaks_off_the_handshake_may_not_speak_tls(
    way: str, files: dict[str, str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        # Having read all that came, as a reset that comes before leaves Python's own socket open.
        thread = threading.Thread(target=_shut, args=(listener, way, 1 << 16))
        thread.start()
        client = ProtocolClient(
            "127.0.0.1", listener.getsockname()[1], 10.0, tls=True, ca=files["ca_crt"]
        )
        with pytest.raises(ServerLostError, match="broke off the TLS handshake; it may not"):
            client.connect()
        thread.join()


def test_a_server_that_comes_back_is_not_suspected() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=_shut, args=(listener, "close"))
        thread.start()
        session = Session(Endpoint("127.0.0.1", listener.getsockname()[1]), 10.0, 0.0)
        session._met = True
        with pytest.raises(ServerLostError) as caught:
            session.connect()
        session.close()
        thread.join()

    assert "admitted" not in str(caught.value)


def test_one_that_hangs_up_later_is_not_suspected(server: FakeServer) -> None:
    with ProtocolClient("127.0.0.1", server.port, 10.0) as client:
        client.version()
        server.drop_clients()
        with pytest.raises(ServerLostError) as caught:
            client.wait_for_notification(10.0)

    assert "admitted" not in str(caught.value)


# --- sockets ---


def test_sockets_say_that_they_have_to_wait() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        assert receive(ours) is None
        theirs.sendall(b"abc")
        assert receive(ours) == b"abc"
        while send(ours, b"x" * 65536):
            pass
        theirs.close()
        assert send_fails(ours)


def send_fails(connection: socket.socket) -> bool:
    try:
        send(connection, b"x")
    except OSError:
        return True
    return False


# --- handing jobs over ---


CODE = "00112233445566778899aabbccddeeff"


@pytest.fixture
def handing(newer: FakeServer) -> FakeServer:
    """A server with a job that may be taken over by a code."""
    newer.codes[newer.add_job(keepalive=None)] = CODE
    return newer


def test_a_job_is_taken_over_by_its_code(
    handing: FakeServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "spalloc_client")
    with make(handing, resume_job_id=1, owner=None) as first:
        code = first.get_takeover_code()
        second = make(handing, resume_job_id=1, owner=None, takeover_code=code)
        second.close()

    assert code == CODE
    assert handing.calls("take_over_job") == [([1, CODE], {})]
    assert CODE not in caplog.text
    assert "a command with a secret" in caplog.text


def test_wrong_codes_and_old_servers_are_said(handing: FakeServer) -> None:
    with pytest.raises(SpallocServerException, match="this is not the code of job 1"):
        make(handing, resume_job_id=1, takeover_code="x")
    with pytest.raises(ValueError, match="takeover_code needs resume_job_id"):
        make(handing, takeover_code="x")
    other = make(handing, keepalive=None)
    with other, pytest.raises(JobDestroyedError, match="does not know job 2"):
        other.get_takeover_code()
    handing.version = "1.0.0"
    with pytest.raises(SpallocServerException, match="knows no codes"):
        make(handing, resume_job_id=1, takeover_code=CODE)
    with make(handing, resume_job_id=1, owner=None) as job, pytest.raises(
        SpallocServerException, match="knows no codes"
    ):
        job.get_takeover_code()


Take = Callable[..., tuple[int, str, str]]


@pytest.fixture
def take(handing: FakeServer, capfd: pytest.CaptureFixture[str]) -> Take:
    run = runner("127.0.0.1", handing.port, capfd)
    return lambda *words: run("spalloc", "-r", "1", *words, "-c", "true")


def test_spalloc_takes_the_code_from_a_file_or_the_environment(
    handing: FakeServer, take: Take, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "code"
    file.write_text(CODE + "\n")

    assert take("-D", "--code-file", str(file))[0] == 0
    monkeypatch.setenv("SPALLOC_CODE", CODE)
    assert take("-D")[0] == 0
    assert take("-D", "--take-over")[0] == 0

    assert handing.calls("take_over_job") == [([1, CODE], {})] * 3


def test_spalloc_asks_for_the_code_on_a_terminal(
    handing: FakeServer, take: Take, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def answer(prompt: str) -> str:
        asked.append(prompt)
        return CODE

    monkeypatch.setattr("getpass.getpass", answer)
    monkeypatch.setattr("sys.stdin", _Terminal())

    assert take("--take-over", "-D")[0] == 0
    assert asked == ["Code of job 1: "]


class _Terminal:
    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        raise OSError("none")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--take-over"], "no code: give --code-file or set SPALLOC_CODE"),
        (["--code-file", "/no/such"], "--code-file /no/such: "),
        (["--code-file", os.devnull], "the code is empty"),
    ],
)
def test_a_code_that_is_not_there_is_said(
    handing: FakeServer,
    take: Take,
    words: list[str],
    error: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        status, out, err = take(*words)

    assert (status, out) == (1, "")
    assert err.startswith(f"spalloc: {error}")
    assert handing.calls("take_over_job") == []


def test_codes_are_for_jobs_that_there_are(
    handing: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runner("127.0.0.1", handing.port, capsys)

    assert run("spalloc --owner me --take-over")[::2] == (
        2, "spalloc: --take-over and --code-file go with --resume only\n"
    )  # fmt: skip
    assert run("spalloc-job 1 --takeover-code") == (0, CODE + "\n", "")
    assert run("spalloc-job 9 --takeover-code")[2] == (
        "spalloc-job: the server does not know job 9 (any more)\n"
    )
    handing.version = "1.0.0"
    assert "1.1.0 is needed" in run("spalloc-job 1 --takeover-code")[2]


def test_trouble_with_a_board_is_reported(
    handing: FakeServer, capsys: pytest.CaptureFixture[str]
) -> None:
    run = runner("127.0.0.1", handing.port, capsys)

    for board in ("0,1,2", "(0, 1, 2)", "0, 1, 2"):
        assert run("spalloc-job 1 --report", board, "hot") == (
            0, "", "job 1: [0, 1, 2] noted: hot\n"
        )  # fmt: skip
    assert run("spalloc-job 1 --report 10.0.0.1", "hot")[2] == "job 1: 10.0.0.1 noted: hot\n"
    handing.version = "1.0.0"
    assert "1.1.0 is needed" in run("spalloc-job 1 --report 10.0.0.1 hot")[2]
