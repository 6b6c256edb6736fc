"""The clients of the server: their commands, their answers and their notifications.

Owns the client sockets, with one `Peer` for each, and the memory that they make the server hold.
The form of the bytes is in `_wire.messages`, the commands are in `server`, the order of a turn is
in `_wire.serving`.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from spinn_utilities.overrides import overrides

from spalloc_server._access.policy import Policy
from spalloc_server._jobs.write_ahead import WriteAhead
from spalloc_server._wire import messages, stand_ins
from spalloc_server._wire.backlog import Backlog
from spalloc_server._wire.carrier import Carrier, body_of
from spalloc_server._wire.doorkeeper import Doorkeeper
from spalloc_server._wire.late_answers import LateAnswers, Later
from spalloc_server._wire.lingering import Lingering
from spalloc_server._wire.messages import MalformedError
from spalloc_server._wire.peer import Memory, Peer, Tried, prepare, receive
from spalloc_server._wire.refusals import Refusal, Refusals
from spalloc_server._wire.running import Handler, Runner
from spalloc_server._wire.watchers import Watchers, Watches
from spalloc_server.controller import Controller
from spalloc_server.polling_server_core import POLLIN, POLLOUT, Channel, PollingServerCore

log = logging.getLogger(__name__)

#: Bytes of a line that takes long to read as JSON. # arbitrary
_LONG = 16_384


class Clients(PollingServerCore):
    """The clients of a server; everything runs in the loop's thread.

    Parameters
    ----------
    commands : mapping
        {name: ``function(server, client, *args, **kwargs)``}.
    read_only : collection of str
        Names of the commands that change nothing.
    controller : Controller
        Its changes are told.
    write_ahead : WriteAhead
        It writes the changes before anybody is told of them.

    Attributes
    ----------
    _client_buffers : dict
        {client: bytes that came in and are not taken yet}.
    _client_job_watches, _client_machine_watches : dict
        {client: set of ids or names, or None for all}.
    command_times : {command: Tally}
        Seconds in each command.
    command_errors : dict
        {command: how many were answered with an exception}.
    connections : int
        Clients that were accepted so far.
    memory : Memory
        Bytes that all clients make the server hold.
    """

    def __init__(
        self,
        commands: Mapping[str, Handler],
        read_only: Collection[str],
        controller: Controller,
        write_ahead: WriteAhead,
    ) -> None:
        super().__init__()
        self._commands = commands
        self._read_only = read_only
        self._controller = controller
        self._write_ahead = write_ahead
        self._client_buffers: dict[Any, bytes | bytearray] = {}
        self._client_job_watches: Watches = {}
        self._client_machine_watches: Watches = {}
        self._peers: dict[Any, Peer] = {}
        self.memory = Memory()
        self._backlog = Backlog(lambda: self._client_buffers, self._run_of_many)
        # Peers with output that no send was tried for.
        self._unsent: dict[Peer, None] = {}
        # Peers with replies that wait until a position is safe, oldest first.
        self._held_back: deque[tuple[int, dict[Peer, None]]] = deque()
        # Keeps connections over a restart, if the program is a service that may.
        self._carrier: Carrier | None = None
        principal_of = stand_ins.principal_of
        self._doorkeeper = Doorkeeper(Policy(), lambda n: principal_of(self._controller, n))
        self._refusals = Refusals(log)
        self._runner = Runner(commands, self._doorkeeper, self._refusals)
        self._lingering = Lingering()
        self._late = LateAnswers(self.wake)
        self._watchers = Watchers(
            tables=lambda: (self._client_job_watches, self._client_machine_watches),
            peer_of=self._peer,
            write_ahead=write_ahead,
            send=self._notify,
            at_once=self._all_is_sent,
            on_change=self._note_watches,
            wake=self.wake,
        )
        # Replies need not take the way through `_msg_client` as long as that is our own.
        self._own_msg_client = Clients._msg_client.__get__(self)
        self.connections = 0
        self.command_times, self.command_errors = self._runner.times, self._runner.errors
        self._server_thread: threading.Thread  # set by the class that has the loop

    # --- loop thread only ---

    def _guarded(self, client: Any, step: Callable[[Any], None]) -> None:
        self._guarded_all((client,), step)

    def _guarded_all(self, clients: Iterable[Any], step: Callable[[Any], None]) -> None:
        """Do a step for several clients, undisturbed; a failure with one harms no other."""
        controller = self._model()
        with controller.undisturbed:
            for client in clients:
                try:
                    step(client)
                    if self._are_watching() and (changes := controller.take_changes()):
                        self._watchers.put_aside(*changes)
                except BaseException:
                    log.exception("%s: dropped, since serving it failed", self._called(client))
                    self._disconnect_client(client)

    def _model(self) -> Any:
        """Return the controller, or an adapter of one that other programs put in its place."""
        controller = self._controller
        return controller if type(controller) is Controller else stand_ins.adapted(controller)

    # --- reading ---

    def _welcome(self, client: socket.socket, name: str | None = None) -> bool:
        """Begin to serve a client by its address, if one is known; False if it has gone."""
        try:
            if name is None:
                self._name(client)  # None if it was reset, which leaves its commands readable
            else:
                self._peer(client).name = name
            prepare(client)
            self._client_buffers[client] = b""
            self.register_channel(client)
        except OSError as e:
            log.info("a client was gone before it could be served: %s", e)
            self._disconnect_client(client)
            return False
        self.connections += 1
        return True

    def _peer(self, client: Any) -> Peer:
        """Return the peer of a client, a new one if it was not seen before."""
        peer = self._peers.get(client)
        if peer is None:
            peer = self._peers[client] = Peer(client)
        return peer

    def _handle_commands(self, client: Any) -> None:
        """Read a client's input, and run its commands."""
        peer = self._peers.get(client)
        if peer is None:
            peer = self._peer(client)
        elif (
            peer.ending or peer.output.size or peer in self._backlog.peers
        ) and self._put_off(peer):
            return
        received, error = receive(client)
        carried = peer.carried
        if carried is not None:
            carried.read += len(received)
        command = messages.known(received)
        if command is None or error is not None or self._client_buffers.get(client):
            self._take_in(peer, received, error)
            return
        # Most clients wait for each answer before they ask again: one line comes alone, and
        # is answered at once if nothing is to be written first.
        try:
            reply = self._runner.run(self, client, command)
        except MalformedError as e:
            self._refuse(peer, e)
            return
        if not reply:
            self._go_on(peer)
            return
        if self._write_ahead.uncommitted or peer.output.size or not self._messages_itself():
            self._put_out(peer, reply)
            return
        if peer.carried is not None:
            peer.carried.note_output(peer.output.handed + len(reply))
        try:
            if not peer.output.send_new(client, reply):
                peer.output.allow_reply()
                self._go_on(peer)
        except OSError:
            self._put_out(peer, reply)  # sending it again will tell

    def _put_out(self, peer: Peer, reply: bytes) -> None:
        """Have a reply go out with the others of this turn; outside of the loop now."""
        self._add_reply(peer, reply)
        if not self._in_loop():
            self._answer(peer)

    def _put_off(self, peer: Peer) -> bool:
        """Leave a peer with lines or output that wait alone; False if it may be read."""
        if peer in self._backlog.peers:
            return True  # its lines come first, at the end of this turn
        if not peer.paused and not peer.ending:
            return False
        # Its input is not waited for, so this can only be a hang-up.
        self._lose(peer, OSError("connection lost"))
        return True

    def _take_in(self, peer: Peer, received: bytes, error: OSError | EOFError | None) -> None:
        """Take received bytes, and run the command in them, or see to it that many are run."""
        lines = self._backlog.lines_of(peer)
        lines.feed(received)
        if error is None and not lines.is_too_long() and not lines.has_line():
            self._client_buffers[peer.client] = lines.settle()
            self.memory.count(peer)
            self._drop_fullest()
            return
        if isinstance(error, OSError):
            self._mark_gone(peer, error)
        elif error is not None:
            peer.ending = True
        many = received.count(b"\n") > 1 or len(lines) > _LONG
        if many and self._in_loop():
            # Many commands at a time, or one that takes long to read: they are run at the end of
            # this turn, when others have had theirs, and for some time only.
            self._client_buffers[peer.client] = lines.settle()
            self._go_on(peer)
        else:
            self._run_lines(peer)

    def _run_lines(self, peer: Peer) -> None:
        """Run commands of a peer: in the loop a few, outside of it all.

        For a peer that has gone all commands are run but those that would only tell it
        something.
        """
        try:
            self._backlog.run_slice(peer, bounded=self._in_loop())
        except MalformedError as e:
            self._refuse(peer, e)
            return
        if self._in_loop() or peer.gone:
            self._go_on(peer)
        else:
            self._answer(peer)

    def _run_of_many(self, peer: Peer, command: messages.Command) -> float:
        """Run a command; its answer goes out when the changes of this turn are written."""
        if not peer.gone:
            self._add_reply(peer, self._runner.run(self, peer.client, command))
        elif command.name not in self._read_only:
            self._runner.run(self, peer.client, command)
        return self._runner.ended

    def _await_answer(self, client: Any, later: Later) -> None:
        """Have another thread work out an answer; until then the client waits."""
        self._late.ask(self._peer(client), later)

    def _take_late_answers(self) -> None:
        """Have the answers go out that other threads have worked out, and serve their clients."""
        for peer, answer in self._late.take():
            self._add_reply(peer, messages.returned_json(answer))
            if peer.has_work:
                self._backlog.peers[peer] = None

    def _refuse(self, peer: Peer, error: MalformedError) -> None:
        """Disconnect a client that sent something that is no command."""
        called = self._called(peer.client)
        if peer.gone:
            log.info("%s ended with a malformed line", called)
        else:
            refusal = Refusal(f"{called} disconnected", str(error)[:300])
            # By its address: a client that comes again and again is one client.
            self._refusals.note(f"disconnected {called}", refusal, error)
            position = self._write_ahead.commit()
            if self._write_ahead.safe < position:
                # It gets the answers to its commands before.
                peer.ending = True
                self._client_buffers[peer.client] = b""
                self._unsent[peer] = None
                return
            peer.gone = True  # nothing more of it is run, even if sending fails
            peer.output.release(position)
            try:
                peer.output.send(peer.client)
            except OSError as e:
                log.info("%s gone: %s", called, e)
        self._disconnect_client(peer.client)

    # --- replies ---

    def _add_reply(self, peer: Peer, reply: bytes) -> None:
        """Have a reply go out when the changes of this turn are written."""
        if not reply:
            return
        if not self._messages_itself():
            self._message(peer, reply)
            return
        peer.output.add_reply(reply)
        if self._in_loop():
            self._unsent[peer] = None  # else it is sent by this very call

    def _answer_all(self) -> None:
        """Write outcomes, then send the replies that are safe; the others wait for that."""
        if self._late.come:
            self._take_late_answers()
        if not self._unsent and not self._held_back:
            return
        write_ahead = self._write_ahead
        write_ahead.settle()
        position = write_ahead.commit()
        safe = write_ahead.safe
        unsent, self._unsent = self._unsent, {}
        if unsent:
            self._held_back.append((position, unsent))
        while self._held_back and self._held_back[0][0] <= safe:
            for peer in self._held_back.popleft()[1]:
                peer.output.release(safe)
                self._send_waiting(peer)
        if unsent and self._held_back:
            for peer in unsent:
                peer.output.hold(position)
                self._go_on(peer)

    def _answer(self, peer: Peer) -> None:
        """Send one client its replies now, outside of the loop."""
        self._write_ahead.commit_and_wait()
        self._unsent.pop(peer, None)
        peer.output.release(self._write_ahead.safe)
        self._send_waiting(peer)

    def _send_waiting(self, peer: Peer) -> None:
        """Send as much as the kernel takes, and choose the next step for a peer."""
        if peer.carried is not None:
            peer.foretell(peer.output.size)
        try:
            peer.output.send(peer.client)
        except OSError as e:
            self._lose(peer, e)
        else:
            self._go_on(peer)

    def _go_on(self, peer: Peer) -> None:
        """Choose the next step for a peer, after its input or output changed.

        ========================================  ==================================
        It has commands that can be run           it gets its turn again
        It has none, and has gone or sent its     it is disconnected
        last and read its answers
        It leaves more unread than it may         it is dropped
        Else                                      it is waited for: to send, to read
        ========================================  ==================================
        """
        if peer.closed:
            return
        output = peer.output
        if peer.has_work:
            self._backlog.peers[peer] = None
        elif peer.gone or (
            peer.ending and not (output.size or peer.awaits or peer.lines.has_line())
        ):
            self._disconnect_client(peer.client)
            return
        if output.size > output.allowed:
            log.warning("%s dropped: it does not read", self._called(peer.client))
            self._disconnect_client(peer.client)
            return
        if peer not in self._unsent:
            self._wait_for(peer)
        self.memory.count(peer)
        self._drop_fullest()

    def _wait_for(self, peer: Peer) -> None:
        """Wait until a client sends commands, reads answers, or both."""
        events = POLLOUT if peer.output.size > peer.output.held else 0
        if not peer.paused and not peer.ending:
            events |= POLLIN
        if events == peer.interest:
            return
        if self.watch(peer.client, events):
            peer.interest = events
        elif peer.output.size > peer.output.held:
            self._unsent[peer] = None  # nobody tells when it reads: it is tried each turn

    def _drop_fullest(self) -> None:
        """Disconnect clients until all others hold no more than they may."""
        while (peer := self.memory.fullest(self._peers.values())) is not None:
            log.warning(
                "%s dropped: all clients together make the server hold too much, it the most",
                self._called(peer.client),
            )
            self._disconnect_client(peer.client)
            if not peer.closed:
                self._forget_peer(peer)  # `_disconnect_client` was replaced

    def _mark_gone(self, peer: Peer, error: OSError) -> None:
        if not peer.gone:
            log.info("%s gone: %s", self._called(peer.client), error)
        peer.gone = True
        peer.output.clear()

    def _lose(self, peer: Peer, error: OSError) -> None:
        """Carry out the commands that a client sent before it went away, and drop it."""
        if peer.closed or peer.gone:
            return
        self._mark_gone(peer, error)
        lines = peer.lines
        if isinstance(peer.client, socket.socket):  # a stand-in was read to its end
            lines.feed(receive(peer.client)[0])
        if self._in_loop() and lines.has_line():
            self._client_buffers[peer.client] = lines.settle()
            self._go_on(peer)
        else:
            self._run_lines(peer)

    @overrides(PollingServerCore._channel_writable)
    def _channel_writable(self, channel: Channel) -> None:
        peer = self._peers.get(channel)
        if peer is None:
            super()._channel_writable(channel)
        else:
            self._guarded(channel, lambda _: self._send_waiting(peer))

    def _serve_backlog(self, until: float) -> None:
        """Give each client with commands that wait one turn, as far as time goes."""
        peers = self._backlog.next_ones(until)
        self._guarded_all((peer.client for peer in peers), self._serve_again)

    def _serve_again(self, client: Any) -> None:
        peer = self._peer(client)
        self._backlog.lines_of(peer)
        self._run_lines(peer)

    # --- messages, and a `_msg_client` that other programs put in the place of ours ---

    def _msg_client(self, client: Any, message: object) -> None:
        """Send one message behind the output that waits for a client, before returning."""
        self._write_ahead.commit_and_wait()
        self._transmit(self._peer(client), messages.message(message))

    def _messages_itself(self) -> bool:
        """Whether lines may go out without `_msg_client`, which may be replaced."""
        return bool(self._msg_client == self._own_msg_client)

    def _message(self, peer: Peer, line: bytes) -> None:
        """Have a line go out through the function that is in the place of `_msg_client`."""
        self._write_ahead.commit_and_wait()
        self._msg_client(peer.client, json.loads(line))

    def _transmit(self, peer: Peer, line: bytes, tried: Tried | None = None) -> None:
        """Send a line, or the part of it that the kernel takes; the rest waits."""
        if peer.gone:
            return
        peer.foretell(peer.output.size + len(line))
        try:
            if not peer.output.send_new(tried or peer.client, line):
                if peer.output.held:
                    self._unsent[peer] = None  # behind its replies
                self._go_on(peer)
        except OSError as e:
            self._lose(peer, e)

    # --- notifications ---

    def _are_watching(self) -> bool:
        return bool(self._client_job_watches or self._client_machine_watches)

    def _send_change_notifications(self) -> None:
        """Tell the clients that watch of the changes since the last call, when they are safe."""
        controller = self._controller
        jobs, machines = controller.changed_jobs, controller.changed_machines
        if (jobs or machines) and self._are_watching():
            self._watchers.put_aside(set(jobs), set(machines))
        if self._watchers.untold:
            self._watchers.tell_changes()

    def _all_is_sent(self) -> bool:
        """Whether lines may go to the sockets at once: no output waits, and no record notes it."""
        waiting = self._unsent or self.memory.unread or (self._carrier and self._carrier.kept)
        return not waiting and self._messages_itself()

    def _notify(self, client: Any, line: bytes, tried: Tried | None = None) -> None:
        """Send a notification; a client that cannot be told is dropped alone."""
        try:
            if self._messages_itself():
                self._transmit(self._peer(client), line, tried)
            else:
                self._message(self._peer(client), line)
        except Exception:
            log.exception("%s: dropped, since telling it failed", self._called(client))
            self._disconnect_client(client)

    def _note_watches(self, peer: Peer) -> None:
        """Count a client's watches, and have the next process know them before it is answered."""
        if self._carrier is not None and peer.carried is not None:
            self._carrier.note_body(peer, self._body_of(peer))
        self.memory.count(peer)
        self._drop_fullest()

    def _body_of(self, peer: Peer) -> dict[str, Any]:
        """Return a client's watches and identity, for the next process."""
        watched = self._watchers.watched_by(peer.client)
        return body_of(watched, self._doorkeeper.plain_identity(peer.client))

    # --- clients ---

    def _name(self, client: Any) -> str | None:
        """IP address of a client; None for a call from within, or if it has none any more."""
        peer = self._peers.get(client)
        name = None if peer is None else peer.name
        if name is None and client is not None:
            name = stand_ins.address(client)
            if name is not None and isinstance(client, socket.socket):
                self._peer(client).name = name
        return name

    def _host(self, client: Any) -> str | None:
        """Return the address for which a client's present command is given."""
        if not self._doorkeeper.open:
            identity = self._runner.caller(client).identity
            if identity.user is not None:
                return None if identity.address is None else str(identity.address)
        return self._name(client)

    def _called(self, client: Any) -> str:
        """Return the name of a client in the log."""
        name = self._name(client)
        if name is not None:
            return f"client {name}"
        principal = self._doorkeeper.standing(client).principal
        return "a client of unknown address" if principal == "local" else f"client {principal}"

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
            self._watchers.event_watches,
        ):
            table.pop(client, None)
        peer = self._peers.get(client)
        if peer is not None:
            self._forget_peer(peer)
        try:
            if isinstance(client, socket.socket):
                self._lingering.add(client)
            else:
                client.close()
        except Exception:
            log.exception("a client's connection could not be closed")

    def _forget_peer(self, peer: Peer) -> None:
        peer.closed = True
        if self._carrier is not None:
            self._carrier.end(peer)
        peer.output.clear()
        self.memory.release(peer)
        self._peers.pop(peer.client, None)
        self._backlog.peers.pop(peer, None)
        self._unsent.pop(peer, None)
        self._refusals.forget(peer.client)
        self._doorkeeper.forget(peer.client)

    def _in_loop(self) -> bool:
        return threading.current_thread() is self._server_thread
