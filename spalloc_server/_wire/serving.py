"""The server's loop: the order of a turn, and for how long it may sleep.

Owns the loop's thread, the listening sockets and the reading of the configuration.
Clients are in `_wire.clients`, the commands in `server`, and the life of jobs in `controller`.
"""

from __future__ import annotations

import logging
import math
import socket
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, TypeGuard

from spinn_utilities.overrides import overrides

from spalloc_server import _clock
from spalloc_server._access.identity import Identity, parse_address
from spalloc_server._access.policy import Policy
from spalloc_server._configuration_file import (
    ConfigurationError,
    LoadedConfiguration,
    run_configuration,
)
from spalloc_server._jobs.write_ahead import WriteAhead
from spalloc_server._wire.accepting import Acceptor
from spalloc_server._wire.backlog import SECONDS_OF_SLICES
from spalloc_server._wire.carrier import Carrier, Returned
from spalloc_server._wire.clients import Clients
from spalloc_server._wire.endpoints import Endpoint, Kind, tcp_endpoints
from spalloc_server._wire.lingering import Lingering
from spalloc_server._wire.listening import ListenError, Listening
from spalloc_server._wire.peer import MAX_READ
from spalloc_server._wire.running import Handler, Tally
from spalloc_server._wire.visitors import Visitors, identity_by_address
from spalloc_server.configuration_reloader import ConfigurationReloader
from spalloc_server.controller import Controller
from spalloc_server.polling_server_core import BACKLOG, Channel

log = logging.getLogger(__name__)

#: Connections accepted in one turn. # arbitrary
_MAX_ACCEPTS = 256
#: The kernel doubles it for its own needs.
_RECEIVE_BUFFER = MAX_READ // 2
#: Seconds that a stop waits for the service manager to take the last connections. # arbitrary
_SECONDS_TO_TELL_THE_STORE = 0.5
#: How long the loop rests after a turn that failed. # arbitrary
_SECONDS_AFTER_FAILURE = 0.05


class StartError(Exception):
    """The server cannot be started; the text says why, for the administrator.

    Parameters
    ----------
    text : str
    detail : str
        More, where the log has it already.
    """

    def __init__(self, text: str, detail: str = "") -> None:
        super().__init__(text)
        self.detail = detail


