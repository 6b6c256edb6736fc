"""The carrying out of commands: one at a time, each with its reply.

Owns the time that commands take, the count of their errors, and the line in the log for a refused
one.  Times and counts are written by one thread and read by others without a lock: a reader may
see a turn's numbers half written, never a wrong one.  Must not know how commands come in, nor how
replies go out.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol

from spalloc_server import _clock
from spalloc_server._wire import messages
from spalloc_server._wire.call_form import misfit
from spalloc_server._wire.doorkeeper import FRONT_KEYWORDS, Doorkeeper, Standing
from spalloc_server._wire.late_answers import Later
from spalloc_server._wire.messages import MalformedError
from spalloc_server._wire.refusals import Refusal, Refusals

#: Commands with a number as the first argument that is no job's id.
_NOT_OF_A_JOB = frozenset({"create_job"})

#: Upper bounds of the classes, seconds; one more class is open above.
BOUNDS = (0.00001, 0.00003, 0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_FIRST = BOUNDS[0]

Handler = Callable[..., object]


class Owner(Protocol):
    """The object with the commands as its methods."""

    _commands: Mapping[str, Handler]

    def _called(self, client: Any, /) -> str:
        """Return the name of a client in the log."""

    def _await_answer(self, client: Any, later: Later, /) -> None:
        """Have another thread work out an answer."""


class Runner:
    """Carries out commands.  Loop thread, and the threads of calls from within.

    Parameters
    ----------
    names : iterable of str
        Of all commands, to be counted from the beginning.
    doorkeeper : Doorkeeper
        Judges each command, unless every client may give every command.
    refusals : Refusals
        Logs the commands that are answered with an exception.

    Attributes
    ----------
    times : {command: Tally}
        Seconds in each command.
    errors : dict
        {command: number of those that were answered with an exception}.
    ended : float
        Monotonic time at which the last command was done.
    on_command : callable or None
        ``on_command(client, name)`` is called before each command.
    """

    def __init__(self, names: Iterable[str], doorkeeper: Doorkeeper, refusals: Refusals) -> None:
        self._doorkeeper = doorkeeper
        self._refusals = refusals
        names = list(names)
        self.times = defaultdict(Tally, {name: Tally() for name in names})
        self.errors = Counter(dict.fromkeys(names, 0))
        self.ended = float("-inf")
        self.on_command: Callable[[Any, str], object] | None = None

    def caller(self, client: Any) -> Standing:
        """Return the identity and class for which a client's present command is given."""
        if self._doorkeeper.open:  # then nobody gives commands for others
            standing = self._doorkeeper.standings.get(client)
            if standing is not None:
                return standing
        return self._doorkeeper.acts_as(client)

    def looking(self, client: Any) -> dict[str, bool]:
        """Return the keyword that has a question renew nothing, if the client may not renew."""
        if self._doorkeeper.open or self._doorkeeper.renews(client):
            return {}
        return {"renew": False}

    def run(self, owner: Owner, client: Any, command: messages.Command) -> bytes:
        """Carry out one command.

        Returns
        -------
        bytes
            Its reply; empty if another thread works it out.

        Raises
        ------
        MalformedError
            If there is no such command.
        """
        name, args, kwargs = command
        handler = owner._commands.get(name)
        if handler is None:
            raise MalformedError(f"unknown command {name!r}")
        if self.on_command is not None:
            self.on_command(client, name)
        began = _clock.monotonic()
        try:
            # The usual cases apart, as empty keywords take their time as well.
            if not self._doorkeeper.open:
                value = self._doorkeeper.run(
                    client, command, job_spoken_of(command), partial(handler, owner, client)
                )
            elif kwargs:
                value = handler(owner, client, *args, **kwargs)
            else:
                value = handler(owner, client, *args)
            if type(value) is Later:
                owner._await_answer(client, value)
                return b""
            return messages.returned(value)
        except BaseException as error:  # noqa: BLE001 - told to the client that gave the command
            e = self._in_words(command, handler, error)
            self.errors[name] += 1
            event = f"{owner._called(client)}: {name} refused"
            self._refusals.note(client, Refusal(event, str(e), job_spoken_of(command)), e)
            return messages.raised(e)
        finally:
            self.ended = ended = _clock.monotonic()
            self.times[name].note(ended - began)

    def _in_words(
        self, command: messages.Command, handler: Handler, error: BaseException
    ) -> BaseException:
        """Return an error as its client can understand it: Python's words name our methods."""
        if type(error) is not TypeError:
            return error
        name, args, kwargs = command
        if not self._doorkeeper.open:  # which took a front's own keywords
            kwargs = {key: kwargs[key] for key in kwargs if key not in FRONT_KEYWORDS}
        return misfit(name, handler, args, kwargs) or error


def job_spoken_of(command: messages.Command) -> int | None:
    """Return the id of the job that a command is about, for the log."""
    told = command.kwargs.get("job_id", command.args[0] if command.args else None)
    about_a_job = type(told) is int and command.name not in _NOT_OF_A_JOB
    return told if about_a_job else None


class Tally:
    """How long something took, each time: counts by class of duration.

    Attributes
    ----------
    counts : list of int
        One for each of `BOUNDS`, and one for all above; not cumulative.
    total : float
        Seconds, of all together.
    """

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def note(self, seconds: float) -> None:
        """Count one duration."""
        # Most commands fall into the first class.
        self.counts[0 if seconds <= _FIRST else bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds
