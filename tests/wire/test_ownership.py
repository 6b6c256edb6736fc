"""Jobs that change hands, and the callers who may have it so."""

from __future__ import annotations

import ipaddress

import pytest

from spalloc_server._access.identity import Identity
from spalloc_server._access.policy import AccessClass
from spalloc_server._access.takeover import MAX_TRIES, SECONDS_OF_TRIES, TooManyTriesError, hash_of
from spalloc_server._wire.doorkeeper import NotAllowedError, Standing
from spalloc_server._wire.ownership import Ownership
from spalloc_server.controller import Controller
from tests.support.facility import machine
from tests.support.fake_frame import Rack
from tests.support.hand_clock import HandClock

MINE = Standing(Identity(ipaddress.ip_address("192.0.2.7")), AccessClass.use)
OTHER = Standing(Identity(certificate="eve"), AccessClass.use)
OPERATOR = Standing(Identity(uid=0), AccessClass.operate)
WITHIN = Standing(Identity(), AccessClass.use)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> HandClock:
    return HandClock(monkeypatch)


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch) -> Controller:
    """One with jobs 1 and 2, both of 192.0.2.7."""
    Rack(monkeypatch).at_once = True
    controller = Controller()
    controller.machines = {"m": machine("m")}
    for _ in range(2):
        controller.create_job("192.0.2.7", owner="me")
    return controller


def test_its_principal_gets_a_code_of_which_the_hash_is_kept(controller: Controller) -> None:
    code = Ownership().new_code(controller, MINE, 1)

    assert code is not None
    assert len(code) == 32
    assert controller.belonging.takeover_code(1) == hash_of(code)
    assert controller.belonging.takeover_code(2) is None


@pytest.mark.parametrize("caller", [OPERATOR, WITHIN])
def test_operators_and_calls_from_within_get_one_too(
    controller: Controller, caller: Standing
) -> None:
    assert Ownership().new_code(controller, caller, 1) is not None


@pytest.mark.parametrize("access", [AccessClass.use, AccessClass.read, AccessClass.front])
def test_nobody_else_gets_one_and_the_one_before_stays(
    controller: Controller, access: AccessClass
) -> None:
    ownership = Ownership()
    code = ownership.new_code(controller, MINE, 1)
    assert code is not None

    with pytest.raises(NotAllowedError, match=r"job 1 is of host:192\.0\.2\.7, you are cert:eve"):
        ownership.new_code(controller, Standing(OTHER.identity, access), 1)

    assert controller.belonging.takeover_code(1) == hash_of(code)


def test_another_code_makes_the_one_before_void(controller: Controller) -> None:
    ownership = Ownership()
    first = ownership.new_code(controller, MINE, 1)
    second = ownership.new_code(controller, MINE, 1)
    assert first is not None
    assert second is not None

    with pytest.raises(NotAllowedError, match="this is not the code of job 1"):
        ownership.take_over(controller, OTHER, 1, first)
    assert ownership.take_over(controller, OTHER, 1, second)


def test_a_code_is_for_one_job_and_one_use(controller: Controller) -> None:
    ownership = Ownership()
    code = ownership.new_code(controller, MINE, 1)
    assert code is not None

    with pytest.raises(NotAllowedError, match="this is not the code of job 2"):
        ownership.take_over(controller, OTHER, 2, code)
    assert ownership.take_over(controller, OTHER, 1, code)

    assert controller.belonging.principal_of(1) == "cert:eve"
    assert controller.belonging.principal_of(2) == "host:192.0.2.7"
    with pytest.raises(NotAllowedError):
        ownership.take_over(controller, MINE, 1, code)
    with pytest.raises(NotAllowedError, match="job 1 is of cert:eve"):
        ownership.new_code(controller, MINE, 1)


def test_unknown_and_ended_jobs_are_no_error(controller: Controller) -> None:
    ownership = Ownership()
    code = ownership.new_code(controller, MINE, 1)
    assert code is not None
    controller.destroy_job(None, 1, "enough")

    for job in (1, 99):
        assert ownership.new_code(controller, MINE, job) is None
        assert ownership.take_over(controller, OTHER, job, code) is False


def test_guesses_at_one_job_do_not_shut_another(controller: Controller, clock: HandClock) -> None:
    ownership = Ownership()
    codes = {job: ownership.new_code(controller, MINE, job) or "" for job in (1, 2)}
    for _ in range(MAX_TRIES):
        with pytest.raises(NotAllowedError):
            ownership.take_over(controller, OTHER, 1, "0" * 32)

    with pytest.raises(TooManyTriesError):
        ownership.take_over(controller, OTHER, 1, codes[1])
    assert ownership.take_over(controller, OTHER, 2, codes[2])
    clock.advance(SECONDS_OF_TRIES - 0.01)
    with pytest.raises(TooManyTriesError):
        ownership.take_over(controller, OTHER, 1, codes[1])
    clock.advance(0.01)
    assert ownership.take_over(controller, OTHER, 1, codes[1])
