"""The server under a policy: networks, users, proxies, fronts, isolation, reloads."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from spalloc_server._wire import endpoints, visitors
from spalloc_server._wire.endpoints import Endpoint, Kind
from tests.access.test_proxy_header import header
from tests.support.policed_server import CONFIG, Client, Start, proxied

USE_127_7 = 'Policy([Rule("127.7.0.0/16", "use"), ("127.8.0.0/16", "read")])'


def open_sockets() -> int:
    """Return how many sockets this process has open."""
    count = 0
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            count += str(each.readlink()).startswith("socket:")
    return count


def until(done: Callable[[], object]) -> None:
    """Wait for something that the server does by itself."""
    for _ in range(2000):
        if done():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen")


# --- networks ---


def test_a_denied_network_gets_no_byte(
    start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    server = start(USE_127_7)

    with Client(server, "127.9.0.1") as denied, Client(server, "127.9.0.2") as other:
        denied.send(b'{"command": "version"}\n')
        assert denied.rest() == []
        assert other.rest() == []
    with Client(server, "127.7.0.1") as client:
        assert client.call("version")

    assert caplog.text.count("denied host:127.9.0.") == 1
    assert server._doorkeeper.denials.count == 2


def test_a_reader_sees_and_renews_nothing(start: Start) -> None:
    server = start(USE_127_7)

    with Client(server, "127.7.0.1") as user, Client(server, "127.8.0.1") as reader:
        job = user.call("create_job", owner="me")
        state = reader.call("get_job_state", job)
        info = reader.call("get_job_machine_info", job)
        assert reader.call("job_keepalive", job) is None
        assert [each["job_id"] for each in reader.call("list_jobs")] == [job]
        refusal = reader.refused("create_job", owner="me")
        assert reader.refused("destroy_job", job) == refusal.replace("create_job", "destroy_job")

        assert state["keepalivehost"] == "127.7.0.1"
        assert info["machine_name"] == "m"
        assert refusal == (
            "create_job needs the right to use; your address or name has the right to read"
        )
        assert user.call("get_job_state", job)["keepalivehost"] == "127.7.0.1"


def test_keepalives_of_readers_do_not_put_an_end_off(start: Start) -> None:
    server = start(USE_127_7)

    with Client(server, "127.7.0.1") as user, Client(server, "127.8.0.1") as reader:
        job = user.call("create_job", owner="me", keepalive=100.0)
        before = server.controller._jobs[job].deadline
        for name in ("job_keepalive", "get_job_state", "get_job_machine_info"):
            reader.call(name, job)
        assert server.controller._jobs[job].deadline == before
        user.call("job_keepalive", job)
        after = server.controller._jobs[job].deadline

    assert before is not None
    assert after is not None
    assert after > before


def test_a_reload_judges_open_connections_again(start: Start, tmp_path: Path) -> None:
    server = start(USE_127_7)

    with Client(server, "127.7.0.1") as first, Client(server, "127.8.0.1") as second:
        assert first.call("version")
        (tmp_path / "test.cfg").write_text(
            CONFIG.format(policy='Policy([("127.8.0.0/16", "use")])')
        )
        assert server.read_config_file()

        assert first.rest() == []
        assert second.call("create_job", owner="me") == 1


def test_the_log_tells_once_of_an_open_door_and_of_rules_without_effect(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server = start("Policy()")
    open_door = "everybody who reaches the port may use the server (no access rules)"
    assert caplog.messages.count(open_door) == 1
    assert server.read_config_file()
    assert caplog.messages.count(open_door) == 1

    rules = 'Policy([("127.7.0.0/16", "use"), ("127.7.0.1", "read")])'
    (tmp_path / "test.cfg").write_text(CONFIG.format(policy=rules))
    assert server.read_config_file()

    shadowed = "access rule 2 (127.7.0.1) has no effect: rule 1 (127.7.0.0/16) comes first"
    (told,) = [record for record in caplog.records if record.getMessage() == shadowed]
    assert told.levelname == "WARNING"
    assert caplog.messages.count(open_door) == 1


def test_calls_from_within_are_not_judged(start: Start) -> None:
    server = start("Policy([], isolation='jobs')")

    job = server.create_job(None, owner="me")
    server.destroy_job(None, job)

    assert server.get_job_state(None, job)["state"] == 4


# --- isolation and taking over ---


def test_isolated_jobs_are_ended_by_their_own_principal_alone(start: Start) -> None:
    server = start("Policy(isolation='jobs')")

    with Client(server, "127.7.0.1") as mine, Client(server, "127.7.0.2") as other:
        job = mine.call("create_job", owner="me")

        for name in ("destroy_job", "power_on_job_boards", "power_off_job_boards"):
            assert other.refused(name, job) == (
                "this job is of host:127.7.0.1, you are host:127.7.0.2; "
                "ask its owner, or an operator"
            )
        assert other.call("job_keepalive", job) is None
        assert other.call("destroy_job", 99) is None
        mine.call("destroy_job", job)
        assert mine.call("get_job_state", job)["state"] == 4


def test_a_job_changes_hands_by_a_code_once(start: Start) -> None:
    server = start("Policy(isolation='jobs')")

    with Client(server, "127.7.0.1") as mine, Client(server, "127.7.0.2") as other:
        job = mine.call("create_job", owner="me")
        assert "only its own principal" in other.refused("get_takeover_code", job)
        code = mine.call("get_takeover_code", job)
        assert "not the code of job" in other.refused("take_over_job", job, "0" * 32)
        assert other.call("take_over_job", job, code) is True
        assert "not the code of job" in mine.refused("take_over_job", job, code)
        assert mine.refused("destroy_job", job).startswith("this job is of host:127.7.0.2")
        assert other.call("get_takeover_code", 99) is None
        assert other.call("take_over_job", 99, code) is False
        other.call("destroy_job", job)


def test_guessing_codes_is_slow(start: Start) -> None:
    server = start("Policy(isolation='jobs')")

    with Client(server, "127.7.0.1") as mine, Client(server, "127.7.0.2") as other:
        job = mine.call("create_job", owner="me")
        code = mine.call("get_takeover_code", job)
        told = [other.refused("take_over_job", job, f"{n:032x}") for n in range(6)]

        assert "too many wrong codes" in told[-1]
        assert "too many wrong codes" in other.refused("take_over_job", job, code)


def test_principals_and_codes_survive_a_kill(start: Start, tmp_path: Path) -> None:
    server = start("Policy(isolation='jobs')")
    with Client(server, "127.7.0.1") as mine:
        job = mine.call("create_job", owner="me")
        code = mine.call("get_takeover_code", job)
    state = server.controller.__getstate__()
    server.stop_and_join()

    again = start("Policy(isolation='jobs')")

    assert again.controller.__getstate__()["jobs"] == state["jobs"]
    with Client(again, "127.7.0.2") as other:
        assert other.call("take_over_job", job, code) is True
    assert again.controller.belonging.principal_of(job) == "host:127.7.0.2"


# --- users of this computer ---


def test_users_of_this_computer_are_known_by_the_kernel(start: Start, place: str) -> None:
    uid = os.getuid()
    server = start(
        f'Policy([("unix:{uid}", "operate")], isolation="jobs")',
        more_endpoints=[Endpoint(Kind.unix, place)],
    )

    with Client(server, place) as client:
        job = client.call("create_job", owner="me")
        assert client.call("get_job_state", job)["keepalivehost"] is None
        assert server.controller.belonging.principal_of(job) == f"unix:{uid}"
    with Client(server, "127.0.0.1") as denied:
        assert denied.rest() == []
    assert server.controller.belonging.principal_of(99) is None


def test_a_user_whom_no_rule_admits_is_denied(start: Start, place: str) -> None:
    server = start(
        'Policy([("unix:nobody-of-this-name", "use")])',
        more_endpoints=[Endpoint(Kind.unix, place)],
    )

    with Client(server, place) as client:
        assert client.rest() == []


# --- proxies and fronts ---


def test_a_proxys_client_is_known_by_address_and_certificate(start: Start, place: str) -> None:
    server = start(
        'Policy([("cert:ada", "use"), ("192.0.2.0/24", "read")])',
        more_endpoints=[Endpoint(Kind.proxy, place)],
    )

    with (
        Client(server, place, proxied("198.51.100.1", b"ada")) as ada,
        Client(server, place, proxied("192.0.2.9") + b'{"command": "version"}\n') as reader,
        Client(server, place, proxied("198.51.100.1")) as denied,
    ):
        job = ada.call("create_job", owner="me")
        assert ada.call("get_job_state", job)["keepalivehost"] == "198.51.100.1"
        assert server.controller.belonging.principal_of(job) == "cert:ada"
        assert "return" in reader.reply()
        assert "needs the right to use" in reader.refused("create_job", owner="me")
        assert denied.rest() == []


def test_a_proxy_without_header_is_malformed_and_its_own_question_is_quiet(
    start: Start, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = start("Policy()", more_endpoints=[Endpoint(Kind.proxy, place)])

    with Client(server, place, b'{"command": "version"}\n') as client:
        assert client.rest() == []
    assert caplog.text.count("connections closed unheard") == 1
    with Client(server, place, header(b"", command=0x20, family=0)) as check:
        assert check.rest() == []
    assert caplog.text.count("connections closed unheard") == 1
    with Client(server, first=proxied("192.0.2.1")) as direct:
        assert direct.rest() == []  # no place for headers


def test_a_proxy_that_is_slow_is_closed(
    start: Start, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spalloc_server._wire.introductions.SECONDS_FOR_HEADER", 0.05)
    server = start("Policy()", more_endpoints=[Endpoint(Kind.proxy, place)])

    with Client(server, place, proxied("192.0.2.1")[:20]) as slow:
        assert slow.rest() == []


def test_too_many_proxied_connections_cost_the_oldest(
    start: Start, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spalloc_server._wire.introductions.MAX_WAITING", 1)
    server = start("Policy()", more_endpoints=[Endpoint(Kind.proxy, place)])

    with Client(server, place) as oldest, Client(server, place) as newest:
        assert oldest.rest() == []
        newest.send(proxied("192.0.2.1"))
        assert newest.call("version")


def test_connections_without_header_end_with_the_server(start: Start, place: str) -> None:
    server = start("Policy()", more_endpoints=[Endpoint(Kind.proxy, place)])

    with Client(server, place) as waiting, Client(server) as client:
        client.call("version")
        server.stop_and_join()
        assert waiting.rest() == []


def test_a_front_gives_commands_for_its_users(start: Start, place: str) -> None:
    uid = os.getuid()
    server = start(
        f'Policy([("unix:{uid}", "front"), ("user:ada", "use"), ("user:eve", "deny")],'
        ' isolation="jobs")',
        more_endpoints=[Endpoint(Kind.unix, place)],
    )

    with Client(server, place) as front:
        job = front.call("create_job", owner="x", as_user="ada", from_host="192.0.2.7")
        state = front.call("get_job_state", job, as_user="ada", from_host="192.0.2.8")
        assert server.controller.belonging.principal_of(job) == "user:ada"
        assert state["keepalivehost"] == "192.0.2.8"
        assert "needs the right to use" in front.refused("create_job", owner="x")
        assert "is not admitted" in front.refused("version", as_user="eve")
        assert "is not admitted" in front.refused("version", as_user="mallory")
        assert "expected a name" in front.refused("version", as_user=5)
        assert "expected a name" in front.refused("version", from_host="192.0.2.7")
        assert "expected an IP address" in front.refused("version", as_user="ada", from_host="x")
        front.call("destroy_job", job, as_user="ada")
        assert front.call("get_job_state", job)["state"] == 4
        (row,) = front.call("list_ended_jobs", 1)
        assert (row["by"], row["by_principal"]) == ("client", "user:ada")


def test_nobody_else_speaks_for_users(start: Start) -> None:
    server = start(USE_127_7)

    with Client(server, "127.7.0.1") as client:
        assert client.refused("version", as_user="ada") == (
            "as_user is for fronts alone; your address or name has the right to use"
        )
    server.stop_and_join()
    with Client(start("Policy()")) as client:
        assert "as_user" in client.refused("create_job", owner="me", as_user="ada")


# --- endpoints ---


def test_several_addresses_of_both_versions(start: Start) -> None:
    server = start(
        "Policy()", bind=[Endpoint(Kind.tcp, "127.0.0.1"), Endpoint(Kind.tcp, "::1")]
    )

    with Client(server) as fourth, socket.create_connection(("::1", server.port)) as sixth:
        assert fourth.call("version")
        sixth.sendall(b'{"command": "create_job", "kwargs": {"owner": "me"}}\n')
        job = json.loads(sixth.makefile().readline())["return"]

    assert server.controller.belonging.principal_of(job) == "host:::/64"


def test_all_of_both_families_is_two_sockets_on_one_port(start: Start) -> None:
    """So that an address is IPv4 or IPv6 from the beginning, and each can be left out."""
    server = start("Policy()", bind=[Endpoint(Kind.tcp, ""), Endpoint(Kind.tcp, "::")])

    jobs = []
    for host in ("127.0.0.1", "::1"):
        with socket.create_connection((host, server.port), timeout=20) as client:
            client.sendall(b'{"command": "create_job", "kwargs": {"owner": "me"}}\n')
            jobs.append(json.loads(client.makefile().readline())["return"])

    principals = [server.controller.belonging.principal_of(job) for job in jobs]
    assert principals == ["host:127.0.0.1", "host:::/64"]


def test_all_of_ipv6_leaves_ipv4_alone(start: Start) -> None:
    server = start("Policy()", bind=[Endpoint(Kind.tcp, "::")])

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port), timeout=20)


def test_first_bytes_at_random_harm_nobody_and_are_never_admitted(
    start: Start, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    rng = random.Random(22244)
    server = start(
        'Policy([("192.0.2.0/24", "use")])', more_endpoints=[Endpoint(Kind.proxy, place)]
    )
    good = proxied("198.51.100.1", b"ada")
    sockets = open_sockets()

    for _ in range(1000):
        data = bytearray(good)
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data) - 30)] = rng.randrange(256)
        if bytes(data[16:19]) == bytes([192, 0, 2]):
            continue
        with Client(server, place, bytes(data) + b'{"command": "version"}\n') as client:
            client.end()
            assert client.rest() == []
    with Client(server, place, proxied("192.0.2.1")) as client:
        assert client.call("version")

    until(lambda: not server.client_count and open_sockets() <= sockets)
    assert not server._visitors.proxied.waiting
    assert server.connections == 1
    assert sum(server.command_times["version"].counts) == 1
    assert 1 <= caplog.text.count("closed unheard") <= 2  # once a minute


def test_first_bytes_at_random_are_commands_or_end_the_connection(start: Start) -> None:
    """Lines of JSON with changed bytes, from clients that may use the server."""
    rng = random.Random(22244)
    server = start("Policy(isolation='jobs')")
    good = b'{"command": "destroy_job", "args": [7, null], "kwargs": {"reason": "x"}}'

    for _ in range(1000):
        line = bytearray(good)
        for _ in range(rng.randint(1, 4)):
            line[rng.randrange(len(line))] = rng.randrange(256)
        with Client(server, first=bytes(line) + b"\n") as client:
            client.end()
            for told in client.rest():
                assert told.keys() <= {"return", "exception"}
    with Client(server) as client:
        assert client.call("list_jobs") == []


def test_a_client_that_was_reset_before_it_was_judged_is_not_served(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start(USE_127_7)
    monkeypatch.setattr(visitors, "identity_by_address", lambda _: None)

    with Client(server, "127.7.0.1") as client:
        assert client.rest() == []


def test_a_connection_that_is_gone_already_has_no_address() -> None:
    with socket.socket() as client:
        assert visitors.identity_by_address(client) is None


def test_a_user_who_is_gone_before_the_kernel_tells_is_closed(
    start: Start, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: object) -> int:
        raise OSError("gone")

    monkeypatch.setattr("spalloc_server._wire.visitors.user_id_of", gone)
    server = start("Policy()", more_endpoints=[Endpoint(Kind.unix, place)])

    with Client(server, place) as client:
        assert client.rest() == []


def test_users_who_cannot_be_told_apart_are_closed(
    start: Start, place: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As under systemd's PrivateUsers=yes: all would be one principal."""
    monkeypatch.setattr(endpoints, "_stand_in_uid", os.getuid)
    server = start(
        "Policy([('unix:*', 'use')], isolation='jobs')",
        more_endpoints=[Endpoint(Kind.unix, place)],
    )

    for _ in range(2):
        with Client(server, place) as client:
            assert client.rest() == []

    assert caplog.text.count("the user is hidden from this process") == 1
    assert "PrivateUsers=yes" in caplog.text


