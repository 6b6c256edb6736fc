"""The principals that jobs belong to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spalloc_server._jobs.belonging import principal_of_host
from spalloc_server.controller import Controller
from tests.support.facility import Facility, machine
from tests.support.fake_frame import Rack
from tests.support.machines import machine as plain_machine


@pytest.fixture
def facility() -> Iterator[Facility]:
    """Four triads on two frames."""
    facility = Facility([machine("m", 4, 1)])
    yield facility
    facility.close()


def test_unknown_jobs_have_no_principal_and_take_none(facility: Facility) -> None:
    controller = facility.controller
    controller.belonging.give_job(99, "unix:5")
    controller.belonging.set_takeover_code(99, "hash")

    assert controller.belonging.principal_of(99) is None
    assert controller.belonging.takeover_code(99) is None


@pytest.mark.parametrize(
    ("host", "principal"), [("192.0.2.7", "host:192.0.2.7"), (None, "local")]
)
def test_a_job_of_an_older_state_belongs_to_its_host_of_then(
    monkeypatch: pytest.MonkeyPatch, host: str | None, principal: str
) -> None:
    Rack(monkeypatch).at_once = True
    before = Controller()
    before.machines = {"m": plain_machine("m")}
    job_id = before.create_job(host, owner="me")
    book = before.__getstate__()
    book["jobs"][job_id]["principal"] = None
    before.stop()
    controller = Controller.restore(book)

    # A stranger's sign of life makes nobody a job's principal.
    controller.job_keepalive("198.51.100.1", job_id)

    book = controller.__getstate__()
    assert book["jobs"][job_id]["host"] == "198.51.100.1"
    assert book["jobs"][job_id]["principal"] == principal
    assert controller.belonging.principal_of(job_id) == principal
    controller.stop()


def test_a_principal_of_today_stays_through_a_restart(monkeypatch: pytest.MonkeyPatch) -> None:
    Rack(monkeypatch).at_once = True
    before = Controller()
    before.machines = {"m": plain_machine("m")}
    jobs = [before.create_job("192.0.2.7", owner="me") for _ in range(3)]
    before.belonging.give_job(jobs[1], "unix:5")
    book = before.__getstate__()
    book["jobs"][jobs[2]]["principal"] = None
    before.stop()

    after = Controller.restore(book)

    assert [after.belonging.principal_of(job_id) for job_id in jobs] == [
        before.belonging.principal_of(jobs[0]), "unix:5", "host:192.0.2.7"
    ]  # fmt: skip
    after.stop()


def test_a_code_is_kept_until_the_job_is_given_away(facility: Facility) -> None:
    controller = facility.controller
    job_id, other = facility.create(), facility.create()

    controller.belonging.set_takeover_code(job_id, "hash")
    assert controller.belonging.takeover_code(job_id) == "hash"
    assert controller.belonging.takeover_code(other) is None

    controller.belonging.give_job(job_id, "unix:5")
    assert controller.belonging.takeover_code(job_id) is None
    assert controller.belonging.principal_of(job_id) == "unix:5"
    assert controller.belonging.principal_of(other) != "unix:5"


@pytest.mark.parametrize(
    ("host", "principal"),
    [
        (None, "local"),
        ("192.0.2.7", "host:192.0.2.7"),
        ("2001:db8::7", "host:2001:db8::/64"),
        ("a puppet", "host:a puppet"),
    ],
)
def test_a_host_is_a_principal(host: str | None, principal: str) -> None:
    assert principal_of_host(host) == principal
