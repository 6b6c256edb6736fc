"""Orders of operators, on a controller with frames that answer at once."""

from __future__ import annotations

import json
from typing import Any

import pytest

from spalloc_server._access.policy import Policy, Rule
from spalloc_server._wire import orders
from spalloc_server._wire.orders import Desk, Operator, obey
from spalloc_server.controller import Controller, JobState
from tests.support.facility import machine
from tests.support.fake_frame import Rack
from tests.support.outcomes import hear_outcomes

ME = Operator("unix:0", "ada")


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch) -> Controller:
    Rack(monkeypatch).at_once = True
    controller = Controller()
    controller.machines = {
        "m": machine("m", dead_boards={(0, 0, 2)}),
        "n": machine("n", width=1, height=1),
    }
    return controller


def do(controller: Controller, word: str, policy: Policy | None = None, **order: Any) -> Any:
    return obey(Desk(controller, policy or Policy(), ME), {"do": word, **order})


def out(controller: Controller) -> list[tuple[str, Any]]:
    return [(row.machine, row.board) for row in controller.overview.out_of_service()]


@pytest.mark.parametrize(
    ("texts", "count"),
    [
        (["m:0,0,0"], 1),
        (["m:c0f0"], 5),
        (["m:c0f1b0-2", "m:c0f1b2-3"], 4),
        (["m:0,0,0-1,0,0"], 2),
        (["m"], 11),
        (["m", "n"], 14),
    ],
)
def test_boards_frames_ranges_and_machines_are_taken_out_and_put_back(
    controller: Controller, texts: list[str], count: int
) -> None:
    done = do(controller, "out", boards=texts, reason="  new   fan ")

    assert len(done["boards"]) == len(out(controller)) == count
    assert done["dead"] == done["jobs"] == []
    assert {row.what for row in controller.overview.out_of_service()} == {"new fan"}
    assert len(do(controller, "back", boards=texts)["boards"]) == count
    assert out(controller) == []


def test_all_boards_are_put_back_at_once(controller: Controller) -> None:
    do(controller, "add", boards=["m", "n"], reason="x")

    assert len(do(controller, "release", all=True)["boards"]) == 14
    assert out(controller) == []
    with pytest.raises(ValueError, match="not out of service: nothing is"):
        do(controller, "back", all=True)


def test_a_dead_board_is_named_and_left_alone(controller: Controller) -> None:
    done = do(controller, "out", boards=["m:0,0,2", "m:0,0,1"], reason="x")

    assert done["dead"] == [{"machine": "m", "board": (0, 0, 2)}]
    assert out(controller) == [("m", (0, 0, 1))]


def test_jobs_that_still_have_boards_are_told(controller: Controller) -> None:
    job = controller.create_job(None, 0, 0, 1, owner="me", machine="m")

    assert do(controller, "drain", boards=["m"], reason="x")["jobs"] == [job]


