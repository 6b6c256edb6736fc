"""The operators at the control socket, as the loop sees them.

Orders are carried out at the end of a turn; an operator is told when all that the order changed is
safe on disk.  Must not know the meaning of orders, which are in `_wire.orders`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from spalloc_server._wire.control import Control
from spalloc_server._wire.control_socket import ControlFailed

if TYPE_CHECKING:
    from spalloc_server._jobs.write_ahead import WriteAhead

log = logging.getLogger(__name__)


class Operators:
    """Takes orders from `open` on; before, and without a socket, there are none.

    Parameters
    ----------
    path : Path
        The control socket's file.
    wake : callable
        Begins a turn of the loop; called from any thread.
    write_ahead : WriteAhead
    obey : callable
        (order, user id) → answer, both a line of text.

    Attributes
    ----------
    busy : bool
        Whether `see_to` may have something to do.
    """

    def __init__(
        self,
        path: Path,
        wake: Callable[[], object],
        write_ahead: WriteAhead,
        obey: Callable[[str, int], str],
    ) -> None:
        self._path = path
        self._wake = wake
        self._write_ahead = write_ahead
        self._obey = obey
        self._control: Control | None = None
        # Position that must be safe before operators are told; None if nobody waits.
        self._obeyed: int | None = None
        self.busy = False

    def open(self) -> None:
        """Open the control socket; nothing else depends on it."""
        try:
            self._control = Control(self._path, self._order_came)
        except (ControlFailed, OSError) as e:
            log.warning("spalloc-state cannot reach this server: %s", e)

    def _order_came(self) -> None:
        """Have the loop look; in the thread of the control socket."""
        self.busy = True
        self._wake()

    def see_to(self) -> None:
        """Carry out the orders that have come, and tell of those that are safe."""
        control, write_ahead = self._control, self._write_ahead
        if control is None:
            return
        self.busy = False  # before the look: an order may come meanwhile
        if control.carry_out(self._obey):
            self._obeyed = write_ahead.commit()
            self._wake()  # for clients that watch
        if self._obeyed is not None and self._obeyed <= write_ahead.safe:
            self._obeyed = None
            control.settle()
        if self._obeyed is not None:
            self.busy = True

    def stop(self) -> None:
        """Answer the operators who wait, and close the socket; harmless twice or before `open`."""
        if self._control is not None:
            self._control.stop()
