"""The server: which commands there are, and starting and stopping as a whole.

Owns the table of commands and the order in which state, hardware and clients
come and go.  The loop is in `_wire.serving`, the life of jobs in `controller`.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from spinn_utilities.overrides import overrides

from spalloc_server import __version__
from spalloc_server._access.commands import READ_ONLY
from spalloc_server._access.policy import AccessClass
from spalloc_server._bmp import wiring
from spalloc_server._checks.values import text, whole_number
from spalloc_server._jobs import book, job_log
from spalloc_server._jobs.events import EventNumbers
from spalloc_server._jobs.stopping import Hurry, join_frames
from spalloc_server._jobs.write_ahead import WriteAhead
from spalloc_server._programs.old_names import OldNames
from spalloc_server._saved.audit_file import AuditFile
from spalloc_server._saved.disk import Disk
from spalloc_server._saved.event_log import EventLog
from spalloc_server._saved.store import Loaded, Store
from spalloc_server._wire import orders, stand_ins
from spalloc_server._wire.carrier import SECONDS_BEFORE_A_RESTART, Carrier
from spalloc_server._wire.control import control_path
from spalloc_server._wire.endpoints import Endpoint
from spalloc_server._wire.late_answers import Later
from spalloc_server._wire.messages import Row, Rows
from spalloc_server._wire.operators import Operators
from spalloc_server._wire.ownership import Ownership
from spalloc_server._wire.questions import (
    MOST_ROWS,
    Questions,
    ended_rows,
    events_asked,
    how_many,
    reported,
)
from spalloc_server._wire.revival import begin_anew, revive
from spalloc_server._wire.rows import RowCache, info_row, job_row, machine_row, state_row
from spalloc_server._wire.running import Handler
from spalloc_server._wire.serving import Server, StartError
from spalloc_server.controller import Controller

__all__ = ("Server", "SpallocServer", "main", "spalloc_command")

log = logging.getLogger(__name__)

_COMMANDS: dict[str, Handler] = {}

Command = TypeVar("Command", bound=Callable[..., Any])


def spalloc_command(method: Command) -> Command:
    """Make a method a command of the protocol, under its own name."""
    _COMMANDS[method.__name__] = method
    return method


class SpallocServer(Server):
    """A server that shares machines among users, from its construction on.

    Parameters
    ----------
    config_filename : str or Path
    cold_start : bool
        Forget the saved state, and switch off all boards that nobody owns.
    port : int
        TCP; 0 lets the kernel choose.
    durability : str or None
        "process", "always" or "none"; None leaves it to the configuration file.
    state_dir : str or Path or None
        Where the state is saved; None is beside the configuration file.
    stop_timeout : float
        Seconds that a stop waits for hardware.
    label : str
        Sets the state's files apart from those of the real server's.
    before_hardware : callable or None
        Called with the saved state (see `_jobs.book`) before any hardware is.
    disk : Disk or None
        Reads and writes the state; for tests.
    bind : sequence of Endpoint or None
        Where clients connect by TCP; None is where the configuration file says.
    more_endpoints : sequence of Endpoint
        Unix sockets and places for proxies, beside those.
    first_id : int, "clock" or None
        Id of the first job of a fresh state, see `_jobs.first_id`.
    audit_dir : str or Path or None
        Where the audit is written; None is where the state is saved.
    carrier : Carrier or None
        Keeps connections over a restart; None has a stop close them.
    listening : mapping or None
        {endpoint: socket} that a service manager opened.

    Raises
    ------
    Exception
        If the configuration cannot be loaded, the state belongs to somebody
        else, or the port is taken; nothing is left behind.
    """

    def __init__(
        self,
        config_filename: str | Path,
        cold_start: bool = False,
        port: int = 22244,
        *,
        durability: str | None = None,
        state_dir: str | Path | None = None,
        stop_timeout: float = 30.0,
        label: str = "",
        before_hardware: Callable[[book.Book], None] | None = None,
        disk: Disk | None = None,
        bind: Sequence[Endpoint] | None = None,
        more_endpoints: Sequence[Endpoint] = (),
        first_id: int | str | None = None,
        audit_dir: str | Path | None = None,
        carrier: Carrier | None = None,
        listening: Mapping[Endpoint, socket.socket] | None = None,
    ) -> None:
        config = Path(config_filename)
        self.stop_timeout = stop_timeout
        self._durability = durability
        self._old_names = OldNames(self.wake)
        self._hurry = Hurry()
        self._state_rows = RowCache(state_row)
        self._job_rows = RowCache(job_row)
        self._machine_rows = RowCache(machine_row)
        self._questions = Questions()
        # Its outcomes are saved, even if others put another in its place.
        self._recorded = Controller()
        self._stopped = False
        self._ownership = Ownership()
        directory = config.absolute().parent if state_dir is None else Path(state_dir)
        self._files = directory, config.name, label, disk
        self._store = self._make_store()
        self._event_file: EventLog | None = None
        self._events: EventNumbers | None = None
        self._first_id = first_id
        self._audit_dir = None if audit_dir is None else Path(audit_dir)
        write_ahead = WriteAhead(self._store, self._wake_from_outside)
        self._operators = Operators(
            control_path(directory, config.name, label), self.wake, write_ahead, self._obey
        )
        super().__init__(
            config_filename,
            port,
            _COMMANDS,
            READ_ONLY,
            self._recorded,
            write_ahead=write_ahead,
            bind=bind,
            more_endpoints=more_endpoints,
            carrier=carrier,
            listening=listening,
        )
        try:
            self._start(cold_start, before_hardware)
        except BaseException:
            self._undo_start()
            raise

    def _start(
        self, cold_start: bool, before_hardware: Callable[[book.Book], None] | None
    ) -> None:
        self._store.lock(_who(self.port))
        clean = self._load_state(cold_start, before_hardware)
        controller = self._controller
        controller.on_background_state_change = self.wake
        if not self.read_config_file():
            raise StartError("Config file could not be loaded.", self._why_not_loaded)
        log.info("listening on port %d", self.port)
        self._store.lock(_who(self.port))
        self._write_ahead.begin(controller, self._events, self._event_file)
        if not clean:
            controller.power_off_unowned_boards()
        self._write_ahead.commit_and_wait()
        controller.take_changes()
        self._drain_wakes()
        if self.config_needs_reloading:
            self.wake()  # a signal came since the file was read
        self._take_back_all()
        self._operators.open()
        self._server_thread.start()

    def _make_store(self) -> Store:
        directory, name, label, disk = self._files
        durability = self._durability or "process"
        store = Store(directory, name, __version__, durability, label=label, book=book, disk=disk)
        store.on_news = self.wake
        return store

    def _load_state(
        self, cold_start: bool, before_hardware: Callable[[book.Book], None] | None
    ) -> bool:
        """Make the controller from the saved state; returns whether all boards are as it says."""
        loaded = self._store.load(cold=cold_start)
        for note in loaded.notes:
            log.warning("%s", note)
        if cold_start:
            log.info("cold start: no job is taken over, boards without an owner are switched off")
        if before_hardware is not None:
            before_hardware(book.empty() if loaded.state is None else loaded.state)
        recovered = loaded.state and revive(loaded.state, self._write_ahead)
        if loaded.state is not None and recovered is None:
            self._store.reject()
        self._controller = self._recorded = recovered or begin_anew(
            loaded.next_id, self._first_id, loaded.traces, self._write_ahead
        )
        self._open_events(loaded if recovered is not None else None)
        as_saved = loaded.state is None or recovered is not None
        return loaded.clean and as_saved and not cold_start

    def _open_events(self, loaded: Loaded | None) -> None:
        """Open the events file, and find the events that it lacks of the state that goes on."""
        directory, name, label, disk = self._files
        stem = f"spalloc_audit-{label}" if label else "spalloc_audit"
        audit = AuditFile(self._audit_dir or directory, stem, disk)
        forgetting = self._old_names.forgetting(*self._files)
        file = EventLog(directory, name, label, disk, audit, forgetting=forgetting)
        self._event_file = file
        before, records = (loaded.before, loaded.records) if loaded else (None, [])
        self._events = EventNumbers(before, records, file.last)
        file.on_written = self._watchers.note_events
        file.start()

    def _undo_start(self) -> None:
        self._stopped = True
        self._stop_serving()
        self._operators.stop()
        self._controller.give_up()
        self._hurry.up()
        join_frames(self._controller.frames, 0.0, self._hurry)
        self._write_ahead.abandon()
        if self._event_file is not None:
            self._event_file.close()  # the start may have failed before it was handed on

    # --- any thread ---

    def __enter__(self) -> SpallocServer:
        """Use the server as a context that ends with it stopped."""
        return self

    def __exit__(self, *_: object) -> None:
        self.stop_and_join()

    @property
    def store(self) -> Store:
        """Where the state is saved."""
        return self._store

    @property
    def controller(self) -> Controller:
        """The jobs and machines."""
        return self._controller

    def hurry_up(self) -> None:
        """Have a stop wait for hardware no longer; safe in a signal handler."""
        self._hurry.up()

    def stop_and_join(self) -> None:
        """Stop serving, let the hardware finish, save the state; twice is harmless."""
        if self._stopped:
            return
        self._stopped = True
        self._stop_serving()
        self._operators.stop()
        recorded = self._recorded
        # Requests that are not finished in time are saved as such.
        self._write_ahead.stop_holding()
        try:
            recorded.stop()
            finished = self._join(recorded.frames)
            if not finished:
                log.warning("hardware has not finished; the next start goes on with it")
            # Unfinished requests may have been to switch off boards that nobody has, which no
            # state tells: then the next start does that again.
            self._write_ahead.close(clean=finished)
        except Exception:
            log.exception("the state was not saved; the journal counts at the next start")
            self._write_ahead.abandon()
        if self._controller is not self._recorded:
            stand_ins.stop(self._controller, self._join)
        job_log.shut_down()

    def _join(self, frames: Iterable[Any]) -> bool:
        """Wait for hardware to finish: not long if clients wait for the next start."""
        seconds = self.stop_timeout
        if self._carrier is not None and self._carrier.kept:
            seconds = min(seconds, SECONDS_BEFORE_A_RESTART)
        return join_frames(frames, seconds, self._hurry)

    # --- the loop's hooks ---

    def _wake_from_outside(self) -> None:
        """Begin a turn, unless this is called within one."""
        if not self._in_loop():
            self.wake()

    def _obey(self, order: str, uid: int) -> str:
        return orders.carry_out(self._controller, self._doorkeeper.policy, order, f"unix:{uid}")

    @overrides(Server._after_turn)
    def _after_turn(self) -> None:
        if self._operators.busy:
            self._operators.see_to()
        if self._old_names.learned:
            self._old_names.see_to(self._recorded, self._store)

    @overrides(Server._load_valid_config)
    def _load_valid_config(self, validated_config: Any) -> None:
        super()._load_valid_config(validated_config)
        with self._recorded.undisturbed:
            settings = validated_config.settings
            self._store.durability = self._durability or settings.durability or "process"
            wiring.overlap_power_on = settings.overlap_power_on
            self._recorded.takeover_grace = settings.takeover_grace
            self._recorded.set_order(settings.scheduling, settings.patience)
        self._old_names.keep(settings.keep_names_days, self._event_file)
        self._write_ahead.commit()

    # --- commands ---

    def _last_event(self) -> int:
        """Return the number of the last event."""
        return 0 if self._events is None else self._events.last

    def _answered(self, client: Any) -> None:
        """Wait until the changes of a call from within are safe; a client's answer waits so."""
        if client is None:
            self._write_ahead.commit_and_wait()

    @spalloc_command
    def version(self, client: Any) -> str:
        """Return the server's version, three integers joined by dots."""
        return __version__

    @spalloc_command
    def create_job(self, client: Any, /, *args: Any, **kwargs: Any) -> int:
        """Ask for boards, and return the job's id; see `Controller.create_job`."""
        caller, host = self._runner.caller(client), self._host(client)
        if caller.by_address:
            job_id = self._controller.create_job(host, *args, **kwargs)
        else:
            job_id = self._controller.create_job_for(caller.principal, host, *args, **kwargs)
        self._answered(client)
        return job_id

    @spalloc_command
    def job_keepalive(self, client: Any, job_id: int) -> None:
        """Begin a job's keepalive period anew."""
        job_id = whole_number("job_id", job_id)
        if self._doorkeeper.renews(client):
            self._controller.job_keepalive(self._host(client), job_id)

    @spalloc_command
    def get_job_state(self, client: Any, job_id: int) -> dict[str, Any]:
        """Return state, power, keepalive, reason, start_time and keepalivehost."""
        job_id = whole_number("job_id", job_id)
        looking = self._runner.looking(client)
        state = self._controller.get_job_state(self._host(client), job_id, **looking)
        return state_row(state) if client is None else self._state_rows.row(job_id, state)

    @spalloc_command
    def get_job_machine_info(self, client: Any, job_id: int) -> dict[str, Any]:
        """Return width, height (chips), connections, machine_name and boards."""
        info = self._controller.get_job_machine_info(
            self._host(client), whole_number("job_id", job_id), **self._runner.looking(client)
        )
        return info_row(info)

    @spalloc_command
    def power_on_job_boards(self, client: Any, job_id: int) -> None:
        """Switch a job's boards on, or off and on again."""
        self._controller.power_on_job_boards(self._host(client), whole_number("job_id", job_id))
        self._answered(client)

    @spalloc_command
    def power_off_job_boards(self, client: Any, job_id: int) -> None:
        """Switch a job's boards off."""
        self._controller.power_off_job_boards(self._host(client), whole_number("job_id", job_id))
        self._answered(client)

    @spalloc_command
    def destroy_job(self, client: Any, job_id: int, reason: str | None = None) -> None:
        """End a job; anybody may end any, unless the policy isolates jobs."""
        if reason is not None:
            reason = text("reason", reason)
        caller, host = self._runner.caller(client), self._host(client)
        job_id = whole_number("job_id", job_id)
        if caller.by_address:
            self._controller.destroy_job(host, job_id, reason)
        else:
            self._controller.destroy_job_for(caller.principal, host, job_id, reason)
        self._answered(client)

    @spalloc_command
    def get_takeover_code(self, client: Any, job_id: int) -> str | None:
        """Return a code by which another may take the caller's job over; None if unknown."""
        caller, job_id = self._runner.caller(client), whole_number("job_id", job_id)
        code = self._ownership.new_code(self._controller, caller, job_id)
        self._answered(client)
        return code

    @spalloc_command
    def take_over_job(self, client: Any, job_id: int, code: str) -> bool:
        """Make a job the caller's, by its code; False if there is no such job."""
        caller, job_id = self._runner.caller(client), whole_number("job_id", job_id)
        taken = self._ownership.take_over(self._controller, caller, job_id, text("code", code))
        self._answered(client)
        return taken

    @spalloc_command
    def operate(self, client: Any, order: dict[str, Any], reason: str | None = None) -> Any:
        """Carry out an operator's order, see `_wire.orders`; for operators alone."""
        caller = self._runner.caller(client)
        if client is not None:
            caller.demand(AccessClass.operate, "operate")
        operator = orders.Operator(caller.principal)
        desk = orders.Desk(self._controller, self._doorkeeper.policy, operator)
        data = orders.obey(desk, orders.read_order(order, reason))
        self._answered(client)
        return data

    @spalloc_command
    def notify_job(self, client: Any, job_id: int | None = None) -> None:
        """Tell this client when a job changes, or any if none is named."""
        self._watchers.watch_job(client, job_id, on=True)

    @spalloc_command
    def no_notify_job(self, client: Any, job_id: int | None = None) -> None:
        """Tell this client no more when a job changes, or any if none is named."""
        self._watchers.watch_job(client, job_id, on=False)

    @spalloc_command
    def notify_machine(self, client: Any, machine_name: str | None = None) -> None:
        """Tell this client when a machine changes, or any if none is named."""
        self._watchers.watch_machine(client, machine_name, on=True)

    @spalloc_command
    def no_notify_machine(self, client: Any, machine_name: str | None = None) -> None:
        """Tell this client no more when a machine changes, or any if none is named."""
        self._watchers.watch_machine(client, machine_name, on=False)

    @spalloc_command
    def list_events(self, client: Any, after: int, limit: int = MOST_ROWS) -> Any:
        """Return events with higher numbers than `after`, the number to go on from, and a loss."""
        assert self._event_file is not None
        later = Later(partial(self._event_file.read, *events_asked(after, limit)))
        return later.wait() if client is None else later

    @spalloc_command
    def notify_events(self, client: Any) -> None:
        """Tell this client up to which number events can be asked for."""
        self._watchers.watch_events(client, on=True)

    @spalloc_command
    def no_notify_events(self, client: Any) -> None:
        """Tell this client of events no more."""
        self._watchers.watch_events(client, on=False)

    @spalloc_command
    def list_jobs(self, client: Any) -> Rows:
        """Return all jobs that are queued or running, oldest first."""
        jobs = self._controller.list_jobs()
        return Rows(map(job_row, jobs)) if client is None else self._job_rows.rows(jobs)

    @spalloc_command
    def list_machines(self, client: Any) -> Rows:
        """Return all machines, highest priority first."""
        rows = self._controller.list_machines()
        return Rows(map(machine_row, rows)) if client is None else self._machine_rows.rows(rows)

    @spalloc_command
    def get_facility(self, client: Any) -> dict[str, Any]:
        """Return commands, message, scheduling and patience, days of names, and your access."""
        standing = self._runner.caller(client)
        return {
            "commands": sorted(self._commands),
            **self._controller.overview.facility(),
            "keep_names_days": self._old_names.days,
            "principal": standing.principal,
            "access": standing.access.name,
        }

    @spalloc_command
    def list_boards(self, client: Any, machine_name: str) -> Row | None:
        """Return every board of a machine with its state; null if there is no such machine."""
        rows = self._controller.overview.list_boards(text("machine_name", machine_name))
        if rows is None:
            self._questions.forget_machines(self._controller.machines)
            return None
        return self._questions.boards(machine_name, self._last_event(), rows)

    @spalloc_command
    def list_places(self, client: Any, machine_name: str) -> list[Any] | None:
        """Return the cabinet, frame, board and address of every board of a machine, or null."""
        return self._controller.overview.list_places(text("machine_name", machine_name))

    @spalloc_command
    def list_job_times(self, client: Any) -> list[Any]:
        """Return when each job with boards got them, and when they were first ready."""
        return self._controller.overview.list_job_times()

    @spalloc_command
    def list_queue(self, client: Any) -> Row:
        """Return for each waiting job its place in line and why it waits."""
        return self._questions.queue(self._controller.overview.list_queue())

    @spalloc_command
    def get_job_outlook(self, client: Any, job_id: int) -> dict[str, Any] | None:
        """Return one waiting job's object of ``list_queue``; null for others."""
        return self._controller.overview.get_job_outlook(whole_number("job_id", job_id))

    @spalloc_command
    def list_ended_jobs(self, client: Any, limit: int, before: int | None = None) -> Rows:
        """Return jobs that have ended, newest first."""
        limit = how_many("limit", limit)
        if before is not None:
            before = whole_number("before", before)
        return ended_rows(self._controller.overview.list_ended_jobs(limit, before))

    @spalloc_command
    def report_problem(self, client: Any, /, job_id: int, *where: Any, **keywords: Any) -> str:
        """Report a board that misbehaves, by its address or x, y, z, with a text.

        Returns the consequence in words.
        """
        job_id = whole_number("job_id", job_id)
        board, words = reported(where, keywords)
        done = self._controller.upkeep.report_problem(self._host(client), job_id, board, words)
        self._answered(client)
        return done

    @spalloc_command
    def get_board_position(
        self, client: Any, machine_name: str, x: int, y: int, z: int
    ) -> tuple[int, int, int] | None:
        """Return the (cabinet, frame, board) of the board at logical x, y, z."""
        place = _place(machine_name, x, y, z)
        return self._controller.get_board_position(machine_name, *place)

    @spalloc_command
    def get_board_at_position(
        self, client: Any, machine_name: str, x: int, y: int, z: int
    ) -> tuple[int, int, int] | None:
        """Return the logical (x, y, z) of the board at cabinet x, frame y, board z."""
        place = _place(machine_name, x, y, z)
        return self._controller.get_board_at_position(machine_name, *place)

    @spalloc_command
    def where_is(self, client: Any, /, **kwargs: Any) -> dict[str, Any] | None:
        """Find a board or chip in every way of naming it; see `Controller.where_is`."""
        return self._controller.where_is(**kwargs)


def _who(port: int) -> str:
    """Return the holder of the state, for a second server that finds it locked."""
    return f"process {os.getpid()} on {socket.gethostname()}, port {port}"


def _place(machine_name: object, x: object, y: object, z: object) -> tuple[int, int, int]:
    text("machine_name", machine_name)
    return whole_number("x", x), whole_number("y", y), whole_number("z", z)


def main(args: list[str] | None = None) -> int:
    """Run the server as a program.

    Parameters
    ----------
    args : list of str or None
        Command line arguments; None for the process's own.

    Returns
    -------
    int
        Exit status: 0 after a clean stop, 1 if the configuration or the port
        cannot be used, 2 for an unexpected failure.
    """
    from spalloc_server._programs import command_line  # noqa: PLC0415 - only where it is used

    return command_line.run(args, _make_server)


def _make_server(**options: Any) -> SpallocServer:
    """Look the class up when it is called: other programs replace it."""
    return SpallocServer(**options)
