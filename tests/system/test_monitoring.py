"""What monitoring sees of a real server is what happened."""

import gc
import json
import socket
import struct
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from spalloc_server import _clock, async_bmp_controller
from spalloc_server._bmp import transceiver, wiring
from spalloc_server._logs.line_writer import LineWriter
from spalloc_server._logs.stream import Stream
from spalloc_server._places import Frame
from spalloc_server._programs import http_server
from spalloc_server._programs.announcer import Announcer
from spalloc_server._programs.metrics import METRICS, Reader
from spalloc_server._programs.metrics_page import MetricsPage
from spalloc_server._programs.pulse import LONGEST_WAIT, STALLED_AFTER, Pulse
from spalloc_server._programs.sdnotify import ServiceManager
from spalloc_server._simulator import Simulation
from spalloc_server.server import SpallocServer
from tests.support.notify_socket import NotifySocket
from tests.support.server_process import ServerProcess
from tests.support.simulated_server import PATIENCE, Client, copy_of_example, simulated_server

Scrape = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def get(port: int, path: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as e:
        with e:
            return e.code, e.read().decode()


def scrape(port: int) -> Scrape:
    status, text = get(port, "/metrics")
    assert status == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(found: Scrape, name: str, **labels: str) -> float:
    return found[name, tuple(sorted(labels.items()))]


@contextmanager
def monitored(server: SpallocServer, port: int = 0) -> Iterator[MetricsPage]:
    page = MetricsPage("127.0.0.1", port)
    writers = {"log": LineWriter("log", Stream(None), str)}
    try:
        page.start(Reader(server, writers), Pulse(server))
        yield page
    finally:
        page.close()
        writers["log"].close(PATIENCE)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SpallocServer]:
    config = copy_of_example("several-machines.cfg", tmp_path)
    with simulated_server(config) as running:
        yield running


def test_the_numbers_are_those_of_a_known_load(server: SpallocServer) -> None:
    controller = server.controller
    controller.seconds_before_free = 3600
    with monitored(server) as page, Client(server.port) as client, Client(server.port) as other:
        other.call("notify_machine")
        ready = [client.call("create_job", 3, owner="me", machine="frame-a") for _ in range(2)]
        for job_id in ready:
            client.wait_until(job_id, 3)
        for _ in range(5):
            client.call("version")
        client.send_line('{"command": "create_job", "args": [2.5], "kwargs": {"owner": "me"}}')
        assert "exception" in client.answer()
        ended = client.call("create_job", 3, owner="me", machine="frame-a")
        client.wait_until(ended, 3)
        client.call("destroy_job", ended)
        whole = client.call("create_job", 4, 2, owner="me", machine="frame-a")
        assert client.call("get_job_state", whole)["state"] == 1

        found = scrape(page.port)

    assert of(found, "spalloc_clients") == 2
    assert of(found, "spalloc_connections_total") == 2
    assert of(found, "spalloc_watchers", of="machines") == 1
    assert of(found, "spalloc_watchers", of="jobs") == 0
    assert of(found, "spalloc_command_seconds_count", command="version") == 5
    assert of(found, "spalloc_command_seconds_bucket", command="version", le="+Inf") == 5
    assert of(found, "spalloc_command_seconds_count", command="create_job") == 5
    assert of(found, "spalloc_command_errors_total", command="create_job") == 1
    assert of(found, "spalloc_command_errors_total", command="version") == 0
    assert of(found, "spalloc_jobs", state="ready") == 2
    assert of(found, "spalloc_jobs", state="queued") == 1
    assert of(found, "spalloc_jobs", state="power") == 0
    assert of(found, "spalloc_jobs_created_total") == 4
    assert of(found, "spalloc_jobs_remembered") == 1
    assert of(found, "spalloc_queue_length") == 1
    assert 0 <= of(found, "spalloc_queue_oldest_wait_seconds") < PATIENCE
    boards = {
        state: of(found, "spalloc_machine_boards", machine="frame-a", state=state)
        for state in ("dead", "used", "cooling", "quarantined", "free")
    }
    assert boards == {"dead": 0, "used": 6, "cooling": 3, "quarantined": 0, "free": 15}
    assert of(found, "spalloc_machine_boards", machine="frame-b", state="dead") == 2
    assert of(found, "spalloc_machine_jobs", machine="frame-a") == 2
    assert of(found, "spalloc_disk_trouble") == 0
    assert of(found, "spalloc_census_missing") == 0
    assert of(found, "spalloc_journal_bytes") == server.store.journal_bytes


