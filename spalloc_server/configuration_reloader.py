"""When the configuration file is read again: on SIGHUP, or when asked.

Owns the signal handler, the flag it sets, and the guarantee that no file does
more harm than a line in the log. Must not know the contents of a configuration,
nor the effects of loading one.
"""

import logging
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from spinn_utilities.abstract_base import AbstractBase, abstractmethod

from spalloc_server._configuration_file import (
    ConfigurationError,
    is_interrupt,
    line_in_file,
    read_configuration_text,
)

_log = logging.getLogger(__name__)

#: Characters of an error's words that are told. # arbitrary
_LONGEST = 200


class ConfigurationReloader(metaclass=AbstractBase):
    """Reads a configuration file, when asked and when SIGHUP asks for it.

    Parameters
    ----------
    configuration_file : str or Path
        Need not exist yet.
    callback : callable
        Called without arguments on SIGHUP, from within the signal handler in the
        main thread: it may do no more than wake the caller of `read_config_file`.

    Notes
    -----
    Python installs signal handlers in the main thread only. Made in another one,
    this object does without and says so in the log; `read_config_file` works all
    the same.
    """

    def __init__(self, configuration_file: str | Path, callback: Callable[[], object]) -> None:
        self._config_filename = configuration_file
        self._callback = callback
        self._reload_config = False
        #: Why the last reading loaded nothing; empty if it did.
        self._why_not_loaded = ""
        #: One reading at a time, so that the text read last is loaded last.
        self._reading = threading.RLock()
        self._listens_to_sighup = False
        self._handler_before: Any = None
        self._listen_to_sighup()

    def stop_listening_to_sighup(self) -> None:
        """Put back the signal handler that was there before; may be called twice.

        In another than the main thread the handler stays, and does nothing any more.
        """
        if not self._listens_to_sighup:
            return
        self._listens_to_sighup = False
        if threading.current_thread() is not threading.main_thread():
            _log.debug("Not in the main thread: SIGHUP is ignored from now on.")
        elif signal.getsignal(signal.SIGHUP) == self._sighup_handler:
            signal.signal(signal.SIGHUP, self._living_handler_before())

    # --- any thread ---

    @property
    def config_needs_reloading(self) -> bool:
        """Whether there was a SIGHUP that no reading has answered yet."""
        return self._reload_config

    @property
    def configuration_file(self) -> str | Path:
        """Name of the file, as given."""
        return self._config_filename

    def read_config_file(self) -> bool:
        """Read, check and load the configuration file, before returning.

        A fault in it goes to the log and changes nothing. A SIGHUP that
        arrives meanwhile asks for another reading; a failed one is not repeated.

        Returns
        -------
        bool
            True if it was loaded.
        """
        with self._reading:
            # Before reading, so that a later SIGHUP is not taken for answered.
            self._reload_config = False
            self._why_not_loaded = ""
            try:
                return self._read()
            except ConfigurationError as exc:
                self._why_not_loaded = str(exc)
                _log.error("Configuration not loaded: %s", exc)
                _log.debug("How it came to that:", exc_info=True)
            except BaseException as exc:
                if is_interrupt(exc):
                    raise
                self._log_failure(exc)
            return False

    # --- to be overridden ---

    @abstractmethod
    def _parse_config(self, config_file_contents: str) -> Any:
        """Parse the text of the file.

        Parameters
        ----------
        config_file_contents : str

        Returns
        -------
        object
            For `_validate_config`. Any exception means that the file is no good.
        """

    @abstractmethod
    def _validate_config(self, parsed_config: Any) -> Any:
        """Return the part that is to be loaded.

        Parameters
        ----------
        parsed_config : object
            From `_parse_config`.

        Returns
        -------
        object or None
            For `_load_valid_config`; None if there is nothing valid, and then the log
            ought to say why.
        """

    @abstractmethod
    def _load_valid_config(self, validated_config: Any) -> None:
        """Put a configuration into effect, all of it or, raising, nothing.

        Parameters
        ----------
        validated_config : object
            From `_validate_config`.
        """

    # --- signal handler ---

    def _sighup_handler(self, signum: int, _frame: FrameType | None) -> None:
        if not self._listens_to_sighup:
            return
        self._reload_config = True
        try:
            self._callback()
        except Exception:  # noqa: BLE001 - logged, by a name ruff does not know
            # Would come up in the middle of the main thread's work.
            _log.exception("Signal %d: nobody could be told to read the configuration", signum)

    # --- helpers ---

    def _listen_to_sighup(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            _log.info("Not in the main thread: SIGHUP will not reload the configuration.")
            return
        self._listens_to_sighup = True
        self._handler_before = signal.signal(signal.SIGHUP, self._sighup_handler)

    def _living_handler_before(self) -> Any:
        """Find the handler to put back, past those of reloaders that have stopped out of order."""
        handler = self._handler_before
        while True:
            owner = getattr(handler, "__self__", None)
            if not isinstance(owner, ConfigurationReloader) or owner._listens_to_sighup:
                # None: it was installed by something other than Python.
                return signal.SIG_DFL if handler is None else handler
            handler = owner._handler_before

    def _read(self) -> bool:
        contents = read_configuration_text(self._config_filename)
        validated = self._validate_config(self._parse_config(contents))
        if validated is None:
            self._why_not_loaded = f"{self._config_filename} is not valid"
            _log.error("Configuration not loaded: %s", self._why_not_loaded)
            return False
        self._load_valid_config(validated)
        _log.info("Configuration loaded from %s", self._config_filename)
        return True

    def _log_failure(self, exc: BaseException) -> None:
        name = str(self._config_filename)
        line = line_in_file(exc, name)
        where = name if line is None else f"{name}, line {line}"
        # The first line of its words, which may be many.
        said = str(exc).strip().partition("\n")[0]
        self._why_not_loaded = f"{where}: {type(exc).__name__}{': ' * bool(said)}{said[:_LONGEST]}"
        _log.error("Configuration not loaded: %s", self._why_not_loaded, exc_info=exc)
