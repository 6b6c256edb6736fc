"""The machines of a controller and their frames: how they come, change and go.

Owns the order in which a changed configuration is carried out, all of it or nothing.
Knows nothing of clients, and of jobs only that they end with their machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from spalloc_server._jobs.fleet import Frames, Gate
from spalloc_server._jobs.machine_change import MachineChange
from spalloc_server._jobs.machine_map import MachineMap, to_plain
from spalloc_server._jobs.records import Records

if TYPE_CHECKING:
    from spalloc_server.async_bmp_controller import AsyncBMPController
    from spalloc_server.configuration import Machine


class Facility(Records):
    """Machines and frames; any thread."""

    @property
    def machines(self) -> dict[str, Machine]:
        """The machines by name, highest priority first; a copy."""
        with self._lock:
            return dict(self._machines)

    @machines.setter
    def machines(self, machines: Mapping[str, Machine]) -> None:
        machines = dict(machines)
        with self._lock:
            change = MachineChange.plan(self._machines, machines)
            gate = Gate()
            frames = self._fleet.start(change.added, gate)
            self._change_machines(machines, change, frames, gate)

    def power_off_unowned_boards(self) -> None:
        """Ask each frame to switch off all its boards that no job has, in one request.

        For a start after which nobody knows what is on.
        """
        with self._lock:
            for where in self._maps.values():
                self._power_downs.switch_off(where, where.unowned())

    # --- machines come and go ---

    def _change_machines(
        self,
        machines: Mapping[str, Machine],
        change: MachineChange,
        frames: Mapping[str, Frames],
        gate: Gate,
    ) -> None:
        """Carry out a planned change; nothing here can fail for reasons from outside."""
        old: list[AsyncBMPController] = []
        orphans: dict[str, list[int]] = {}
        try:
            with self._job_queue as queue:
                for name in change.removed:
                    old += self._take_down(name, orphans)
                self._machines = {name: machines[name] for name in change.order}
                for name in change.added:
                    self._set_up_machine(change.added[name], frames[name])
                for name in change.modified:
                    self._modify_machine(machines[name])
                for name in change.order:
                    queue.move_machine_to_end(name)
                self._changed_machines.update(change.removed, change.added, change.modified)
                self._tell(
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
        frames = self._bmp_controllers[name]
        for bmp in frames.values():
            bmp.__enter__()
        try:
            self._job_queue.remove_machine(name)
        finally:
            for bmp in frames.values():
                bmp.__exit__(None, None, None)
        for host, boards in self._power_downs.orphan(name).items():
            orphans.setdefault(host, []).extend(boards)
        self._health.forget(name)
        del self._maps[name], self._bmp_controllers[name], self._machines[name]
        return frames.values()

    def _set_up_machine(self, where: MachineMap, frames: Frames) -> None:
        machine = where.machine
        self._maps[machine.name] = where
        self._bmp_controllers[machine.name] = frames
        self._job_queue.add_machine(
            machine.name,
            machine.width,
            machine.height,
            tags=set(machine.tags),
            dead_boards=machine.dead_boards,
            dead_links=machine.dead_links,
        )

    def _modify_machine(self, machine: Machine) -> None:
        self._maps[machine.name].replace(machine)
        self._job_queue.modify_machine(
            machine.name,
            tags=set(machine.tags),
            dead_boards=machine.dead_boards,
            dead_links=machine.dead_links,
        )
        self._health.reconfigured(machine.name)

    def _note_dead_changes(self) -> None:
        """Tell of dead boards and links that the machines' owner changed in place."""
        changed = [where for where in self._maps.values() if where.dead_changed()]
        if changed:
            plain = [to_plain(where.machine) for where in changed]
            self._tell("machines", list(self._machines), plain, [], {})
            for where in changed:
                self._health.reconfigured(where.machine.name)

    # --- the end ---

    def stop(self) -> None:
        """Have the frames finish what they were asked and end; see `join`."""
        with self._lock:
            self._fleet.stop()

    def join(self) -> None:
        """Wait until the frames' threads have ended, however long it takes."""
        for bmp in self.frames:
            bmp.join()

    def give_up(self) -> None:
        """Have the frames end without doing what they can still leave undone."""
        with self._lock:
            self._fleet.give_up()

    @property
    def frames(self) -> list[AsyncBMPController]:
        """All frames that may have something to do, those no longer configured first."""
        with self._lock:
            return self._fleet.all
