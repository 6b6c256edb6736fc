"""The judgement of every command: allowed, without effect, or refused.

Owns the table of commands by class, and the rule on other people's jobs.  Must not
know how a command is carried out.
"""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from spalloc_server._access.policy import AccessClass

#: The least class for each command.  Commands that are missing here are refused to all but
#: operators, so that a new command is not open by oversight; a test walks the server's commands.
LEAST: dict[str, AccessClass] = {
    **dict.fromkeys(
        (
            "version",
            "get_facility",
            "get_job_state",
            "get_job_machine_info",
            "get_job_outlook",
            "get_board_position",
            "get_board_at_position",
            "where_is",
            "list_jobs",
            "list_machines",
            "list_boards",
            "list_places",
            "list_job_times",
            "list_queue",
            "list_ended_jobs",
            "list_events",
            "notify_job",
            "no_notify_job",
            "notify_machine",
            "no_notify_machine",
            "notify_events",
            "no_notify_events",
        ),
        AccessClass.read,
    ),
    **dict.fromkeys(
        (
            "create_job",
            "job_keepalive",
            "power_on_job_boards",
            "power_off_job_boards",
            "destroy_job",
            "report_problem",
            "get_takeover_code",
            "take_over_job",
        ),
        AccessClass.use,
    ),
    "operate": AccessClass.operate,
}

#: Commands that begin a job's keepalive period anew.
RENEWING = frozenset(
    {
        "create_job",
        "job_keepalive",
        "get_job_state",
        "get_job_machine_info",
        "power_on_job_boards",
        "power_off_job_boards",
    }
)

#: Commands that change nothing, so that nobody misses one that is not carried out.
READ_ONLY = frozenset(
    {
        "version",
        "list_jobs",
        "list_machines",
        "get_board_position",
        "get_board_at_position",
        "where_is",
        "get_facility",
        "list_boards",
        "list_places",
        "list_job_times",
        "list_queue",
        "get_job_outlook",
        "list_ended_jobs",
        "list_events",
    }
)

#: Commands that published clients send in the background or in loops: an exception would end a
#: user's script, so that they answer as if all were well.
_NEVER_REFUSED = frozenset({"job_keepalive"})

#: Commands that only a job's own principal may give if jobs are isolated.
_OWN_JOBS_ALONE = frozenset({"destroy_job", "power_on_job_boards", "power_off_job_boards"})

#: Principals that change with the network a laptop is in, so that anybody's sign of life counts.
_WEAK = "host:"

#: Principal of calls from within, and of jobs for which none is known.
_LOCAL = "local"


class Effect(Enum):
    """The effect that a command has."""

    #: It is carried out.
    full = "yes"
    #: It answers, and begins no keepalive period.
    without_renewal = "answers, renews nothing"
    #: It answers null and does nothing.
    none = "answers, does nothing"
    #: It gets an exception.
    refused = "exception"


class Judgement(NamedTuple):
    """The effect of a command; the reason is for the caller, if it is refused."""

    effect: Effect
    reason: str = ""


ALLOWED = Judgement(Effect.full)


def judge(name: str, access: AccessClass) -> Judgement:
    """Judge a command by the caller's class alone.

    Parameters
    ----------
    name : str
        Of the command.
    access : AccessClass
        Of the caller.

    Returns
    -------
    Judgement
    """
    if access is AccessClass.front:
        access = AccessClass.read  # by itself; commands for users are judged as theirs
    if access >= LEAST.get(name, AccessClass.operate):
        if access is AccessClass.read and name in RENEWING:
            return Judgement(Effect.without_renewal)
        return ALLOWED
    if access is AccessClass.read and name in _NEVER_REFUSED:
        return Judgement(Effect.none)
    wanted = LEAST.get(name, AccessClass.operate).name
    return Judgement(
        Effect.refused,
        f"{name} needs the right to {wanted}; your address or name has the right to {access.name}",
    )


def judge_job(
    name: str, access: AccessClass, principal: str, owner_principal: str | None, isolated: bool
) -> Judgement:
    """Judge a command that names a job, by the job's principal.

    Parameters
    ----------
    name : str
        Of the command.
    access : AccessClass
        Of the caller.
    principal : str
        Of the caller.
    owner_principal : str or None
        Of the job; None for an unknown job, which nobody has to protect; ``local`` for one
        of an older state that did not know.
    isolated : bool
        Whether the policy protects jobs from each other.

    Returns
    -------
    Judgement
        `judge`'s, or a stricter one.
    """
    found = judge(name, access)
    own = owner_principal in (None, principal) or access is AccessClass.operate
    if found.effect is not Effect.full or own or not isolated or principal == _LOCAL:
        return found
    if name in _OWN_JOBS_ALONE:
        origin = "an earlier version" if owner_principal == _LOCAL else owner_principal
        return Judgement(
            Effect.refused,
            f"this job is of {origin}, you are {principal}; ask its owner, or an operator",
        )
    if name in RENEWING and not str(owner_principal).startswith((_WEAK, _LOCAL)):
        return Judgement(Effect.without_renewal)
    return found


def table() -> list[tuple[str, ...]]:
    """Rows of the manual's table: a command, then its effect for each class below `front`."""
    classes = [each for each in AccessClass if each is not AccessClass.front]
    return [
        (name, *(_shown(name, access) for access in classes)) for name in sorted(LEAST)
    ]


def _shown(name: str, access: AccessClass) -> str:
    return "closed" if access is AccessClass.deny else judge(name, access).effect.value
