"""Whom the server talks with: what clients send, what they are answered and told.

Owns the client sockets and all that is known of each: what was read and not yet taken,
what is watched, what waits to be sent.  What the bytes say is in `_wire.messages`, which
commands there are in `server`, when anything is done in `_wire.serving`.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import nullcontext
from typing import Any

from spinn_utilities.overrides import overrides

from spalloc_server import _clock
from spalloc_server._checks.values import escaped
from spalloc_server._jobs.write_ahead import WriteAhead
from spalloc_server._poller import POLLIN, POLLOUT
from spalloc_server._wire import messages
from spalloc_server._wire.lingering import Lingering
from spalloc_server._wire.messages import MalformedError
from spalloc_server._wire.outgoing import MAX_PER_CLIENT, Outgoing
from spalloc_server._wire.tally import Tally
from spalloc_server.controller import Controller
from spalloc_server.polling_server_core import Channel, PollingServerCore

log = logging.getLogger(__name__)

#: Most bytes taken from one client in one turn; the sockets' buffers hold no more.
MAX_READ = 256 << 10
_READ = 64 << 10
#: Idle seconds before TCP asks whether a peer is still there, between questions, and how many.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
#: Commands whose first argument, a number, is no job's id.
_NOT_OF_A_JOB = frozenset({"create_job"})

Watches = dict[Any, "set[Any] | None"]
Handler = Callable[..., object]


class Clients(PollingServerCore):
    """The clients of a server; everything runs in the loop's thread.

    Parameters
    ----------
    commands : mapping
        {name: ``function(server, client, *args, **kwargs)``}.
    read_only : collection of str
        Names of the commands that change nothing.
    controller : Controller
        Whose changes are told.
    write_ahead : WriteAhead
        What writes the changes before anybody is told of them.

    Attributes
    ----------
    _client_buffers : dict
        {client: bytes read that are not yet a whole line, or not yet taken}.
    _client_job_watches, _client_machine_watches : dict
        {client: set of ids or names, or None for all}.
    command_times : {command: Tally}
        Seconds in each command.
    command_errors : dict
        {command: how many were answered with an exception}.
    connections : int
        Clients that were accepted so far.
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
        # Replies need not take the way through `_msg_client` as long as that is our own.
        self._own_msg_client = Clients._msg_client.__get__(self)
        self.connections = 0
        self.command_times = defaultdict(Tally, {name: Tally() for name in commands})
        self.command_errors = Counter(dict.fromkeys(commands, 0))
        #: Set by whoever has the loop.
        self._server_thread: threading.Thread

    # --- loop thread only ---

    def _guarded(self, client: Any, step: Callable[[Any], None]) -> None:
        """Do something for one client, undisturbed; whatever goes wrong harms no other."""
        self._guarded_all((client,), step)

    def _guarded_all(self, clients: Iterable[Any], step: Callable[[Any], None]) -> None:
        """Do something for clients, undisturbed; what goes wrong with one harms no other."""
        controller = self._controller if self._tells_time() else None
        with nullcontext() if controller is None else controller.undisturbed:
            for client in clients:
                try:
                    step(client)
                    if controller is not None and (changes := controller.take_changes()):
                        self._put_aside(changes)
                except BaseException:
                    log.exception("%s: dropped, since serving it failed", self._called(client))
                    self._disconnect_client(client)

    def _tells_time(self) -> bool:
        """Whether the controller says when it wants what; one put in its place need not."""
        return issubclass(type(self._controller), Controller)

    def _put_aside(self, changes: tuple[set[int], set[str]]) -> None:
        """Keep changes, so that later ones of the same jobs are told separately."""
        if self._taken and not changes[0] & self._taken[-1][0]:
            self._taken[-1][0].update(changes[0])
            self._taken[-1][1].update(changes[1])
        else:
            self._taken.append(changes)

    # --- reading ---

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
        command = messages.known(received)
        if command is None or gone is not None or self._client_buffers.get(client):
            self._handle(client, received, gone)
            return
        # Most clients wait for each answer before they ask again: one line comes alone, and
        # is answered at once if nothing is to be written first.
        try:
            reply = self._run_command(client, command)
        except MalformedError as e:
            self._refuse(client, e)
            return
        if self._write_ahead.uncommitted or not self._messages_itself():
            self._put_out(client, reply)
            return
        try:
            if not self._outgoing.send_new(client, reply):
                self._have_wait(client)
        except OSError:
            self._put_out(client, reply)  # sending it again will tell

    def _put_out(self, client: Any, reply: bytes) -> None:
        """Have a reply go out with the others of this turn; outside of the loop now."""
        if self._messages_itself():
            self._outgoing.add(client, reply)
        else:
            self._message(client, reply)
        if not self._in_loop():
            self._answer(client)

    def _refuse(self, client: Any, error: MalformedError) -> None:
        """Disconnect a client that sent something that is no command."""
        log.warning("%s disconnected: %s", self._called(client), escaped(str(error)[:300]))
        self._answer(client)
        self._disconnect_client(client)

    def _handle(self, client: Any, received: bytes, gone: OSError | EOFError | None) -> None:
        """Run the commands in what was received, whatever the client's state."""
        if not received and gone is None and self._is_paused(client):
            # Not waited for, so this can only be a hang-up.
            self._outgoing.forget(client)
            received, _ = self._receive(client)
            gone = OSError("connection lost")
        whole = self._client_buffers.get(client, b"") + received
        try:
            rest = self._run_lines(client, whole, answered=not isinstance(gone, OSError))
        except MalformedError as e:
            self._refuse(client, e)
            return
        if isinstance(gone, OSError):
            self._disconnect_client(client)
            return
        if client in self._client_buffers or rest:
            self._client_buffers[client] = rest
        if gone is not None:
            self._ending.add(client)
        if not self._in_loop():
            self._answer(client)
        elif gone is not None and client not in self._outgoing and b"\n" not in rest:
            self._disconnect_client(client)

    def _receive(self, client: Any) -> tuple[bytes, OSError | EOFError | None]:
        """Read what has arrived; with it, how the client went away if it did."""
        received = b""
        may_be_paused = client in self._ending or client in self._outgoing.waiting
        if may_be_paused and self._is_paused(client):
            return received, None
        try:
            while piece := client.recv(_READ):
                received += piece
                if len(piece) != _READ or len(received) >= MAX_READ:
                    # That was all, or enough; a stand-in may give more than it was asked for.
                    return received, None
        except (BlockingIOError, InterruptedError):
            return received, None
        except OSError as e:
            return received, e
        return received, EOFError("end of file")

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
        put_out = self._outgoing.add if self._messages_itself() else self._message
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            if answered and self._outgoing.paused(client):
                return data[start:]
            line = data[start:end]
            start = end + 1
            if len(line) > messages.MAX_LINE:
                raise MalformedError(f"a line longer than {messages.MAX_LINE} bytes")
            if not line or line.isspace():
                continue
            if answered:
                # It goes out when what the turn changed is written.
                put_out(client, self._run_command(client, messages.decode(line)))
            elif (command := messages.decode(line)).name not in self._read_only:
                self._run_command(client, command)
        rest = data[start:]
        if len(rest) > messages.MAX_LINE:
            raise MalformedError(f"a line longer than {messages.MAX_LINE} bytes")
        return rest

    def _run_command(self, client: Any, command: messages.Command) -> bytes:
        """Run one command, and return its reply."""
        name, args, kwargs = command
        handler = self._commands.get(name)
        if handler is None:
            raise MalformedError(f"unknown command {name!r}")
        began = _clock.monotonic()
        try:
            # The usual case apart, as empty keywords take their time as well.
            if kwargs:
                return messages.returned(handler(self, client, *args, **kwargs))
            return messages.returned(handler(self, client, *args))
        except BaseException as e:  # noqa: BLE001 - told to the client, whose command it was
            self.command_errors[name] += 1
            self._log_refusal(client, command, e)
            return messages.raised(e)
        finally:
            self.command_times[name].note(_clock.monotonic() - began)

    def _log_refusal(self, client: Any, command: messages.Command, error: BaseException) -> None:
        known = isinstance(error, (TypeError, ValueError))
        log.log(
            logging.WARNING if known else logging.ERROR,
            "%s: %s refused: %s",
            self._called(client),
            command.name,
            escaped(str(error)[:1000]),
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
            self._refuse(client, e)
            return
        if client in self._ending and client not in self._outgoing:
            self._disconnect_client(client)  # only blank lines were left

    # --- replies ---

    def _answer_all(self) -> None:
        """Write what must last, then send the replies of this turn."""
        if not self._outgoing.waiting:
            return
        self._write_ahead.commit()
        for client in self._outgoing:
            self._send_waiting(client)
        if self._outgoing:
            self._drop_fullest()

    def _answer(self, client: Any) -> None:
        """Send one client its replies now."""
        self._write_ahead.commit()
        self._send_waiting(client)

    def _send_waiting(self, client: Any) -> None:
        """Send what the kernel takes; drop a client that is gone or never reads."""
        try:
            done = self._outgoing.send(client)
        except OSError as e:
            log.info("%s gone: %s", self._called(client), e)
            self._outgoing.forget(client)
            self._finish_commands(client)
            self._disconnect_client(client)
            return
        if done and client not in self._ending and client not in self._interests:
            if self._client_buffers.get(client) and self._has_lines(client):
                self._resumable.add(client)
        elif done and client in self._ending and not self._has_lines(client):
            self._disconnect_client(client)
        else:
            self._have_wait(client)

    def _has_lines(self, client: Any) -> bool:
        return b"\n" in self._client_buffers.get(client, b"")

    def _finish_commands(self, client: Any) -> None:
        """Carry out what a client had sent before it went away."""
        data = self._client_buffers.pop(client, b"")
        if isinstance(client, socket.socket):  # of a stand-in was read what it had
            data += self._receive(client)[0]
        try:
            self._run_lines(client, data, answered=False)
        except MalformedError as e:
            log.info("%s ended with something malformed: %s", self._called(client), e)

    def _drop_fullest(self) -> None:
        while (client := self._outgoing.fullest_beyond_total()) is not None:
            log.warning("%s dropped: too much output waits", self._called(client))
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
        self._write_ahead.commit()
        self._transmit(client, messages.message(message))

    def _messages_itself(self) -> bool:
        """Whether lines may go out without `_msg_client`, which may be replaced."""
        return bool(self._msg_client == self._own_msg_client)

    def _message(self, client: Any, line: bytes) -> bool:
        """Have a line go out through whatever is in the place of `_msg_client`; True."""
        self._write_ahead.commit()
        self._msg_client(client, json.loads(line))
        return True

    def _transmit(self, client: Any, line: bytes) -> None:
        """Send a line, or the part of it that the kernel takes; the rest waits."""
        try:
            if not self._outgoing.send_new(client, line):
                self._have_wait(client)
        except OSError as e:
            self._lose(client, e)

    def _have_wait(self, client: Any) -> None:
        """Have the rest wait for a client that did not take all, unless that is too much."""
        if self._outgoing.size(client) > MAX_PER_CLIENT:
            log.warning("%s dropped: it does not read", self._called(client))
            self._disconnect_client(client)
        else:
            self._watch(client)

    def _lose(self, client: Any, error: OSError) -> None:
        """Drop a client that has gone, with what waits for it."""
        log.info("%s gone: %s", self._called(client), error)
        self._outgoing.forget(client)
        self._disconnect_client(client)

    # --- notifications ---

    def _send_change_notifications(self) -> None:
        """Tell those who watch what changed since this was last called."""
        jobs, machines = self._controller.changed_jobs, self._controller.changed_machines
        if not jobs and not machines and not self._taken:
            return
        taken, self._taken = [*self._taken, (jobs, machines)], []
        if self._client_job_watches or self._client_machine_watches:
            self._write_ahead.commit()  # after taking, so that whatever is told is written
        for jobs, machines in taken:
            self._notify(self._client_job_watches, "jobs_changed", jobs)
            self._notify(self._client_machine_watches, "machines_changed", machines)
        self._drop_fullest()

    def _notify(self, watches: Watches, kind: str, changed: Collection[Any]) -> None:
        if not changed or not watches:
            return
        send = self._outgoing.send_new if self._messages_itself() else self._message
        everything = messages.changed(kind, sorted(changed))
        for client, watched in list(watches.items()):
            line = everything
            if watched is not None:
                if watched.isdisjoint(changed):
                    continue
                line = messages.changed(kind, sorted(watched.intersection(changed)))
            try:
                if not send(client, line):
                    self._have_wait(client)
            except OSError as e:
                self._lose(client, e)
            except Exception:
                log.exception("%s: dropped, since telling it failed", self._called(client))
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

    def _called(self, client: Any) -> str:
        """Return what the log calls a client."""
        name = self._name(client)
        return "a client of unknown address" if name is None else f"client {name}"

    def _name_client(self, client: Any) -> str | None:
        name = client.getpeername()[0]
        if not isinstance(name, str):
            return None  # a stand-in may answer anything
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


def _job_spoken_of(command: messages.Command) -> int | None:
    """Id of the job that a command is about, for the log."""
    told = command.kwargs.get("job_id", command.args[0] if command.args else None)
    about_a_job = type(told) is int and command.name not in _NOT_OF_A_JOB
    return told if about_a_job else None