@pytest.mark.parametrize(
    ("order", "text"),
    [
        ({"do": "shutdown"}, "no order 'shutdown'; there are access, back, end"),
        ({"do": 3}, "no order 3"),
        ({"do": "x" * 1_000}, f"no order '{'x' * 199}...; there are"),
        ({"do": "out", "boards": ["m"], "why": "x"}, "out: no key 'why'"),
        ({"do": "out"}, "which boards?"),
        ({"do": "out", "boards": []}, "which boards?"),
        ({"do": "out", "boards": [3]}, "which boards?"),
        ({"do": "out", "boards": ["m:0,0,1"]}, "reason is needed"),
        ({"do": "out", "boards": ["x:0,0,1"]}, "no machine 'x'; there are m, n"),
        ({"do": "out", "boards": ["m:9,9,0"], "reason": "x"}, "machine 'm' has no such board"),
        ({"do": "out", "boards": ["m:0,0,1"], "reason": "x" * 501}, "at most 500 characters"),
        ({"do": "back", "boards": ["m:0,0,1"]}, "not out of service: board (0, 0, 1) of"),
        ({"do": "back", "boards": ["m"]}, "m: not out of service: 11 boards"),
        ({"do": "test", "boards": ["m"]}, "m: not out of service: 11 boards"),
        ({"do": "job", "id": "1"}, "id is '1': expected the number of a job"),
        ({"do": "job", "id": 99}, "there is no job 99 now"),
        ({"do": "end", "id": 1, "if_owner": "you"}, "job 1 is of 'me', not of 'you'"),
        ({"do": "end", "id": 1, "reason": " "}, "reason must be text"),
        ({"do": "give", "id": 1}, "principal is needed"),
        ({"do": "give", "id": 1, "principal": "ada"}, "'ada' is no principal: expected host:"),
        ({"do": "give", "id": 1, "principal": "unix:ada"}, "'unix:ada' is no principal"),
        ({"do": "message", "text": 5}, "text must be text, or null for none"),
        ({"do": "message", "accepting": "no"}, "accepting is 'no': expected true or false"),
        ({"do": "access"}, "whose access?"),
        ({"do": "access", "address": "here"}, "address is 'here': expected an IP address"),
        ({"do": "access", "user": 5}, "user is 5: expected a name"),
    ],
)
def test_an_order_that_cannot_be_carried_out_says_why_and_changes_nothing(
    controller: Controller, order: dict[str, Any], text: str
) -> None:
    controller.create_job("192.0.2.7", owner="me", machine="n")
    before = controller.__getstate__()

    with pytest.raises(ValueError) as refused:
        obey(Desk(controller, Policy(), ME), order)

    assert text in str(refused.value)
    after = controller.__getstate__()
    assert {**after, "told_at": None} == {**before, "told_at": None}


def test_a_frame_with_nothing_but_dead_boards_is_told(controller: Controller) -> None:
    controller.machines = {"d": machine("d", 1, 1, dead_boards={(0, 0, z) for z in range(3)})}

    with pytest.raises(ValueError, match="all its boards are dead in the configuration"):
        do(controller, "out", boards=["d"], reason="x")


def test_jobs_are_listed_with_their_principals(controller: Controller) -> None:
    first = controller.create_job("192.0.2.7", owner="me", machine="n")
    controller.create_job_for("cert:ada", None, 1, owner="you", machine="m")

    listed = do(controller, "jobs")["jobs"]

    assert [(row["id"], row["principal"], row["state"]) for row in listed] == [
        (first, "host:192.0.2.7", "ready"),
        (first + 1, "cert:ada", "ready"),
    ]
    assert do(controller, "job", id=first) == listed[0]


def test_jobs_that_wait_tell_why(controller: Controller) -> None:
    used = controller.create_job(None, 1, 1, owner="ada", machine="n")
    here = controller.create_job(None, 1, owner="ada", machine="n")
    anywhere = controller.create_job(None, 1, 1, owner="ada", tags=["default"])
    controller.upkeep.hold_boards("n", [(0, 0, 0)], "fan")

    rows = {row["id"]: row for row in do(controller, "jobs")["jobs"]}
    assert rows[used]["why"] is None
    assert rows[here]["why"] == "jobs have 3 of 3 boards, 0 are free"
    assert do(controller, "job", id=here)["why"] == rows[here]["why"]
    assert rows[anywhere]["why"] is None


def test_the_reasons_of_several_machines_are_told_by_name() -> None:
    machines = [{"name": "m", "why": "full"}, {"name": "n", "why": "away"}]

    assert orders._why(machines) == "m: full; n: away"


def test_a_job_is_ended_with_the_operators_name_and_words(controller: Controller) -> None:
    job = controller.create_job(None, owner="me", machine="n")

    done = do(controller, "end", id=job, if_owner="me", reason="fire drill")

    words = "Ended by an operator, unix:0 (ada): fire drill"
    assert done == {"id": job, "owner": "me", "reason": words}
    state = controller.get_job_state(None, job)
    assert (state.state, state.reason) == (JobState.destroyed, words)


def test_a_job_is_given_to_another_principal(controller: Controller) -> None:
    job = controller.create_job("192.0.2.7", owner="me", machine="n")
    controller.belonging.set_takeover_code(job, "hash")

    done = do(controller, "give", id=job, principal="cert:ada")

    assert done == {"id": job, "before": "host:192.0.2.7", "principal": "cert:ada"}
    assert controller.belonging.principal_of(job) == "cert:ada"
    assert controller.belonging.takeover_code(job) is None
    assert do(controller, "give", id=job, principal="host:2001:db8::5")["principal"] == (
        "host:2001:db8::/64"
    )


