"""A command's reply, its time, its count and its line in the log."""

from __future__ import annotations

import json
import logging
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

import pytest

from spalloc_server import _clock
from spalloc_server._access.identity import Identity
from spalloc_server._access.policy import Policy, Rule
from spalloc_server._access.takeover import TooManyTriesError
from spalloc_server._wire.doorkeeper import Doorkeeper
from spalloc_server._wire.late_answers import Later
from spalloc_server._wire.messages import Command, MalformedError
from spalloc_server._wire.refusals import Refusals
from spalloc_server._wire.running import BOUNDS, Handler, Runner, Tally, job_spoken_of

LOG = logging.getLogger("test")


class Owner:
    """Has three commands."""

    def __init__(self) -> None:
        self._commands: Mapping[str, Handler] = {
            "add": lambda _, client, x, y=1: [client, x + y],
            "fail": self._fail,
            "later": lambda *_: Later(lambda take: take(b"5")),
        }
        self.awaited: list[Any] = []

    @staticmethod
    def _fail(_owner: object, _client: object, error: BaseException) -> None:
        raise error

    def _called(self, client: Any, /) -> str:
        return f"client {client}"

    def _await_answer(self, client: Any, later: Later, /) -> None:
        self.awaited.append((client, later.wait()))


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def runner(owner: Owner) -> Runner:
    doorkeeper = Doorkeeper(Policy(), lambda _: None)
    return Runner(owner._commands, doorkeeper, Refusals(LOG))


def test_arguments_are_handed_on_and_the_value_comes_back(owner: Owner, runner: Runner) -> None:
    assert json.loads(runner.run(owner, "me", Command("add", (2,), {}))) == {"return": ["me", 3]}
    assert json.loads(runner.run(owner, "me", Command("add", (2,), {"y": 5}))) == {
        "return": ["me", 7]
    }


def test_a_command_is_given_for_its_client_or_for_the_user_of_a_front(owner: Owner) -> None:
    ada, web = Identity(uid=1), Identity(certificate="web")
    doorkeeper = Doorkeeper(Policy(), lambda _: None)
    runner = Runner(owner._commands, doorkeeper, Refusals(LOG))
    owner._commands = {"version": lambda _, client: runner.caller(client).principal}

    doorkeeper.admit("ada", ada)
    doorkeeper.admit("web", web)
    assert json.loads(runner.run(owner, "ada", Command("version", (), {}))) == {"return": "unix:1"}
    assert runner.caller("unseen").principal == runner.caller(None).principal == "local"
    doorkeeper.change_policy(Policy([("cert:web", "front"), ("user:*", "use")]))
    told = runner.run(owner, "web", Command("version", (), {"as_user": "eve"}))

    assert json.loads(told) == {"return": "user:eve"}
    assert runner.caller("web").principal == "cert:web"


def test_an_unknown_command_is_malformed(owner: Owner, runner: Runner) -> None:
    with pytest.raises(MalformedError, match="unknown command 'fly'"):
        runner.run(owner, "me", Command("fly", (), {}))


@pytest.mark.parametrize(
    ("error", "level"),
    [(ValueError("no"), "WARNING"), (TypeError("no"), "WARNING"), (KeyError("no"), "ERROR")],
)
def test_an_exception_is_answered_counted_and_logged(
    owner: Owner,
    runner: Runner,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    level: str,
) -> None:
    reply = runner.run(owner, "me", Command("fail", (error,), {}))

    assert json.loads(reply) == {"exception": str(error)}
    assert dict(runner.errors) == {"add": 0, "fail": 1, "later": 0}
    (record,) = caplog.records
    assert (record.levelname, record.getMessage()) == (
        level, f"client me: fail refused: {error!s}",
    )  # fmt: skip


def test_each_command_s_time_is_counted(
    owner: Owner, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter([10.0, 10.5, 20.0, 20.25])
    monkeypatch.setattr(_clock, "monotonic", lambda: next(now))

    runner.run(owner, "me", Command("add", (1,), {}))
    runner.run(owner, "me", Command("add", (1,), {}))

    assert runner.times["add"].total == 0.75
    assert sum(runner.times["add"].counts) == 2
    assert runner.ended == 20.25


def test_an_answer_of_another_thread_is_no_reply_yet(owner: Owner, runner: Runner) -> None:
    assert runner.run(owner, "me", Command("later", (), {})) == b""

    assert owner.awaited == [("me", 5)]


def test_who_asks_is_told_before(owner: Owner, runner: Runner) -> None:
    told: list[tuple[Any, str]] = []
    runner.on_command = lambda client, name: told.append((client, name))

    runner.run(owner, "me", Command("add", (1,), {}))
    with pytest.raises(MalformedError):
        runner.run(owner, "me", Command("fly", (), {}))

    assert told == [("me", "add")]


@pytest.mark.parametrize(
    ("command", "job_id"),
    [
        (Command("get_job_state", (3,), {}), 3),
        (Command("get_job_state", (), {"job_id": 4}), 4),
        (Command("create_job", (3,), {}), None),
        (Command("get_job_state", ("3",), {}), None),
        (Command("get_job_state", (True,), {}), None),
        (Command("version", (), {}), None),
    ],
)
def test_the_job_that_a_command_speaks_of(command: Command, job_id: int | None) -> None:
    assert job_spoken_of(command) == job_id


def test_a_call_that_does_not_fit_is_refused_in_words_without_our_methods_names(
    owner: Owner, runner: Runner
) -> None:
    reply = json.loads(runner.run(owner, "me", Command("add", (2,), {"z": 5})))

    assert reply == {"exception": "add has no argument 'z'; its arguments are x, y=1"}


def test_a_fronts_own_keywords_are_none_that_the_command_lacks(owner: Owner) -> None:
    owner._commands = {"destroy_job": lambda _, client, job_id: None}
    policy = Policy(access=[Rule("unix:*", "front"), Rule("user:*", "use")])
    doorkeeper = Doorkeeper(policy, lambda _: None)
    runner = Runner(owner._commands, doorkeeper, Refusals(LOG))
    doorkeeper.admit("me", Identity(uid=7))

    reply = json.loads(runner.run(owner, "me", Command("destroy_job", (), {"as_user": "ann"})))

    assert reply == {"exception": "destroy_job was not given job_id; its arguments are job_id"}


def test_too_many_wrong_codes_are_the_clients_mistake_and_log_no_traceback(
    owner: Owner, runner: Runner, caplog: pytest.LogCaptureFixture
) -> None:
    runner.run(owner, "me", Command("fail", (TooManyTriesError(),), {}))

    [record] = caplog.records
    assert (record.levelname, record.exc_info) == ("WARNING", None)


@pytest.mark.parametrize("bound", BOUNDS)
@pytest.mark.parametrize("factor", [0.99, 1.0, 1.01])
def test_each_duration_counts_in_the_class_that_ends_with_it_or_above(
    bound: float, factor: float
) -> None:
    tally = Tally()

    tally.note(bound * factor)

    assert tally.counts.index(1) == bisect_left(BOUNDS, bound * factor)
    assert sum(tally.counts) == 1


def test_durations_add_up() -> None:
    tally = Tally()
    for seconds in (0.0, 0.25, 100.0):
        tally.note(seconds)

    assert tally.total == 100.25
    assert (tally.counts[0], tally.counts[-1], sum(tally.counts)) == (1, 1, 3)
