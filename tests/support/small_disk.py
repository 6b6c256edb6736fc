"""A small file system of a test's own, where the machine allows one.

It is a tmpfs, which holds whole pages: a file takes what goes into its last
page also when no other is free.  So a journal may grow a little on a full disk,
and a new file never gets a byte.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spalloc_server._saved.store import Store
from spalloc_server.server import SpallocServer

PAGE = os.sysconf("SC_PAGE_SIZE")
#: Size of the file system in pages; a server with few jobs takes four.
_PAGES = 32


def _mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], capture_output=True, check=True)


class SmallDisk:
    """A mounted file system; nobody else uses it.

    Parameters
    ----------
    directory : Path
        Where to mount it; there is another folder beside it, to keep it alive
        while it is not mounted there.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._kept = directory.with_name(f"{directory.name}-kept")
        self._ballast = directory / "ballast"
        for folder in (self.directory, self._kept):
            folder.mkdir()
        _mount("-t", "tmpfs", "-o", f"size={_PAGES * PAGE},mode=700", "tmpfs", self._kept)
        try:
            self.put_in_place()
        except subprocess.CalledProcessError:
            self.end()
            raise

    # --- room ---

    @property
    def free(self) -> int:
        """How many pages are free."""
        status = os.statvfs(self.directory)
        return status.f_bfree * status.f_bsize // PAGE

    def fill(self, leave: int = 0) -> None:
        """Leave so many pages free; nobody may write meanwhile, or remove what he wrote."""
        with self._ballast.open("ab", 0) as file:
            with pytest.raises(OSError, match="No space"):
                while True:
                    file.write(bytes(PAGE))
            file.truncate((file.tell() // PAGE - leave) * PAGE)
        assert self.free == leave

    def fill_under(self, server: SpallocServer) -> None:
        """Leave no page free between two steps of a server."""
        with between_steps(server):
            self.fill()

    def make_room(self) -> None:
        """Take back what `fill` did."""
        self._ballast.unlink()

    # --- coming and going ---

    def put_in_place(self) -> None:
        """Mount it at `directory` (again)."""
        _mount("--bind", self._kept, self.directory)

    def take_away(self) -> None:
        """Unmount it, whoever has files of it open; what it holds stays."""
        subprocess.run(["umount", "--lazy", str(self.directory)], check=True)

    def make_read_only(self) -> None:
        """Let nobody open a file for writing; who has one open goes on."""
        self.put_in_place()
        for tries_left in reversed(range(100)):
            try:
                _mount("-o", "remount,bind,ro", self.directory)
                return
            except subprocess.CalledProcessError:
                if not tries_left:
                    raise  # it is not a thread in the middle of a write

    def end(self) -> None:
        """Unmount all of it for good."""
        while os.path.ismount(self.directory):
            self.take_away()
        subprocess.run(["umount", "--lazy", str(self._kept)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """A file system of few pages, where the machine allows one."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a file system")
    try:
        disk = SmallDisk(tmp_path / "small")
    except subprocess.CalledProcessError as e:
        pytest.skip(f"this machine lets nobody mount a file system: {e.stderr.decode().strip()}")
    yield disk
    # Lazily: a server that a failed test left behind must not keep it for ever.
    disk.end()


def at_rest(store: Store) -> bool:
    """Whether none of a store's threads has files to put in place or to remove."""
    store.settle()
    return store._next is None and not store._journals.over


@contextmanager
def between_steps(server: SpallocServer) -> Iterator[None]:
    """Keep a server from doing anything: its loop needs that lock, its threads are idle.

    The threads end their work without the lock.  Without it here, a loop that begins a snapshot in
    each turn could begin the next one every time before this thread has a look.
    """
    file = server._event_file
    assert file is not None
    with server.controller.undisturbed:
        # The events' thread opens its file a moment after the start, if there is room.
        while not (at_rest(server.store) and (file._fd is not None or file._trouble.text)):
            server.store.wait_for_news(sys.maxsize, 0.1)
        yield