def test_new_jobs_are_refused_with_the_operators_message(controller: Controller) -> None:
    do(controller, "message", text="Back at noon", accepting=False)

    with pytest.raises(ValueError, match="no new jobs are accepted now: Back at noon"):
        controller.create_job(None, owner="me")

    again = Controller.restore(controller.__getstate__())
    assert (again.notice.text, again.notice.accepting) == ("Back at noon", False)
    again.stop()
    do(controller, "message")
    assert controller.create_job(None, owner="me", machine="n") == 1


def test_the_rule_that_counts_is_told() -> None:
    policy = Policy([Rule("cert:*", "use"), Rule("192.0.2.0/24", "read")], isolation="jobs")
    controller = Controller()

    told = do(controller, "access", policy, address="192.0.2.7")
    denied = do(controller, "access", policy, address="198.51.100.1")
    named = do(controller, "access", policy, address="198.51.100.1", certificate="ada")

    assert (told["access"], told["rule"], told["who"]) == ("read", 2, "192.0.2.0/24")
    assert (denied["access"], denied["rule"], denied["rules"]) == ("deny", None, 2)
    assert (named["principal"], named["access"]) == ("cert:ada", "use")
    assert do(controller, "access", Policy(), user="x")["rules"] is None


def test_a_board_is_tested_when_an_operator_says_so(controller: Controller) -> None:
    do(controller, "out", boards=["m:0,0,0"], reason="x")
    assert controller.next_health_check() is None

    do(controller, "test", boards=["m:0,0,0"])

    assert controller.next_health_check() is not None


def test_orders_that_change_something_are_recorded(controller: Controller) -> None:
    outcomes: list[Any] = []
    hear_outcomes(controller, outcomes.append)

    do(controller, "list")
    do(controller, "jobs")
    do(controller, "out", boards=["m:0,0,0"], reason="x")

    (entry,) = [outcome[1] for outcome in outcomes if outcome[0] == "order"]
    assert (entry["order"], entry["by"], entry["told"]) == ("out", "unix:0", "ada")
    assert (entry["boards"], entry["reason"]) == (["m:0,0,0"], "x")


def test_lines_are_answered_whatever_they_are(controller: Controller) -> None:
    def answer(line: str) -> Any:
        return json.loads(orders.carry_out(controller, Policy(), line, "unix:7"))

    assert answer('{"do": "list", "told": "ada"}') == {
        "ok": True,
        "data": {"out": [], "waiting": []},
    }
    assert answer('{"do": "list", "told": 5}')["ok"]
    assert answer("[")["ok"] is False
    assert answer("[]")["text"] == "an order is a JSON object"


@pytest.mark.parametrize(
    ("name", "words"),
    [("m:9,9,0", "no such board"), ("m:c7f7b1", "no such board"), ("m:c7f7", "no such boards"),
     ("m:9,9,0-9,9,2", "no such boards")],
)  # fmt: skip
def test_one_board_or_several_are_missing(controller: Controller, name: str, words: str) -> None:
    with pytest.raises(ValueError, match=rf"^{name}: machine 'm' has {words}$"):
        do(controller, "out", boards=[name], reason="x")


@pytest.mark.parametrize(
    ("word", "order", "changes"),
    [
        ("list", {}, False), ("find", {"boards": ["m:0,0,0"]}, False), ("jobs", {}, False),
        ("job", {"id": 1}, False), ("access", {"address": "10.0.0.1"}, False),
        ("out", {"boards": ["m:0,0,0"], "reason": "fan"}, True),
        ("message", {"text": "hi", "accepting": True}, True),
    ],
)  # fmt: skip
def test_orders_that_change_something_are_noted(
    controller: Controller, word: str, order: dict[str, Any], changes: bool
) -> None:
    controller.create_job("10.0.0.1", owner="me")
    outcomes: list[Any] = []
    hear_outcomes(controller, outcomes.append)

    do(controller, word, **order)

    noted = [outcome[1]["order"] for outcome in outcomes if outcome[0] == "order"]
    assert noted == ([word] if changes else [])
