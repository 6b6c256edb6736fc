"""The server's loop: clients in, commands run, replies and notifications out.

Owns the client sockets, when what is read and sent, and the reading of the
configuration.  What the bytes say is in `_framing`, which commands there are in
`server`, and what happens to jobs in `controller`.
"""

from __future__ import annotations

import errno
import logging
import math
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from spinn_utilities.overrides import overrides

from spalloc_server import _clock, _framing
from spalloc_server._configuration_file import (
    ConfigurationError,
    LoadedConfiguration,
    run_configuration,
)
from spalloc_server._framing import MalformedError
from spalloc_server._job_log import escaped
from spalloc_server._lingering import Lingering
from spalloc_server._outgoing import MAX_PER_CLIENT, Outgoing
from spalloc_server._poller import POLLIN, POLLOUT
from spalloc_server._port_holder import holder_of
from spalloc_server._tally import Tally
from spalloc_server.configuration_reloader import ConfigurationReloader
from spalloc_server.controller import Controller
from spalloc_server.polling_server_core import Channel, PollingServerCore

log = logging.getLogger(__name__)

#: Most bytes taken from one client in one turn; the sockets' buffers hold no more.
_MAX_READ = 256 << 10
_READ = 64 << 10
#: Connections accepted in one turn. # arbitrary
_MAX_ACCEPTS = 256
#: The kernel doubles it for its own needs.
_RECEIVE_BUFFER = _MAX_READ // 2
#: Idle seconds before TCP asks whether a peer is still there, between questions, and how many.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))

#: How long the loop rests after a turn that failed. # arbitrary
_SECONDS_AFTER_FAILURE = 0.05
#: Commands whose first argument, a number, is no job's id.
_NOT_OF_A_JOB = frozenset({"create_job"})

Watches = dict[Any, "set[Any] | None"]
Handler = Callable[..., object]


class StartError(Exception):
    """The server cannot be started; the text says why, for the administrator."""


