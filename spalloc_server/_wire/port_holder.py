"""The process that listens on a TCP port of this computer, for the words of an error.

Reads /proc; knows nothing of this server.
"""

from __future__ import annotations

from pathlib import Path

#: State of a listening socket in /proc/net/tcp.
_LISTENING = "0A"


def holder_of(port: int, proc: Path = Path("/proc")) -> str | None:
    """Return the process that listens on a port, in words.

    Parameters
    ----------
    port : int
        TCP.
    proc : Path
        Where the process file system is.

    Returns
    -------
    str or None
        Such as ``process 123 (spalloc_server)``; None if nobody does, or it
        cannot be seen.
    """
    inodes = _listening(port, proc)
    if not inodes:
        return None
    for process in proc.glob("[0-9]*"):
        try:
            for descriptor in (process / "fd").iterdir():
                if str(descriptor.readlink()) in inodes:
                    name = (process / "comm").read_text().strip()
                    return f"process {process.name} ({name})"
        except OSError:
            continue  # another user's, or it has just ended
    return None


def _listening(port: int, proc: Path) -> set[str]:
    """Return the sockets that listen on a port, as links to them read."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        try:
            lines = (proc / "net" / table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, local, _, state, *rest = line.split()
            if state == _LISTENING and int(local.rpartition(":")[2], 16) == port:
                sockets.add(f"socket:[{rest[5]}]")
    return sockets
