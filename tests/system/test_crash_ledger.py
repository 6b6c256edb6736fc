"""The checker of the crash tests finds what it is there to find."""

from typing import Any

import pytest

from tests.support.crash_ledger import Ledger


class _Says:
    """A restarted server that has these jobs."""

    def __init__(self, *jobs: dict[str, Any]) -> None:
        self._jobs = jobs

    def call(self, name: str, *args: Any) -> Any:
        return list(self._jobs) if name == "list_jobs" else None


def _job(job_id: int, owner: str, *boards: list[int]) -> dict[str, Any]:
    return {
        "job_id": job_id,
        "owner": owner,
        "allocated_machine_name": "m" if boards else None,
        "boards": list(boards) or None,
    }


def _ledger() -> Ledger:
    """A ledger with job 1 answered, with board (0, 0, 0)."""
    ledger = Ledger()
    ledger.created(ledger.new_owner(), 1)
    ledger.told_boards(1, {"machine_name": "m", "boards": [[0, 0, 0]]})
    return ledger


def test_what_was_answered_and_is_there_is_fine() -> None:
    _ledger().settle(_Says(_job(1, "owner-1", [0, 0, 0])))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "jobs",
    [
        pytest.param([], id="lost"),
        pytest.param([_job(1, "somebody", [0, 0, 0])], id="another's"),
        pytest.param([_job(1, "owner-1", [0, 0, 1])], id="moved"),
        pytest.param(
            [_job(1, "owner-1", [0, 0, 0]), _job(2, "owner-2", [0, 0, 0])], id="two owners"
        ),
        pytest.param([_job(1, "owner-1", [0, 0, 0]), _job(2, "ghost")], id="not asked for"),
    ],
)
def test_a_server_that_forgot_is_found_out(jobs: list[dict[str, Any]]) -> None:
    ledger = _ledger()
    ledger.unanswered_creates.add("owner-2")

    with pytest.raises(AssertionError):
        ledger.settle(_Says(*jobs))  # type: ignore[arg-type]


def test_a_job_that_comes_back_is_found_out() -> None:
    ledger = _ledger()
    ledger.destroying(1)
    ledger.destroyed(1)

    with pytest.raises(AssertionError):
        ledger.settle(_Says(_job(1, "owner-1")))  # type: ignore[arg-type]


def test_an_id_given_twice_is_found_out() -> None:
    ledger = _ledger()

    with pytest.raises(AssertionError):
        ledger.created(ledger.new_owner(), 1)


def test_the_unanswered_is_settled_by_what_the_server_says() -> None:
    ledger = _ledger()
    ledger.destroying(1)
    owner = ledger.new_owner()

    ledger.settle(_Says(_job(2, owner)))  # type: ignore[arg-type]

    assert ledger.alive == {2: owner}
    assert ledger.ended == {1}
