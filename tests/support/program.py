"""The whole program in this process, with something to do while its server runs."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from spalloc_server import server as server_module
from spalloc_server.server import SpallocServer, main

PATIENCE = 30.0


class Program:
    """Runs `main`, which is the main thread's, and meanwhile `during` in another one.

    Parameters
    ----------
    folder : Path
        Where it runs; holds the configuration.
    monkeypatch : MonkeyPatch

    Attributes
    ----------
    options : list of str
        Of the command line, beside those that simulate.
    server : SpallocServer or None
        The one that runs or has run.
    """

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.options: list[str] = []
        self.server: SpallocServer | None = None
        self._made = threading.Event()
        self._during: Callable[[SpallocServer], object] = lambda server: None
        self._failure: BaseException | None = None
        monkeypatch.chdir(folder)
        monkeypatch.setattr(server_module, "SpallocServer", self._make)

    def run(
        self, during: Callable[[SpallocServer], object] | None = None, *, stop: bool = True
    ) -> int:
        """Run to the end; returns the exit status.

        Parameters
        ----------
        during : callable, optional
            Called with the server once it is made, in a thread of its own.
        stop : bool
            Whether SIGTERM comes after that.
        """
        self._made.clear()
        self.server = None
        self._during = during or self._during
        helper = threading.Thread(target=self._help, args=(stop,))
        helper.start()
        with _log_as_before():
            status = main(["--simulate", "--port", "0", *self.options, "machines.cfg"])
        self._made.set()
        helper.join(PATIENCE)
        if self._failure is not None:
            raise self._failure
        return status

    def _make(self, **options: Any) -> SpallocServer:
        self.server = SpallocServer(**options)
        self._made.set()
        return self.server

    def _help(self, stop: bool) -> None:
        assert self._made.wait(PATIENCE)
        if self.server is None:
            return
        try:
            self._during(self.server)
        except BaseException as failure:  # noqa: BLE001 - told in the test's thread
            self._failure = failure
        finally:
            if (stop or self._failure) and self.server.is_alive():
                os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _log_as_before() -> Iterator[None]:
    """Have the log's level as before, whatever the program made of it."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
