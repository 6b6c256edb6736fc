"""The machines of a controller and their frames: how they come, change and go.

Owns the order in which a changed configuration is carried out, all of it or nothing.  Must not
know clients; of jobs it knows that they end with their machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from spalloc_server._jobs.fleet import Gate
from spalloc_server._jobs.machine_change import MachineChange
from spalloc_server._jobs.plain_machine import from_plain, to_plain
from spalloc_server._jobs.records import MachineMap

if TYPE_CHECKING:
    from spalloc_server._jobs.book import Book
    from spalloc_server._jobs.fleet import Fleet
    from spalloc_server._jobs.health import Health
    from spalloc_server._jobs.job_power import JobPower
    from spalloc_server._jobs.power_downs import PowerDowns
    from spalloc_server._jobs.records import Frames, Records
    from spalloc_server.async_bmp_controller import AsyncBMPController
    from spalloc_server.configuration import Machine
    from spalloc_server.job_queue import JobQueue


class Facility:
    """Brings machines in, changes them and takes them down; all under the lock.

    Parameters
    ----------
    records : Records
    queue : JobQueue
        Gives the machines to jobs.
    fleet : Fleet
        The frames' threads.
    health : Health
        Told of machines that come and go.
    power_downs : PowerDowns
        Takes over boards that are on when their machine goes.
    power : JobPower
        Told when frames fall silent or answer again.
    """

    def __init__(  # noqa: PLR0917 - one of each
        self,
        records: Records,
        queue: JobQueue,
        fleet: Fleet,
        health: Health,
        power_downs: PowerDowns,
        power: JobPower,
    ) -> None:
        self._records = records
        self._queue = queue
        self._fleet = fleet
        self._health = health
        self._power_downs = power_downs
        self._power = power

    def change(self, machines: Mapping[str, Machine]) -> None:
        """Have these machines from now on, highest priority first."""
        machines = dict(machines)
        change = MachineChange.plan(self._records.machines, machines)
        gate = Gate()
        frames = self._fleet.start(change.added, gate, self._power.frame_answers)
        self._carry_out(machines, change, frames, gate)

    def restore(self, book: Book) -> None:
        """Have the machines of a book, and start their frames; the queue is not told to serve.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the book contradicts itself; no frame was started.
        """
        machines = {name: from_plain(plain) for name, plain in book["machines"].items()}
        maps = {name: MachineMap(machine) for name, machine in machines.items()}
        gate = Gate()
        gate.open([])
        frames = self._fleet.start(maps, gate, self._power.frame_answers)
        self._records.machines.update(machines)
        for name, where in maps.items():
            self._set_up_machine(where, frames[name])

    def power_off_unowned_boards(self) -> None:
        """Ask each frame to switch off all its boards that no job has, in one request."""
        for where in self._records.maps.values():
            self._power_downs.switch_off(where, where.unowned())

    # --- machines come and go ---

    def _carry_out(
        self,
        machines: Mapping[str, Machine],
        change: MachineChange,
        frames: Mapping[str, Frames],
        gate: Gate,
    ) -> None:
        """Carry out a planned change; nothing here can fail for reasons from outside."""
        old: list[AsyncBMPController] = []
        orphans: dict[str, list[int]] = {}
        records = self._records
        try:
            with self._queue as queue:
                for name in change.removed:
                    old += self._take_down(name, orphans)
                records.machines.clear()
                records.machines.update((name, machines[name]) for name in change.order)
                for name in change.added:
                    self._set_up_machine(change.added[name], frames[name])
                for name in change.modified:
                    self._modify_machine(machines[name])
                for name in change.order:
                    queue.move_machine_to_end(name)
                records.changed_machines.update(change.removed, change.added, change.modified)
                records.tell(
                    "machines",
                    change.order,
                    [to_plain(machines[name]) for name in (*change.added, *change.modified)],
                    change.removed,
                    orphans,
                )
                self._health.adopt(change.added)
        finally:
            self._fleet.retire(old, gate)

    def _take_down(self, name: str, orphans: dict[str, list[int]]) -> Iterable[AsyncBMPController]:
        """Remove a machine with its jobs; returns its frames, not yet stopped."""
        frames = self._records.frames[name]
        for bmp in frames.values():
            bmp.__enter__()
        try:
            self._queue.remove_machine(name)
        finally:
            for bmp in frames.values():
                bmp.__exit__(None, None, None)
        for host, boards in self._power_downs.orphan(name).items():
            orphans.setdefault(host, []).extend(boards)
        self._health.forget(name)
        records = self._records
        del records.maps[name], records.frames[name], records.machines[name]
        return frames.values()

    def _set_up_machine(self, where: MachineMap, frames: Frames) -> None:
        machine = where.machine
        self._records.maps[machine.name] = where
        self._records.frames[machine.name] = frames
        self._queue.add_machine(
            machine.name,
            machine.width,
            machine.height,
            tags=set(machine.tags),
            dead_boards=machine.dead_boards,
            dead_links=machine.dead_links,
        )

    def _modify_machine(self, machine: Machine) -> None:
        self._records.maps[machine.name].replace(machine)
        self._queue.modify_machine(
            machine.name,
            tags=set(machine.tags),
            dead_boards=machine.dead_boards,
            dead_links=machine.dead_links,
        )
        self._health.reconfigured(machine.name)

    def note_dead_changes(self) -> None:
        """Note dead boards and links that the machines' owner changed in place."""
        changed = [where for where in self._records.maps.values() if where.dead_changed()]
        if changed:
            plain = [to_plain(where.machine) for where in changed]
            self._records.tell("machines", list(self._records.machines), plain, [], {})
            for where in changed:
                self._health.reconfigured(where.machine.name)
