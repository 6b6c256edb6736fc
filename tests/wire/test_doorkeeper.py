"""The doorkeeper: admits connections, and has their commands carried out as far as they may."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from spalloc_server._access.commands import ALLOWED, Effect, judge
from spalloc_server._access.identity import Identity
from spalloc_server._access.policy import AccessClass, Policy
from spalloc_server._wire.doorkeeper import Doorkeeper, NotAllowedError, Standing
from spalloc_server._wire.messages import Command

USER, READER, FRONT = "user", "reader", "front"
IDENTITIES = {
    USER: Identity(ipaddress.ip_address("192.0.2.1")),
    READER: Identity(ipaddress.ip_address("192.0.2.2")),
    FRONT: Identity(certificate="web", address=ipaddress.ip_address("192.0.2.3")),
}
RULES = [
    ("cert:web", "front"),
    ("user:ada", "use"),
    ("user:eve", "deny"),
    ("user:web", "read"),
    ("192.0.2.2", "read"),
    ("192.0.2.0/24", "use"),
]
PRINCIPALS = {1: "host:192.0.2.1", 2: "user:ada"}


@pytest.fixture
def keeper() -> Doorkeeper:
    """One that has admitted a client of each kind, and isolates jobs."""
    keeper = Doorkeeper(Policy(RULES, isolation="jobs"), PRINCIPALS.get)
    for client, identity in IDENTITIES.items():
        assert keeper.admit(client, identity)
    return keeper


def run(keeper: Doorkeeper, client: Any, name: str, *args: Any, **kwargs: Any) -> Any:
    """Return what a command's function was given, and how the keeper saw its client then."""

    def handler(*args: Any, **kwargs: Any) -> Any:
        acting = keeper.acts_as(client)
        return args, kwargs, acting.principal, keeper.renews(client)

    job_id = args[0] if args else None
    return keeper.run(client, Command(name, args, kwargs), job_id, handler)


def test_only_a_policy_closes_the_door() -> None:
    assert Doorkeeper(Policy(), PRINCIPALS.get).open
    assert not Doorkeeper(Policy(isolation="jobs"), PRINCIPALS.get).open
    assert not Doorkeeper(Policy([("0.0.0.0/0", "use")]), PRINCIPALS.get).open
    keeper = Doorkeeper(Policy([]), PRINCIPALS.get)
    keeper.change_policy(Policy())
    assert keeper.open


def test_a_client_that_was_never_judged_may_do_nothing_under_a_policy(
    keeper: Doorkeeper,
) -> None:
    open_door = Doorkeeper(Policy(), PRINCIPALS.get)

    assert open_door.standing("unseen") == Standing(Identity(), AccessClass.use)
    assert keeper.standing("unseen") == Standing(Identity(), AccessClass.deny)
    assert keeper.standing(None) == Standing(Identity(), AccessClass.use)
    with pytest.raises(NotAllowedError, match="version needs the right to read"):
        run(keeper, "unseen", "version")
    with pytest.raises(NotAllowedError):
        run(keeper, "unseen", "destroy_job", 1)


def test_a_denied_connection_is_counted_and_not_remembered(
    keeper: Doorkeeper, caplog: pytest.LogCaptureFixture
) -> None:
    stranger = Identity(ipaddress.ip_address("198.51.100.1"), certificate="x\ny")

    assert not keeper.admit("stranger", stranger)
    assert not keeper.admit("stranger", stranger)

    assert keeper.denials.count == 2
    assert keeper.standing("stranger").access is AccessClass.deny
    assert [record.getMessage() for record in caplog.records] == [
        "denied cert:x\\ny (no rule admits it); 1 from 198.51.100.0/24 since this was last told"
    ]


def test_a_reload_finds_those_to_close_and_the_rights_of_the_others(keeper: Doorkeeper) -> None:
    denied = keeper.change_policy(Policy([("192.0.2.1", "read"), ("cert:*", "use")]))

    assert denied == [READER]
    assert keeper.standing(USER).access is AccessClass.read
    assert keeper.standing(FRONT).access is AccessClass.use
    keeper.forget(USER)
    keeper.forget(USER)
    assert keeper.standing(USER).access is AccessClass.deny


