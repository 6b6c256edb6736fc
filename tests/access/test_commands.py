"""Which commands a class of callers may give, and to which jobs."""

import pytest

from spalloc_server import server
from spalloc_server._access.commands import LEAST, RENEWING, Effect, judge, judge_job, table
from spalloc_server._access.policy import AccessClass


def test_every_command_of_the_server_is_in_the_table() -> None:
    assert set(server._COMMANDS) <= set(LEAST)


def test_a_reader_sees_everything_and_renews_nothing() -> None:
    for name in RENEWING & {name for name in LEAST if LEAST[name] is AccessClass.read}:
        assert judge(name, AccessClass.read).effect is Effect.without_renewal
    assert judge("list_jobs", AccessClass.read).effect is Effect.full
    assert judge("notify_job", AccessClass.read).effect is Effect.full


def test_a_readers_keepalive_does_nothing_and_is_no_exception() -> None:
    assert judge("job_keepalive", AccessClass.read).effect is Effect.none


def test_everything_else_is_refused_with_the_right_that_is_missing() -> None:
    judgement = judge("create_job", AccessClass.read)

    assert judgement.effect is Effect.refused
    assert judgement.reason == (
        "create_job needs the right to use; your address or name has the right to read"
    )


@pytest.mark.parametrize("name", ["operate", "a_command_that_nobody_classed"])
def test_only_operators_may_give_orders_and_unclassed_commands(name: str) -> None:
    assert judge(name, AccessClass.use).effect is Effect.refused
    assert judge(name, AccessClass.operate).effect is Effect.full


def test_a_front_by_itself_is_a_reader() -> None:
    assert judge("create_job", AccessClass.front).effect is Effect.refused
    assert judge("list_jobs", AccessClass.front).effect is Effect.full


@pytest.mark.parametrize("name", ["destroy_job", "power_on_job_boards", "power_off_job_boards"])
def test_isolated_jobs_are_their_principals_and_operators(name: str) -> None:
    def effect(access: AccessClass, principal: str, isolated: bool = True) -> Effect:
        return judge_job(name, access, principal, "cert:ada", isolated).effect

    assert effect(AccessClass.use, "cert:ada") is Effect.full
    assert effect(AccessClass.operate, "unix:0") is Effect.full
    assert effect(AccessClass.use, "local") is Effect.full
    assert effect(AccessClass.use, "cert:bob", isolated=False) is Effect.full
    assert effect(AccessClass.use, "cert:bob") is Effect.refused
    assert judge_job(name, AccessClass.use, "cert:bob", "cert:ada", isolated=True).reason == (
        "this job is of cert:ada, you are cert:bob; ask its owner, or an operator"
    )


def test_a_job_that_nobody_is_known_for_is_the_operators() -> None:
    judgement = judge_job("destroy_job", AccessClass.use, "host:192.0.2.7", "local", isolated=True)

    assert judgement.effect is Effect.refused
    assert "of an earlier version" in judgement.reason


def test_unknown_jobs_are_never_refused() -> None:
    for name in ("destroy_job", "power_on_job_boards", "job_keepalive"):
        found = judge_job(name, AccessClass.use, "host:192.0.2.7", None, isolated=True)
        assert found.effect is Effect.full


@pytest.mark.parametrize("name", ["job_keepalive", "get_job_state", "get_job_machine_info"])
def test_strangers_renew_jobs_of_hosts_alone(name: str) -> None:
    def effect(owner: str) -> Effect:
        return judge_job(name, AccessClass.use, "host:192.0.2.7", owner, isolated=True).effect

    assert effect("host:192.0.2.99") is Effect.full
    assert effect("cert:ada") is Effect.without_renewal
    assert effect("user:ada") is Effect.without_renewal
    assert effect("unix:1017") is Effect.without_renewal


def test_no_get_and_no_keepalive_is_ever_refused() -> None:
    for name in LEAST:
        if (name.startswith("get_") and name != "get_takeover_code") or name == "job_keepalive":
            for access in (AccessClass.read, AccessClass.use):
                found = judge_job(name, access, "cert:bob", "cert:ada", isolated=True)
                assert found.effect is not Effect.refused, name


def test_the_table_has_a_row_for_each_command() -> None:
    rows = table()

    assert [row[0] for row in rows] == sorted(LEAST)
    assert ("job_keepalive", "closed", "answers, does nothing", "yes", "yes") in rows