class Server(PollingServerCore, ConfigurationReloader):
    """Sockets, framing and configuration; everything runs in the server thread.

    Parameters
    ----------
    config_filename : str or Path
    port : int
        TCP; 0 lets the kernel choose (see `port`).
    commands : mapping
        {name: ``function(server, client, *args, **kwargs)``}.
    read_only : collection of str
        Names of the commands that change nothing.
    controller : Controller
        Not yet configured.

    Attributes
    ----------
    _client_buffers : dict
        {client: bytes read that are not yet a whole line, or not yet taken}.
    _client_job_watches, _client_machine_watches : dict
        {client: set of ids or names, or None for all}.
    longest_wait : float
        Seconds that the loop may sleep at most, whatever the configuration says,
        so that `last_turn` tells whether it still turns.
    last_turn : float
        Monotonic time at which a turn last came to its end; `turns` counts them.
    turn_times, command_times : Tally, {command: Tally}
        Seconds from something to read to all answers sent, and in each command.
    command_errors : dict
        {command: how many were answered with an exception}.
    commands_run, reloads, failed_reloads, connections : int
        Counts; `reloads` has the failed ones in it.
    """

    def __init__(
        self,
        config_filename: str | Path,
        port: int,
        commands: Mapping[str, Handler],
        read_only: Collection[str],
        controller: Controller,
    ) -> None:
        PollingServerCore.__init__(self)
        ConfigurationReloader.__init__(self, config_filename, self.wake)
        self._commands = commands
        self._read_only = read_only
        self._controller = controller
        self._port = port
        self._ip: str | None = None
        self._server_socket: socket.socket | None = None
        self._timeout_check_interval = 5.0
        self._client_buffers: dict[Any, bytes] = {}
        self._client_job_watches: Watches = {}
        self._client_machine_watches: Watches = {}
        self._client_names: dict[Any, str] = {}
        self._outgoing = Outgoing()
        self._lingering = Lingering()
        # What is waited for of clients that are not just waited for to send.
        self._interests: dict[Any, int] = {}
        # Clients that sent an end of file and have answers coming.
        self._ending: set[Any] = set()
        # Clients whose output has drained, with whole lines waiting to be taken.
        self._resumable: set[Any] = set()
        # Changes that were taken before later ones could mix with them.
        self._taken: list[tuple[set[int], set[str]]] = []
        # Time of a deadline that is judged when all sockets have been read once more.
        self._judging: float | None = None
        # When the controller had next something to do, as of the beginning of this turn.
        self._due: float | None = None
        self._stop = False
        self.longest_wait = math.inf
        self.last_turn = _clock.monotonic()
        self.turns = self.connections = self.commands_run = 0
        self.reloads = self.failed_reloads = 0
        self.turn_times = Tally()
        self.command_times = defaultdict(Tally, {name: Tally() for name in commands})
        self.command_errors = Counter(dict.fromkeys(commands, 0))
        self._server_thread = threading.Thread(target=self._run, name="Server Thread")

    # --- any thread ---

    @property
    def port(self) -> int:
        """TCP port that is listened on."""
        if self._server_socket is None:
            return self._port
        port: int = self._server_socket.getsockname()[1]
        return port

    def is_alive(self) -> bool:
        """Whether the server thread runs."""
        return self._server_thread.is_alive()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the server thread to end; seconds, None for as long as it takes."""
        self._server_thread.join(timeout)

    # --- loop thread only ---

    def _run(self) -> None:
        while not self._stop:
            try:
                self._turn()
            except BaseException:
                # SystemExit too: whatever it is, the thread must go on.
                log.exception("a turn of the loop failed; going on")
                # What fails before it waits would fail again at once, for ever.
                time.sleep(_SECONDS_AFTER_FAILURE)

    def _turn(self) -> None:
        """Wait, read, run, write what must last, answer, tend to time, tell."""
        judged = self._judging
        began: float | None = None
        for channel in self.ready_channels(self._seconds_to_wait()):
            if began is None:
                began = _clock.monotonic()
            if channel is self._server_socket:
                self._accept_all(self._server_socket)
            else:
                self._guarded(channel, self._handle_commands)
        for client in list(self._resumable) if self._resumable else ():
            self._guarded(client, self._resume)
        self._answer_all()
        now = _clock.monotonic()
        if began is not None:
            self.turn_times.note(now - began)
        if judged is not None:
            # Every socket that was readable when this was noted has been read since.
            self._judging = None
            self._controller.destroy_timed_out_jobs(judged)
        if self._due is not None and self._due <= now:
            self._tend(now)
        if self._lingering:
            self._lingering.tend()
        self._send_change_notifications()
        self._after_turn()
        self.turns += 1
        self.last_turn = now

    def _tend(self, now: float) -> None:
        """Do what is due."""
        deadline = self._controller.next_deadline()
        if deadline is not None and deadline < now:
            self._judging = now
        rested = self._controller.next_rested()
        if rested is not None and rested <= now:
            self._controller.check_free()
        check = self._controller.next_health_check()
        if check is not None and check <= now:
            self._controller.check_health(now)

    def _after_turn(self) -> None:
        """Do what must not delay anybody's answers."""
        if self.config_needs_reloading:
            if not self.read_config_file():
                self.failed_reloads += 1
            self.reloads += 1
            self.wake()

    def _seconds_to_wait(self) -> float:
        """How long the loop may sleep if no channel is ready."""
        now = _clock.monotonic()
        self._due = self._controller.next_due(now)
        if self._judging is not None or self._resumable:
            return 0.0
        wait = min(self._timeout_check_interval, self.longest_wait)
        if self._lingering:
            wait = min(wait, Lingering.tick)
        if self._due is not None and self._due - now < wait:
            wait = max(0.0, self._due - now)
        return wait

    def _guarded(self, client: Any, step: Callable[[Any], None]) -> None:
        """Do something for one client; whatever goes wrong harms no other."""
        try:
            with self._controller.undisturbed:
                step(client)
                self._take_changes()
        except BaseException:
            log.exception("client %s: dropped, since serving it failed", self._name(client))
            self._disconnect_client(client)

    def _take_changes(self) -> None:
        """Put changes aside, so that later ones of the same jobs are told separately."""
        changes = self._controller.take_changes()
        if changes is None:
            return
        if self._taken and not changes[0] & self._taken[-1][0]:
            self._taken[-1][0].update(changes[0])
            self._taken[-1][1].update(changes[1])
        else:
            self._taken.append(changes)

    # --- accepting and reading ---

    def _accept_all(self, listening: socket.socket) -> None:
        for _ in range(_MAX_ACCEPTS):
            client = self._accept(listening)
            if client is None:
                return
            # What it sent while the loop was busy counts before deadlines are judged.
            if self._welcome(client) and self._in_loop():
                self._guarded(client, self._handle_commands)

    def _welcome(self, client: socket.socket) -> bool:
        """Begin to serve a client; False if it has gone already."""
        try:
            self._name(client)  # None if it was reset, which leaves its commands readable
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEPALIVE:
                client.setsockopt(socket.IPPROTO_TCP, option, value)
            self._client_buffers[client] = b""
            self.register_channel(client)
        except OSError as e:
            log.info("a client was gone before it could be served: %s", e)
            self._disconnect_client(client)
            return False
        self.connections += 1
        return True

    def _handle_commands(self, client: Any) -> None:
        """Read what a client has sent, and run its commands."""
        received, gone = self._receive(client)
        if not received and gone is None and self._is_paused(client):
            # Not waited for, so this can only be a hang-up.
            self._outgoing.forget(client)
            received, _ = self._receive(client)
            gone = OSError("connection lost")
        whole = self._client_buffers.get(client, b"") + received
        try:
            rest = self._run_lines(client, whole, answered=not isinstance(gone, OSError))
        except MalformedError as e:
            log.warning("client %s disconnected: %s", self._name(client), escaped(e)[:300])
            self._answer(client)
            self._disconnect_client(client)
            return
        if isinstance(gone, OSError):
            self._disconnect_client(client)
            return
        if client in self._client_buffers or rest:
            self._client_buffers[client] = rest
        if gone is not None:
            self._ending.add(client)
        if threading.get_ident() != self._server_thread.ident:
            self._answer(client)
        elif gone is not None and client not in self._outgoing and b"\n" not in rest:
            self._disconnect_client(client)

    def _receive(self, client: Any) -> tuple[bytes, OSError | EOFError | None]:
        """Read what has arrived; with it, how the client went away if it did."""
        received = b""
        if self._is_paused(client):
            return received, None
        while len(received) < _MAX_READ:
            try:
                piece = client.recv(_READ)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as e:
                return received, e
            if not piece:
                return received, EOFError("end of file")
            received += piece
            if len(piece) < _READ:
                break
        return received, None

    def _is_paused(self, client: Any) -> bool:
        """Whether nothing is read of a client now: it is slow to read, or has sent its last."""
        return client in self._ending or self._outgoing.paused(client)

    def _run_lines(self, client: Any, data: bytes, answered: bool = True) -> bytes:
        """Run the commands in `data`, as far as the client reads its answers.

        For a client that has gone and is not `answered` all are carried out, save
        those that would only have told it something.

        Returns
        -------
        bytes
            What was not taken.

        Raises
        ------
        MalformedError
            If something is no command; those before it have been run.
        """
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            if answered and self._outgoing.paused(client):
                return data[start:]
            line = data[start:end]
            start = end + 1
            if len(line) > _framing.MAX_LINE:
                raise MalformedError(f"a line longer than {_framing.MAX_LINE} bytes")
            if not line or line.isspace():
                continue
            if answered:
                # It goes out when what the turn changed is written.
                self._outgoing.add(client, self._run_command(client, line))
            elif _framing.decode(line).name not in self._read_only:
                self._run_command(client, line)
        rest = data[start:]
        if len(rest) > _framing.MAX_LINE:
            raise MalformedError(f"a line longer than {_framing.MAX_LINE} bytes")
        return rest

    def _run_command(self, client: Any, line: bytes) -> bytes:
        """Run one command, and return its reply."""
        command = _framing.decode(line)
        handler = self._commands.get(command.name)
        if handler is None:
            raise MalformedError(f"unknown command {command.name!r}")
        self.commands_run += 1
        began = _clock.monotonic()
        try:
            return _framing.returned(handler(self, client, *command.args, **command.kwargs))
        except BaseException as e:  # noqa: BLE001 - told to the client, whose command it was
            self.command_errors[command.name] += 1
            self._log_refusal(client, command, e)
            return _framing.raised(e)
        finally:
            self.command_times[command.name].note(_clock.monotonic() - began)

    def _log_refusal(self, client: Any, command: _framing.Command, error: BaseException) -> None:
        known = isinstance(error, (TypeError, ValueError))
        log.log(
            logging.WARNING if known else logging.ERROR,
            "client %s: %s refused: %s",
            self._name(client),
            command.name,
            escaped(error)[:1000],
            exc_info=None if known else error,
            extra={"job_id": _job_spoken_of(command)},
        )

    def _resume(self, client: Any) -> None:
        """Take up the commands of a client that has read its answers."""
        self._resumable.discard(client)
        data = self._client_buffers.get(client, b"")
        try:
            self._client_buffers[client] = self._run_lines(client, data)
        except MalformedError as e:
            log.warning("client %s disconnected: %s", self._name(client), escaped(e)[:300])
            self._answer(client)
            self._disconnect_client(client)
            return
        if client in self._ending and client not in self._outgoing:
            self._disconnect_client(client)  # only blank lines were left

    # --- replies ---

    def _answer_all(self) -> None:
        """Write what must last, then send the replies of this turn."""
        if not self._outgoing:
            return
        self._commit()
        self._before_replies()
        for client in self._outgoing:
            self._send_waiting(client)
        if self._outgoing:
            self._drop_fullest()

    def _answer(self, client: Any) -> None:
        """Send one client its replies now."""
        self._commit()
        self._send_waiting(client)

    def _commit(self) -> None:
        """Write what must last; nothing here, see `SpallocServer`."""

    def _before_replies(self) -> None:
        """Be overridden by what must happen between writing and answering."""

    def _send_waiting(self, client: Any) -> None:
        """Send what the kernel takes; drop a client that is gone or never reads."""
        try:
            done = self._outgoing.send(client)
        except OSError as e:
            log.info("client %s gone: %s", self._name(client), e)
            self._outgoing.forget(client)
            self._finish_commands(client)
            self._disconnect_client(client)
            return
        if done and client not in self._ending and client not in self._interests:
            if self._client_buffers.get(client) and self._has_lines(client):
                self._resumable.add(client)
        elif done and client in self._ending and not self._has_lines(client):
            self._disconnect_client(client)
        elif not done and self._outgoing.size(client) > MAX_PER_CLIENT:
            log.warning("client %s dropped: it does not read", self._name(client))
            self._disconnect_client(client)
        else:
            self._watch(client)

    def _has_lines(self, client: Any) -> bool:
        return b"\n" in self._client_buffers.get(client, b"")

    def _finish_commands(self, client: Any) -> None:
        """Carry out what a client had sent before it went away."""
        received, _ = self._receive(client)
        data = self._client_buffers.pop(client, b"") + received
        try:
            self._run_lines(client, data, answered=False)
        except MalformedError as e:
            log.info("client %s ended with something malformed: %s", self._name(client), e)

    def _drop_fullest(self) -> None:
        while (client := self._outgoing.fullest_beyond_total()) is not None:
            log.warning("client %s dropped: too much output waits", self._name(client))
            self._disconnect_client(client)

    def _watch(self, client: Any) -> None:
        """Wait for what a client can do for us: send commands, read answers, or both."""
        slowed = self._outgoing.paused(client)
        events = POLLOUT if client in self._outgoing else 0
        if not slowed and client not in self._ending:
            events |= POLLIN
        if not slowed and self._has_lines(client):
            self._resumable.add(client)
        if events != self._interests.get(client, POLLIN):
            descriptor = client.fileno()
            if self._fdmap.get(descriptor) is client:
                self._poll.modify(descriptor, events)
                if events == POLLIN:
                    del self._interests[client]
                else:
                    self._interests[client] = events

    @overrides(PollingServerCore._channel_writable)
    def _channel_writable(self, channel: Channel) -> None:
        self._guarded(channel, self._send_waiting)

    def _msg_client(self, client: Any, message: object) -> None:
        """Send one message behind what already waits for a client, before returning."""
        self._commit()
        self._transmit(client, _framing.message(message))

    def _transmit(self, client: Any, line: bytes) -> None:
        """Send a line, or the part of it that the kernel takes; the rest waits."""
        try:
            if self._outgoing.send_new(client, line):
                return
        except OSError as e:
            log.info("client %s gone: %s", self._name(client), e)
            self._outgoing.forget(client)
            self._disconnect_client(client)
            return
        if self._outgoing.size(client) > MAX_PER_CLIENT:
            log.warning("client %s dropped: it does not read", self._name(client))
            self._disconnect_client(client)
        else:
            self._watch(client)

    # --- notifications ---

    def _send_change_notifications(self) -> None:
        """Tell those who watch what changed since this was last called."""
        jobs, machines = self._controller.changed_jobs, self._controller.changed_machines
        if not jobs and not machines and not self._taken:
            return
        taken, self._taken = [*self._taken, (jobs, machines)], []
        if self._client_job_watches or self._client_machine_watches:
            self._commit()  # after taking, so that whatever is told is written
        for jobs, machines in taken:
            self._notify(self._client_job_watches, "jobs_changed", jobs)
            self._notify(self._client_machine_watches, "machines_changed", machines)
        self._drop_fullest()

    def _notify(self, watches: Watches, kind: str, changed: Collection[Any]) -> None:
        if not changed or not watches:
            return
        everything = _framing.changed(kind, sorted(changed))
        for client, watched in list(watches.items()):
            line = everything
            if watched is not None:
                if watched.isdisjoint(changed):
                    continue
                line = _framing.changed(kind, sorted(watched.intersection(changed)))
            try:
                self._transmit(client, line)
            except Exception:
                log.exception("client %s: dropped, since telling it failed", self._name(client))
                self._disconnect_client(client)

    # --- clients ---

    def _name(self, client: Any) -> str | None:
        """IP address of a client; None for a call from within, or if it has none any more."""
        name = self._client_names.get(client)
        if name is None and client is not None:
            try:
                name = self._name_client(client)
            except Exception as e:  # noqa: BLE001 - stand-ins need not have an address
                log.debug("a client has no address: %s", e)
                return None
        return name

    def _name_client(self, client: Any) -> str:
        name: str = client.getpeername()[0]
        if isinstance(client, socket.socket):
            self._client_names[client] = name
        return name

    def _disconnect_client(self, client: Any) -> None:
        """Forget a client and close its connection; never raises."""
        try:
            self.unregister_channel(client)
        except Exception:
            log.exception("a client could not be unregistered")
        for table in (
            self._client_buffers,
            self._client_job_watches,
            self._client_machine_watches,
            self._client_names,
            self._interests,
        ):
            table.pop(client, None)
        self._outgoing.forget(client)
        self._ending.discard(client)
        self._resumable.discard(client)
        try:
            if isinstance(client, socket.socket):
                self._lingering.add(client)
            else:
                client.close()
        except Exception:
            log.exception("a client's connection could not be closed")

    def _in_loop(self) -> bool:
        return threading.current_thread() is self._server_thread

    # --- configuration, any thread ---

    @overrides(ConfigurationReloader._parse_config)
    def _parse_config(self, config_file_contents: str) -> LoadedConfiguration:
        return run_configuration(config_file_contents, self.configuration_file)

    @overrides(ConfigurationReloader._validate_config)
    def _validate_config(self, parsed_config: Any) -> Any:
        return parsed_config

    @overrides(ConfigurationReloader._load_valid_config)
    def _load_valid_config(self, validated_config: Any) -> None:
        configuration = validated_config.configuration
        before = self._ip
        try:
            self._listen(configuration.ip)
        except OSError as e:
            raise self._not_listening(configuration.ip, e) from e
        try:
            self._controller.machines = {m.name: m for m in configuration.machines}
        except BaseException:
            if before is not None:
                self._listen(before)
            raise
        self._controller.max_retired_jobs = configuration.max_retired_jobs
        self._controller.seconds_before_free = configuration.seconds_before_free
        self._timeout_check_interval = configuration.timeout_check_interval
        self.wake()

    def _listen(self, ip: str) -> None:
        """Listen on an address; if it cannot be had, as before."""
        if ip == self._ip:
            return
        old, port = self._server_socket, self.port
        try:
            new = self._open_server_socket(ip, port)
        except OSError:
            if old is None:
                raise
            # The old address may be in the way of the new one.
            self._stop_listening(old)
            try:
                new = self._open_server_socket(ip, port)
            except OSError:
                self._server_socket = self._open_server_socket(self._ip or "", port)
                raise
        else:
            if old is not None:
                self._stop_listening(old)
        new.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        self._server_socket, self._ip = new, ip

    def _not_listening(self, ip: str, error: OSError) -> ConfigurationError:
        """Return an address that cannot be had as words, with who has it if that is known."""
        holder = holder_of(self._port) if error.errno == errno.EADDRINUSE else None
        text = f"cannot listen on {ip or 'any address'}, port {self._port}: {error.strerror}"
        return ConfigurationError(
            str(self.configuration_file), None, text + (f" by {holder}" if holder else "")
        )

    def _stop_listening(self, listening: socket.socket) -> None:
        """Take in those who have connected, whom closing would reset, and close."""
        self._accept_all(listening)
        self.unregister_channel(listening)
        listening.close()

    # --- the end ---

    def _stop_serving(self) -> None:
        """End the loop's thread, and let every client see a clean end of file."""
        self._stop = True
        self.wake()
        if self._server_thread.ident is not None:
            self._server_thread.join()
        for client in list(self._client_buffers):
            self._disconnect_client(client)
        self._lingering.close()
        self.stop_listening_to_sighup()
        self.close_polling()


def _job_spoken_of(command: _framing.Command) -> int | None:
    """Id of the job that a command is about, for the log."""
    told = command.kwargs.get("job_id", command.args[0] if command.args else None)
    about_a_job = type(told) is int and command.name not in _NOT_OF_A_JOB
    return told if about_a_job else None
