"""The simulator's control socket, at which faults are set while it runs.

::

    -> 127.10.0.0 board 3 mute
    <- {"ok": true, "text": "", "data": {}}
    -> 127.10.0.0 board 99 mute
    <- {"ok": false, "text": "board '99' is not known; ...", "data": null}

Must not know frames or the meaning of the texts; the socket is `_wire.control_socket`'s.
"""

import json
from pathlib import Path
from typing import Any

from spalloc_server._wire import control_socket
from spalloc_server._wire.control_socket import Connection, ControlFailed, Lines, Listener

__all__ = ("Connection", "ControlFailed", "Lines", "Listener", "ask")


def ask(path: Path, text: str, timeout: float = 10.0) -> tuple[bool, str, Any]:
    """Send one text to a running simulation.

    Parameters
    ----------
    path : Path
        Its control socket.
    text : str
        One line.
    timeout : float
        Seconds to wait for each step.

    Returns
    -------
    (ok, text, data)
        Whether it was carried out; the answer, or the mistake; the answer as builtins.

    Raises
    ------
    ControlFailed
        If nobody answers there.
    """
    line = " ".join(text.split())
    answer = json.loads(control_socket.ask(path, line, "a simulation", timeout))
    return answer["ok"], answer["text"], answer["data"]
