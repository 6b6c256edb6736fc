"""The states a job can be in, as numbers that travel over the network."""

from enum import IntEnum


class JobState(IntEnum):
    r"""The state of a job.

    ::

        queued -> power <-> ready
           \\        |        |
            `------> destroyed -> unknown (forgotten)
    """

    unknown = 0
    """The server knows no such job: it never existed or ended long ago."""

    queued = 1
    """Waiting for boards."""

    power = 2
    """Boards are being switched on or off."""

    ready = 3
    """The boards are there, as they were asked for."""

    destroyed = 4
    """The job is over; its ``reason`` says why."""