def test_the_findings_on_a_policy_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    keeper = Doorkeeper(Policy(), PRINCIPALS.get)
    denying = Policy([("192.0.2.1", "use"), ("192.0.2.1", "read")])
    findings = list(denying.findings())
    assert findings

    keeper.change_policy(denying)
    told = [record.getMessage() for record in caplog.records]
    keeper.change_policy(denying)

    assert told == findings
    assert [record.getMessage() for record in caplog.records] == told


@pytest.mark.parametrize(
    ("identity", "by_address"),
    [
        (Identity(), True),
        (Identity(ipaddress.ip_address("192.0.2.1")), True),
        (Identity(ipaddress.ip_address("192.0.2.1"), certificate="host:192.0.2.1"), False),
        (Identity(uid=0), False),
        (Identity(user="local"), False),
    ],
)
def test_an_address_alone_tells_no_principal_of_one_with_a_name(
    identity: Identity, by_address: bool
) -> None:
    standing = Standing(identity, AccessClass.use)

    assert standing.principal == identity.principal
    assert standing.by_address is by_address


def test_a_command_of_a_user_is_carried_out_for_himself(keeper: Doorkeeper) -> None:
    given = run(keeper, USER, "destroy_job", 1, reason="x")

    assert given == ((1,), {"reason": "x"}, "host:192.0.2.1", True)
    assert keeper.renews(USER)
    assert keeper.renews(None)


def test_the_kinds_of_no(keeper: Doorkeeper) -> None:
    with pytest.raises(NotAllowedError, match=r"this job is of user:ada, you are host:192\.0"):
        run(keeper, USER, "destroy_job", 2)
    with pytest.raises(NotAllowedError, match="create_job needs the right to use"):
        run(keeper, READER, "create_job")
    assert run(keeper, READER, "job_keepalive", 1) is None
    # A question is answered without renewing, of readers and of strangers alike.
    assert run(keeper, READER, "get_job_state", 1)[3] is False
    assert run(keeper, USER, "get_job_state", 2)[3] is False
    assert run(keeper, USER, "get_job_state", 1)[3] is True
    assert run(keeper, USER, "get_job_state", 99)[3] is True


def test_a_failed_command_leaves_nobody_acting(keeper: Doorkeeper) -> None:
    def fail() -> None:
        assert keeper.acts_as(FRONT).principal == "user:ada"
        # Another client, and calls from within, act for themselves meanwhile.
        assert keeper.acts_as(USER).principal == "host:192.0.2.1"
        assert keeper.acts_as(None).principal == "local"
        assert keeper.renews(USER)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        keeper.run(FRONT, Command("version", (), {"as_user": "ada"}), None, fail)

    assert keeper.acts_as(FRONT).principal == "cert:web"


def test_without_isolation_jobs_are_everybodys(keeper: Doorkeeper) -> None:
    keeper.change_policy(Policy(RULES))
    standing = keeper.standing(USER)

    assert keeper.judge(standing, "destroy_job", 2) == ALLOWED
    assert keeper.judge(standing, "get_job_state", 2) == ALLOWED
    assert keeper.judge(keeper.standing(READER), "get_job_state", 2) == judge(
        "get_job_state", AccessClass.read
    )
    assert keeper.judge(standing, "operate", None).effect is Effect.refused


# --- fronts ---


def test_a_front_speaks_for_the_users_it_names(keeper: Doorkeeper) -> None:
    given = run(keeper, FRONT, "destroy_job", 2, as_user="ada", from_host="198.51.100.9")

    assert given == ((2,), {}, "user:ada", True)
    with pytest.raises(NotAllowedError, match=r"is of host:192\.0\.2\.1, you are user:ada"):
        run(keeper, FRONT, "destroy_job", 1, as_user="ada", from_host="192.0.2.1")
    assert run(keeper, FRONT, "list_jobs", as_user="ada", from_host=None)[2] == "user:ada"
    assert run(keeper, FRONT, "list_jobs")[2] == "cert:web"
    with pytest.raises(NotAllowedError, match="destroy_job needs the right to use"):
        run(keeper, FRONT, "destroy_job", 2)