def test_users_whose_names_are_looked_up_end_with_the_server(
    start: Start, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = threading.Event(), threading.Event()

    def slow(_: int) -> object:
        asked.set()
        answer.wait(20)
        raise KeyError

    monkeypatch.setattr("pwd.getpwuid", slow)
    server = start("Policy()", more_endpoints=[Endpoint(Kind.unix, place)])

    with Client(server, place) as client:
        assert asked.wait(20)
        server.stop_and_join()
        assert client.rest() == []
    answer.set()


# --- operators ---


def test_operators_give_orders_and_nobody_else_does(start: Start) -> None:
    server = start('Policy([("127.7.0.1", "operate"), ("127.7.0.2", "use")])')

    with Client(server, "127.7.0.1") as operator, Client(server, "127.7.0.2") as user:
        job = user.call("create_job", owner="me")
        refusal = "operate needs the right to operate; your address or name has the right to use"
        assert user.refused("operate", {"do": "jobs"}) == refusal
        ended = operator.call("operate", {"do": "end", "id": job, "told": "x"}, "fire drill")
        assert ended["reason"] == "Ended by an operator, host:127.7.0.1: fire drill"
        assert user.call("get_job_state", job)["reason"] == ended["reason"]
        assert "expected an object" in operator.refused("operate", "jobs")
        assert "no order 'x'" in operator.refused("operate", {"do": "x"})


def test_without_a_policy_nobody_is_an_operator(start: Start) -> None:
    server = start("Policy()")

    with Client(server) as client:
        assert "needs the right to operate" in client.refused("operate", {"do": "jobs"})
    assert server.operate(None, {"do": "jobs"}) == {"jobs": []}


def test_orders_and_takings_over_are_in_the_audit(start: Start, tmp_path: Path) -> None:
    server = start('Policy([("127.7.0.1", "operate"), ("127.7.0.0/16", "use")])')
    with Client(server, "127.7.0.1") as operator, Client(server, "127.7.0.2") as user:
        job = user.call("create_job", owner="me")
        code = user.call("get_takeover_code", job)
        assert operator.call("take_over_job", job, code)
        operator.call("operate", {"do": "message", "text": "Back at noon", "accepting": False})
        facility = operator.call("get_facility")
        assert (facility["message"], facility["accepting"]) == ("Back at noon", False)
        operator.call("operate", {"do": "end", "id": job}, "fire drill")
    server.stop_and_join()

    (path,) = tmp_path.glob("spalloc_audit-*.jsonl")
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(each["order"], each["by"]) for each in told] == [
        ("principal", "host:127.7.0.1"),
        ("message", "host:127.7.0.1"),
        ("end", "host:127.7.0.1"),
    ]
    assert (told[2]["id"], told[2]["reason"]) == (job, "fire drill")
    assert code not in path.read_text()


def test_addresses_of_bad_form_are_refused_at_a_reload(
    start: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = start("Policy()")
    text = CONFIG.format(policy="Policy()")
    (tmp_path / "test.cfg").write_text(text.replace('ip="127.0.0.1"', 'ip="127.0.0.1,"'))

    assert not server.read_config_file()

    assert "an address is empty; expected them separated by commas" in caplog.text
    with Client(server) as client:
        assert client.call("version")


def test_a_client_that_was_reset_is_served_where_everybody_is(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = start("Policy()")
    monkeypatch.setattr(visitors, "identity_by_address", lambda _: None)

    with Client(server) as client:
        assert client.call("version")
        (ours,) = server._client_buffers
        assert server._doorkeeper.plain_identity(ours) is None


def test_an_address_that_is_known_can_be_kept(start: Start) -> None:
    server = start("Policy()")

    with Client(server, "127.7.0.1") as client:
        client.call("version")
        (ours,) = server._client_buffers
        assert server._doorkeeper.plain_identity(ours) == {
            "address": "127.7.0.1",
            "certificate": None,
        }