def test_the_counts_of_a_frame_are_its_own(server: SpallocServer) -> None:
    with monitored(server) as page, Client(server.port) as client:
        job_id = client.call("create_job", 0, 0, 0, owner="me", machine="frame-a")
        client.wait_until(job_id, 3)

        found = scrape(page.port)

        (bmp,) = (
            m.bmp_ips[0, 0] for m in server.controller.machines.values() if m.name == "frame-a"
        )
        frame = {"machine": "frame-a", "cabinet": "0", "frame": "0", "bmp": bmp}
        assert of(found, "spalloc_bmp_requests_total", **frame) == 1
        assert of(found, "spalloc_bmp_power_commands_total", **frame) == 1
        assert of(found, "spalloc_bmp_link_writes_total", **frame) == 6
        assert of(found, "spalloc_bmp_retries_total", **frame) == 0
        assert of(found, "spalloc_bmp_failures_total", **frame) == 0
        assert of(found, "spalloc_bmp_queue_length", **frame) == 0
        assert of(found, "spalloc_bmp_answering", **frame) == 1


def test_the_numbers_of_sharing_are_those_of_a_known_queue(server: SpallocServer) -> None:
    controller = server.controller
    controller._job_queue.scheduling = "overtaking"
    with monitored(server) as page, Client(server.port) as client:
        client.call("create_job", 2, 1, owner="me", machine="frame-a")
        client.call("create_job", 3, 2, owner="me", machine="frame-a")
        client.call("create_job", 1, 1, owner="me", machine="frame-a")
        found = scrape(page.port)
        server.controller._job_queue.patience = 0.0
        closed = scrape(page.port)

    def state(found: Scrape) -> dict[str, float]:
        return {
            word: of(found, "spalloc_region_state", machine="frame-a", state=word)
            for word in ("none", "leaking", "closed")
        }

    assert of(found, "spalloc_first_in_line_overtaken", machine="frame-a") == 1
    assert of(found, "spalloc_first_in_line_overtaken", machine="frame-b") == 0
    assert state(found) == {"none": 0, "leaking": 1, "closed": 0}
    assert state(closed) == {"none": 0, "leaking": 0, "closed": 1}
    assert of(found, "spalloc_region_state", machine="frame-b", state="none") == 1
    assert 0 <= of(found, "spalloc_region_age_seconds", machine="frame-a") < PATIENCE
    assert of(found, "spalloc_region_idle_boards", machine="frame-a") in (12, 15)
    assert 0.5 <= of(found, "spalloc_largest_free_block_ratio", machine="frame-a") <= 1
    assert of(found, "spalloc_job_wait_seconds_count", boards="4-24") == 1
    assert of(found, "spalloc_job_wait_seconds_count", boards="2-3") == 1
    assert of(found, "spalloc_job_wait_seconds_bucket", boards="2-3", le="+Inf") == 1
    assert of(found, "spalloc_clients_bytes") >= 0


def test_a_frame_that_dies_under_a_running_job_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(async_bmp_controller, "_SECONDS_BETWEEN_QUESTIONS", 0.01)
    monkeypatch.setattr(transceiver, "_REGISTER_WAITS", (0.05,))
    config = copy_of_example("frame-24-boards.cfg", tmp_path)
    with Simulation() as simulation:
        monkeypatch.setattr(wiring, "resolve", simulation.resolve)
        monkeypatch.setattr(wiring, "fpga_wait", 0.0)
        with (
            SpallocServer(config, port=0, stop_timeout=0.0) as server,
            monitored(server) as page,
            Client(server.port) as client,
        ):
            job_id = client.call("create_job", 3, owner="me")
            client.wait_until(job_id, 3)
            (machine,) = server.controller.machines.values()
            bmp = machine.bmp_ips[0, 0]
            frame = {"machine": machine.name, "cabinet": "0", "frame": "0", "bmp": bmp}

            simulation.inject("all mute")
            while of(scrape(page.port), "spalloc_bmp_answering", **frame):
                time.sleep(0.01)

            while client.call("list_boards", machine.name)["boards"][-1][3] != "unknown":
                time.sleep(0.01)
            assert client.call("get_job_state", job_id)["state"] == 3


def test_every_metric_of_the_table_is_shown_with_its_help(server: SpallocServer) -> None:
    server.controller._job_queue.scheduling = "overtaking"
    with monitored(server) as page, Client(server.port) as client:
        job_id = client.call("create_job", owner="me")
        client.wait_until(job_id, 3)
        _, text = get(page.port, "/metrics")

    for metric in METRICS:
        assert f"# HELP {metric.name} {metric.help}\n" in text
        assert f"# TYPE {metric.name} {metric.kind}\n" in text
        assert f"\n{metric.name}" in text.replace(f"# HELP {metric.name}", "").replace(
            f"# TYPE {metric.name}", ""
        )