@pytest.mark.parametrize("user", ["eve", "mallory"])
def test_a_front_does_not_speak_for_those_whom_the_policy_denies(
    keeper: Doorkeeper, user: str
) -> None:
    with pytest.raises(NotAllowedError, match=f"user:{user} is not admitted by the server's"):
        run(keeper, FRONT, "version", as_user=user)


def test_no_user_is_a_front() -> None:
    """Not even one whom a front names, from the front's own address."""
    keeper = Doorkeeper(Policy([("cert:*", "front"), ("user:*", "use")]), PRINCIPALS.get)
    keeper.admit(FRONT, IDENTITIES[FRONT])

    assert run(keeper, FRONT, "version", as_user="web")[2] == "user:web"
    assert (
        keeper.judge(Standing(Identity(user="web"), AccessClass.use), "create_job", None)
        == ALLOWED
    )


@pytest.mark.parametrize("client", [USER, READER, None])
@pytest.mark.parametrize("words", [{"as_user": "ada"}, {"from_host": "192.0.2.1"}])
def test_nobody_else_speaks_for_users(
    keeper: Doorkeeper, client: Any, words: dict[str, str]
) -> None:
    with pytest.raises(NotAllowedError, match=f"{next(iter(words))} is for fronts alone"):
        run(keeper, client, "version", **words)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ({"as_user": ""}, "as_user is ''"),
        ({"as_user": "a" * 257}, "expected a name of 1 to 256 printable"),
        ({"as_user": 5}, "as_user is 5"),
        ({"as_user": None}, "as_user is None"),
        ({"from_host": "192.0.2.1"}, "as_user is None"),
        ({"as_user": "ada", "from_host": "host"}, "from_host is 'host': expected an IP address"),
        ({"as_user": "ada", "from_host": ""}, "from_host is ''"),
        ({"as_user": "ada", "from_host": 7}, "from_host is 7"),
        ({"as_user": "a\ud800"}, "as_user is"),
        ({"as_user": "a\nb"}, "as_user is"),
    ],
)
def test_words_of_bad_form_are_named(keeper: Doorkeeper, words: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match="expected") as caught:
        run(keeper, FRONT, "version", **words)

    assert text in str(caught.value)
    assert keeper.acts_as(FRONT).principal == "cert:web"


def test_a_name_of_the_greatest_length_is_taken() -> None:
    keeper = Doorkeeper(Policy([("cert:*", "front"), ("user:*", "use")]), PRINCIPALS.get)
    keeper.admit(FRONT, IDENTITIES[FRONT])

    assert run(keeper, FRONT, "version", as_user="a" * 256)[2] == "user:" + "a" * 256


# --- what outlives the process ---


def test_identities_are_plain_for_the_next_process() -> None:
    keeper = Doorkeeper(Policy(), PRINCIPALS.get)
    keeper.admit(FRONT, IDENTITIES[FRONT])
    keeper.admit(USER, IDENTITIES[USER])
    keeper.admit("local", Identity(uid=0, unix_user="root"))

    assert keeper.plain_identity(FRONT) == {"address": "192.0.2.3", "certificate": "web"}
    assert keeper.plain_identity(USER) == {"address": "192.0.2.1", "certificate": None}
    assert keeper.plain_identity("local") is None
    assert keeper.plain_identity("unseen") is None


def test_the_findings_of_a_policy_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    keeper = Doorkeeper(Policy(), PRINCIPALS.get)

    for _ in range(3):
        assert keeper.change_policy(Policy()) == []

    assert len(caplog.messages) == 1
    keeper.change_policy(Policy([("192.0.2.0/24", "use"), ("192.0.2.1", "read")]))
    assert caplog.messages[1:] == [
        "access rule 2 (192.0.2.1) has no effect: rule 1 (192.0.2.0/24) comes first"
    ]
    assert caplog.records[1].levelname == "WARNING"