class Server(Clients, ConfigurationReloader):
    """Clients and configuration, served in turns by a thread, the server thread.

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
    write_ahead : WriteAhead
        It writes the changes before anybody is told of them.
    bind : sequence of Endpoint or None
        Where clients connect; None is where the configuration says.
    more_endpoints : sequence of Endpoint
        Unix sockets and places for proxies, beside those.
    carrier : Carrier or None
        Keeps connections over a restart; without one each client sees an end of file.
    listening : mapping or None
        {endpoint: socket} that a service manager opened: in the place of the configuration's
        addresses, but not of `bind`.

    Attributes
    ----------
    longest_wait : float
        Seconds that the loop may sleep at most, beside the configuration's limit,
        so that `last_turn` tells whether it still turns.
    last_turn : float
        Monotonic time at which a turn last came to its end; `turns` counts them.
    turn_times : Tally
        Seconds from something to read to all answers sent.
    reloads, failed_reloads : int
        Counts; `reloads` has the failed ones in it.
    ended_by_fault : bool
        Whether the loop has ended although nobody stopped it.
    unlogged_faults : int
        Turns that failed and that the log could not be told of.
    reload_refused : bool
        Whether the last one failed, so that an older configuration stays in force.
    """

    def __init__(
        self,
        config_filename: str | Path,
        port: int,
        commands: Mapping[str, Handler],
        read_only: Collection[str],
        controller: Controller,
        *,
        write_ahead: WriteAhead,
        bind: Sequence[Endpoint] | None = None,
        more_endpoints: Sequence[Endpoint] = (),
        carrier: Carrier | None = None,
        listening: Mapping[Endpoint, socket.socket] | None = None,
    ) -> None:
        Clients.__init__(self, commands, read_only, controller, write_ahead)
        ConfigurationReloader.__init__(self, config_filename, self.wake)
        self._acceptor = Acceptor(self.pause_channel)
        self._visitors = Visitors(
            self,
            self._doorkeeper,
            welcome=self._welcome,
            serve=self._serve_newcomer,
            close=self._lingering.add,
        )
        # Endpoints of the command line, which no reload changes: in the place of the
        # configuration's addresses, and beside them.
        opened = listening or {}
        for_clients = [each for each in opened if each.kind is Kind.tcp]
        self._bind = bind or for_clients or None
        self._more_endpoints = [*more_endpoints, *(e for e in opened if e not in for_clients)]
        self._listening = Listening(
            self._open_tcp,
            self.register_channel,
            self._take_last_clients,
            port,
            inherited=listening,
            receive_buffer=_RECEIVE_BUFFER,
            carrier=carrier,
        )
        self._carrier = carrier
        if carrier is not None:
            self._runner.on_command = self._note_command
        self._timeout_check_interval = 5.0
        # Time of a deadline that is judged when all that clients had sent by then was served.
        self._judging: float | None = None
        # Whether clients that have connected could not all be taken in this turn.
        self._unread = False
        # When the controller had next something to do, as of the beginning of this turn.
        self._due: float | None = None
        self._stop = False
        self.longest_wait = math.inf
        self.last_turn = _clock.monotonic()
        self.turns = self.reloads = self.failed_reloads = 0
        self.reload_refused = self.ended_by_fault = False
        self.unlogged_faults = 0
        self.turn_times = Tally()
        self._server_thread = threading.Thread(target=self._run, name="Server Thread")

    # --- any thread ---

    @property
    def port(self) -> int:
        """TCP port that is listened on."""
        return self._listening.port

    @property
    def client_count(self) -> int:
        """How many clients are connected."""
        return len(self._client_buffers)

    @property
    def kept_count(self) -> int:
        """How many connections outlive a restart."""
        return 0 if self._carrier is None else self._carrier.kept

    @property
    def watcher_counts(self) -> dict[str, int]:
        """How many clients watch jobs, and how many watch machines."""
        return {
            "jobs": len(self._client_job_watches),
            "machines": len(self._client_machine_watches),
        }

    def is_alive(self) -> bool:
        """Whether the server thread runs."""
        return self._server_thread.is_alive()

    def join(self, timeout: float | None = None) -> None:
        """Wait for the server thread to end; seconds, None for as long as it takes."""
        self._server_thread.join(timeout)

    # --- to be overridden ---

    def _after_turn(self) -> None:
        """Do work that must not delay anybody's answers."""

    # --- loop thread only ---

    def _run(self) -> None:
        try:
            while not self._stop:
                try:
                    self._turn()
                except BaseException:  # noqa: BLE001 - `_survive` logs it
                    # SystemExit too: the thread must go on after any fault.
                    self._survive()
        finally:
            self.ended_by_fault = not self._stop

    def _survive(self) -> None:
        """Say that a turn failed, and wait a moment."""
        try:
            log.exception("a turn of the loop failed; going on")
        except Exception:  # noqa: BLE001 - nobody is left to be told
            self.unlogged_faults += 1
        # A turn that fails before it waits would fail again at once, for ever.
        time.sleep(_SECONDS_AFTER_FAILURE)

    def _turn(self) -> None:
        """Wait, read, run, write outcomes, answer, tend to time, tell."""
        judged = self._judging
        began: float | None = None
        ready = self.ready_channels(self._seconds_to_wait())
        first = next(ready, None)
        if first is not None:
            began = _clock.monotonic()
            self._unread = False
            self._guarded_all(self._clients_among(chain((first,), ready)), self._handle_commands)
            if self._unread:
                judged = None
        if self._backlog.peers:
            self._serve_backlog(_clock.monotonic() + SECONDS_OF_SLICES)
        self._answer_all()
        now = _clock.monotonic()
        if began is not None:
            self.turn_times.note(now - began)
        if judged is not None and not self._backlog.all_served():
            judged = None
        self._see_to_jobs(judged, now)
        if self._refusals.quiet:
            self._refusals.tell(now)
        if self._lingering.sockets:
            self._lingering.tend()
        if self._listening.lost:
            self._listening.listen_again()
        visitors = self._visitors
        if visitors.proxied.waiting or visitors.local.waiting:
            visitors.introduce_all(now)
        self._send_change_notifications()
        if self._watchers.event_watches:
            self._watchers.tell_events()
        self._after_turn()
        self._write_ahead.tend()
        if self._carrier is not None:
            self._carrier.tend(self._body_of)
        if self._reload_config:
            self._reload()
        self.turns += 1
        self.last_turn = now

    def _see_to_jobs(self, judged: float | None, now: float) -> None:
        """End the jobs with a deadline before `judged`, and do all else that is due."""
        model = self._model()
        if model is not self._controller:
            self._judging = None
            model.tend()
            return
        if judged is not None:
            self._judging = None
            self._backlog.begin_to_note()
            model.destroy_timed_out_jobs(judged)
        if self._due is not None and self._due <= now:
            self._tend(now)

    def _tend(self, now: float) -> None:
        """Do all that is due."""
        deadline = self._controller.next_deadline()
        if deadline is not None and deadline < now and self._judging is None:
            self._judging = now
        rested = self._controller.next_rested()
        if rested is not None and rested <= now:
            self._controller.check_free()
        check = self._controller.next_health_check()
        if check is not None and check <= now:
            self._controller.check_health(now)

    def _reload(self) -> None:
        self.reload_refused = not self.read_config_file()
        self.failed_reloads += self.reload_refused
        self.reloads += 1
        self.wake()

    def _seconds_to_wait(self) -> float:
        """How long the loop may sleep if no channel is ready."""
        now = _clock.monotonic()
        self._due = self._model().next_due(now)
        if self._judging is not None or self._backlog.peers:
            return 0.0
        wait = min(self._timeout_check_interval, self.longest_wait)
        wait = min(wait, self._write_ahead.seconds_at_rest())
        if self._lingering.sockets:
            wait = min(wait, Lingering.tick)
        visitors = self._visitors
        if visitors.proxied.waiting or visitors.local.waiting:
            wait = min(wait, visitors.seconds_left(now))
        if self._carrier is not None:
            wait = min(wait, self._carrier.seconds_to_look())
        if self._due is not None and self._due - now < wait:
            wait = max(0.0, self._due - now)
        if self._refusals.quiet:
            wait = min(wait, self._refusals.seconds_left(now))
        return wait

    # --- accepting ---

    def _clients_among(self, ready: Iterable[Any]) -> Iterator[Any]:
        """Take in new connections, and hand out all other channels that can be read."""
        for channel in ready:
            if channel in self._client_buffers:
                yield channel
            elif channel in self._visitors.proxied:
                self._visitors.read_header(channel)
            elif not _is_listening(channel):
                yield channel
            elif self._accept_all(channel):
                self._unread = True

    def _accept_all(self, listening: socket.socket) -> bool:
        """Take in new connections; returns whether more may be waiting."""
        kind = self._listening.kind_of(listening)
        for _ in range(_MAX_ACCEPTS):
            client = self._acceptor.accept(listening)
            if client is None:
                return False
            # Commands that it sent while the loop was busy count before deadlines are judged.
            if self._visitors.receive(client, kind) and self._in_loop():
                self._guarded(client, self._handle_commands)
        return True

    def _serve_newcomer(self, client: socket.socket, received: bytes) -> None:
        """Run the commands of a client that was admitted after its first bytes had come."""
        if received:
            self._client_buffers[client] = received
        self._guarded(client, self._handle_commands)

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
        before = list(self._listening.sockets.values())
        self._listen([*self._endpoints_for_clients(configuration.ip), *self._more_endpoints])
        try:
            self._controller.machines = {m.name: m for m in configuration.machines}
        except BaseException:
            if before:
                self._listen(before)
            raise
        self._acceptor.reserve(sum(len(m.bmp_ips) for m in configuration.machines))
        self._controller.max_retired_jobs = configuration.max_retired_jobs
        self._controller.seconds_before_free = configuration.seconds_before_free
        self._timeout_check_interval = configuration.timeout_check_interval
        self._change_policy(validated_config.settings.policy)
        self.wake()

    def _change_policy(self, policy: Policy) -> None:
        """Judge by another policy; clients that it denies are disconnected."""
        for client in self._doorkeeper.change_policy(policy):
            log.warning("%s disconnected: the new policy does not admit it", self._called(client))
            self._disconnect_client(client)

    def _open_tcp(self, address: str, port: int) -> socket.socket:
        return self._open_server_socket(address, port)  # which may be replaced

    def _endpoints_for_clients(self, addresses: str) -> Sequence[Endpoint]:
        if self._bind is not None:
            return self._bind
        try:
            return tcp_endpoints(addresses)
        except ValueError as e:
            raise ConfigurationError(str(self.configuration_file), None, f"ip: {e}") from e

    def _listen(self, endpoints: Iterable[Endpoint]) -> None:
        """Listen on endpoints; if one cannot be had, as before."""
        try:
            self._listening.change(endpoints)
        except ListenError as e:
            raise ConfigurationError(str(self.configuration_file), None, str(e)) from e

    def _take_last_clients(self, listening: socket.socket) -> None:
        """Take in the connections that closing would reset, and wait no longer."""
        # The kernel keeps no more waiting; connections without end must not keep us here.
        for _ in range(BACKLOG // _MAX_ACCEPTS + 1):
            if not self._accept_all(listening):
                break
        self.unregister_channel(listening)

    # --- the end ---

    def _stop_serving(self) -> None:
        """End the loop's thread, and let every client see a clean end of file."""
        self._stop = True
        self.wake()
        if self._server_thread.ident is not None:
            self._server_thread.join()
        if self._carrier is not None:
            self._leave_connections(self._carrier)
        self._listening.close()
        for client in list(self._client_buffers):
            self._disconnect_client(client)
        self._visitors.turn_away_all()
        self._lingering.close()
        if self._carrier is not None:
            self._carrier.close(_SECONDS_TO_TELL_THE_STORE)
        self.stop_listening_to_sighup()
        self.close_polling()

    def _leave_connections(self, carrier: Carrier) -> None:
        """Leave the connections with all commands answered to the next process."""
        for peer in list(self._peers.values()):
            if peer.output.size:
                self._answer(peer)
        for listening in self._listening.leave():
            self.unregister_channel(listening)
            listening.close()
        for peer in [peer for peer in self._peers.values() if carrier.leave(peer)]:
            self.unregister_channel(peer.client)
            for table in (
                self._client_buffers,
                self._client_job_watches,
                self._client_machine_watches,
                self._peers,
            ):
                table.pop(peer.client, None)
            peer.client.close()

    def _note_command(self, client: Any, name: str) -> None:
        """Have the carrier know that a client gave a command."""
        if self._carrier is not None:
            self._carrier.note_command(self._peer(client), name)

    def _take_back_all(self) -> None:
        """Serve the connections of the process before, and tell them of all changes meanwhile."""
        if self._carrier is None:
            return
        self._carrier.end_unclaimed()
        for returned in self._carrier.returned():
            self._take_back(returned)
        jobs = {job.job_id for job in self._controller.list_jobs()}
        self._watchers.put_aside(jobs, set(self._controller.machines))

    def _take_back(self, returned: Returned) -> bool:
        """Serve a client of the last process as it was served; returns whether it goes on."""
        client, told = returned.client, returned.body.get("identity")
        peer = self._peer(client)
        peer.carried, peer.since = returned.carried, -math.inf
        if told is None:
            identity = identity_by_address(client)
        else:
            identity = Identity(
                parse_address(told.get("address")), certificate=told.get("certificate")
            )
        if not self._visitors.admit(client, identity):
            self._forget_peer(peer)
            return False
        self._watchers.take_back(peer, returned.body.get("watches", {}))
        self.memory.count(peer)
        return True


def _is_listening(channel: Channel) -> TypeGuard[socket.socket]:
    """Whether connections come in here; `Server._listening` may be a moment behind."""
    try:
        return isinstance(channel, socket.socket) and bool(
            channel.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        )
    except OSError:
        return False