@pytest.mark.parametrize("metric", METRICS, ids=[metric.name for metric in METRICS])
def test_metrics_are_named_by_the_conventions_of_prometheus(metric: Any) -> None:
    assert metric.name.startswith("spalloc_")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.kind != "histogram" or metric.name.endswith("_seconds")
    assert metric.help.endswith(".")


@contextmanager
def stalled(server: SpallocServer) -> Iterator[None]:
    """Hold the loop, and with it the controller's lock, in the middle of a turn."""
    held, go_on = threading.Event(), threading.Event()

    def wait(_server: object, _client: object) -> None:
        held.set()
        go_on.wait(PATIENCE)

    server._commands = {**server._commands, "wait": wait}
    with Client(server.port) as client:
        client.send_line('{"command": "wait"}')
        assert held.wait(PATIENCE)
        try:
            yield
        finally:
            go_on.set()
            client.answer()


def let_time_pass(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    before = _clock.monotonic
    monkeypatch.setattr(_clock, "monotonic", lambda: before() + seconds)


def wait_for_a_turn(server: SpallocServer) -> None:
    with Client(server.port) as client:
        # The answer comes in the middle of a turn; the next one begins when it has ended.
        client.call("version")
        client.call("version")


def test_a_stalled_loop_is_seen_by_health_and_watchdog(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with NotifySocket(tmp_path / "notify") as systemd, monitored(server) as page:
        manager = ServiceManager(systemd.environ | {"WATCHDOG_USEC": "20000000"})
        announcer = Announcer(server, manager)
        wait_for_a_turn(server)
        announcer.look()
        assert "WATCHDOG=1" in systemd.received()
        assert get(page.port, "/health") == (200, '{"status": "ok", "problems": []}\n')

        with stalled(server):
            let_time_pass(monkeypatch, STALLED_AFTER + 5)
            announcer.look()
            status, text = get(page.port, "/health")

            told = json.loads(text)
            assert status == 503
            assert told["status"] == "failing"
            assert [problem["what"] for problem in told["problems"]] == ["stalled"]
            assert "WATCHDOG=1" not in systemd.received()

        wait_for_a_turn(server)
        announcer.look()
        assert get(page.port, "/health")[0] == 200
        assert "WATCHDOG=1" in systemd.received()


def test_a_stalled_loop_does_not_stall_the_metrics(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spalloc_server._programs.metrics._PATIENCE", 0.01)
    with monitored(server) as page, stalled(server):
        let_time_pass(monkeypatch, 100)

        found = scrape(page.port)

    assert of(found, "spalloc_census_missing") == 1
    assert of(found, "spalloc_last_turn_age_seconds") >= 100
    assert not [name for name, _ in found if name == "spalloc_jobs"]


def test_a_watched_loop_turns_also_when_it_has_nothing_to_do(server: SpallocServer) -> None:
    Pulse(server)

    assert server._seconds_to_wait() <= LONGEST_WAIT


def test_health_tells_of_disk_trouble(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.store._trouble.met("cannot write the journal", OSError(28, "No space left on device"))

    with monitored(server) as page:
        status, text = get(page.port, "/health")

    (problem,) = json.loads(text)["problems"]
    assert status == 503
    assert problem["what"] == "disk"
    assert "No space left on device" in problem["text"]


def test_health_tells_of_a_loop_that_has_ended(server: SpallocServer) -> None:
    with monitored(server) as page:
        server.stop_and_join()

        status, text = get(page.port, "/health")

    assert status == 503
    assert json.loads(text)["problems"][0]["what"] == "stopped"


def test_frames_that_do_not_tell_are_left_out(server: SpallocServer) -> None:
    frames = server.controller._bmp_controllers["frame-a"]
    (bmp,) = frames.values()
    try:
        frames[Frame((0, 0))] = type("StandIn", (), {"hostname": "somewhere"})()

        samples = Reader(server).samples()
    finally:
        frames[Frame((0, 0))] = bmp

    shown = {labels[0] for labels in samples["spalloc_bmp_requests_total"]}
    assert shown == {"frame-b", "test-board"}


def test_there_are_two_pages(server: SpallocServer) -> None:
    with monitored(server) as page:
        assert get(page.port, "/")[0] == 404
        assert get(page.port, "/metrics", method="POST")[0] == 405


def test_a_taken_port_is_an_error_at_once() -> None:
    page = MetricsPage("127.0.0.1", 0)
    try:
        with pytest.raises(OSError, match="in use"):
            MetricsPage("127.0.0.1", page.port)
    finally:
        page.close()
        page.close()


def test_the_page_can_be_had_at_an_ipv6_address() -> None:
    page = MetricsPage("::1", 0)
    page.close()


def test_one_who_says_nothing_holds_up_neither_others_nor_the_end(server: SpallocServer) -> None:
    with monitored(server) as page, Client(page.port):
        assert get(page.port, "/health")[0] == 200
    gc.collect()


def test_boards_on_their_way_to_off_are_cooling(server: SpallocServer) -> None:
    (bmp,) = server.controller._bmp_controllers["frame-a"].values()
    with Client(server.port) as client:
        job_id = client.call("create_job", 3, owner="me", machine="frame-a")
        client.wait_until(job_id, 3)

        with bmp:
            client.call("destroy_job", job_id)
            census = server.controller.overview.census()

    assert census is not None
    assert census.machines["frame-a"].boards["cooling"] == 3


def test_too_many_who_ask_at_a_time_are_turned_away(server: SpallocServer) -> None:
    with monitored(server) as page, ExitStack() as idle:
        asking = [
            idle.enter_context(socket.create_connection(("127.0.0.1", page.port), PATIENCE))
            for _ in range(http_server.MOST_AT_A_TIME + 1)
        ]

        assert asking[-1].recv(1) == b""
        for connection in asking:
            connection.close()


def test_a_question_has_a_time_limit_and_its_place_comes_back(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "PATIENCE", 0.2)
    monkeypatch.setattr(http_server, "_SECONDS_BETWEEN_LOOKS", 0.02)
    with monitored(server) as page:
        dribbling = [
            socket.create_connection(("127.0.0.1", page.port), PATIENCE)
            for _ in range(http_server.MOST_AT_A_TIME)
        ]
        for connection in dribbling:
            connection.sendall(b"G")

        for connection in dribbling:
            assert connection.recv(1) == b"", "its time is up, however it dribbles"
            connection.close()

        monkeypatch.setattr(http_server, "PATIENCE", 10.0)
        assert get(page.port, "/health")[0] == 200


def test_without_threads_a_question_is_turned_away_and_takes_no_place(
    server: SpallocServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monitored(server) as page:
        with monkeypatch.context() as patch:
            start = threading.Thread.start

            def refuse(thread: threading.Thread) -> None:
                if thread.name == "metrics-answer":
                    raise RuntimeError("can't start new thread")
                start(thread)

            patch.setattr(threading.Thread, "start", refuse)
            for _ in range(2 * http_server.MOST_AT_A_TIME):
                with socket.create_connection(("127.0.0.1", page.port), PATIENCE) as connection:
                    assert connection.recv(1) == b""

        assert get(page.port, "/health")[0] == 200


@pytest.mark.parametrize("path", ["/metrics", "/health", "/other"])
def test_head_is_answered_as_get_without_the_body(server: SpallocServer, path: str) -> None:
    with monitored(server) as page:
        status, text = get(page.port, path, method="HEAD")

        assert (status, text) == (get(page.port, path)[0], "")
        with socket.create_connection(("127.0.0.1", page.port), PATIENCE) as connection:
            connection.sendall(f"HEAD {path} HTTP/1.0\r\n\r\n".encode())
            with connection.makefile() as lines:
                said = lines.read()
    assert said.endswith("\n\n"), "there is nothing after the headers"
    length = int(next(line for line in said.splitlines() if "Content-Length" in line).split()[1])
    assert length > 0


def test_health_tells_of_a_machine_that_is_out(server: SpallocServer) -> None:
    server.controller.upkeep.hold_boards("test-board", [(0, 0, 0)], "smells")

    with monitored(server) as page:
        status, text = get(page.port, "/health")

    told = json.loads(text)
    assert (status, told["status"]) == (200, "degraded")
    assert told["problems"] == [
        {"what": "machine", "text": "machine test-board: no board can be used, 1 out"}
    ]


def test_one_who_resets_the_connection_harms_nobody(server: SpallocServer) -> None:
    with monitored(server) as page:
        rude = socket.create_connection(("127.0.0.1", page.port), PATIENCE)
        rude.sendall(b"GET /hea")
        rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        rude.close()

        assert get(page.port, "/health")[0] == 200


def test_the_program_serves_metrics_where_it_says(tmp_path: Path) -> None:
    copy_of_example("demo.cfg", tmp_path)
    with ServerProcess(tmp_path, "--metrics-port", "0", "demo.cfg") as program:
        port = int(program.wait_for(r"metrics at http://127\.0\.0\.1:(\d+)/metrics").group(1))
        with program.client() as client:
            client.call("version")

        assert of(scrape(port), "spalloc_command_seconds_count", command="version") == 1
        assert get(port, "/health")[0] == 200
        assert program.stop() == 0
