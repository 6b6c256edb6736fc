"""Runs a configuration file and hands over its configuration and settings.

Owns the namespace a configuration file sees, the wording of its faults, and finding
the line. Must not know when files are read again (`configuration_reloader`), nor how a
configuration is used.
"""

import ast
import dis
import threading
from pathlib import Path
from types import CodeType, TracebackType
from typing import Any, NamedTuple

from spalloc_server import configuration as _configuration
from spalloc_server import coordinates as _coordinates
from spalloc_server._access.policy import Policy, Rule
from spalloc_server._checks.faults import configuration_faults
from spalloc_server._checks.settings import SettingError, Settings, settings_among
from spalloc_server.configuration import Configuration, Machine, folder_of_running_file
from spalloc_server.links import Links

#: What a configuration file may set `durability` to, see the reliability chapter.
DURABILITIES = ("process", "always", "none")

_WANTED = "expected a global `configuration` that is a Configuration, such as"
_EXAMPLE = "`configuration = Configuration(machines=[...])`"


class ConfigurationError(Exception):
    """A configuration file that cannot be used.

    Parameters
    ----------
    filename : str
        As it was given.
    line : int or None
        1-based; None if no line is to blame, as of a missing file.
    message : str
        The mistake, and the expected value.
    """

    def __init__(self, filename: str, line: int | None, message: str) -> None:
        super().__init__(filename, line, message)
        self.filename = filename
        self.line = line
        self.message = message

    def __str__(self) -> str:
        where = self.filename if self.line is None else f"{self.filename}, line {self.line}"
        return f"{where}: {self.message}"


class LoadedConfiguration(NamedTuple):
    """A configuration file's configuration and its other settings."""

    configuration: Configuration
    settings: Settings


def load_configuration(filename: str | Path) -> Configuration:
    """Read and run a configuration file.

    Parameters
    ----------
    filename : str or Path

    Returns
    -------
    Configuration

    Raises
    ------
    ConfigurationError
        If it cannot be read, run or used.
    """
    return parse_configuration(read_configuration_text(filename), filename)


def parse_configuration(text: str, filename: str | Path) -> Configuration:
    """Run the text of a configuration file.

    Parameters
    ----------
    text : str
        Python.
    filename : str or Path
        Where the text is from; need not exist.

    Returns
    -------
    Configuration

    Raises
    ------
    ConfigurationError
        If it cannot be run or used.
    """
    return run_configuration(text, filename).configuration


def read_configuration_text(filename: str | Path) -> str:
    """Text of a file that ought to be UTF-8.

    Raises
    ------
    ConfigurationError
        If it is missing, unreadable or encoded otherwise.
    """
    try:
        contents = Path(filename).read_bytes()
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise ConfigurationError(
            str(filename), None, f"cannot be read ({reason}): expected a readable file"
        ) from exc
    try:
        return contents.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = 1 + contents.count(b"\n", 0, exc.start)
        wrong = contents[exc.start]
        raise ConfigurationError(
            str(filename), line, f"byte 0x{wrong:02x} is not UTF-8: expected a file saved as UTF-8"
        ) from exc


def run_configuration(text: str, filename: str | Path) -> LoadedConfiguration:
    """Run the text of a configuration file; as `parse_configuration`, and all it set.

    Raises
    ------
    ConfigurationError
        If it cannot be run or used.
    """
    name = str(filename)
    tree, code = _compiled(text, name)
    namespace = configuration_namespace(name)
    token = folder_of_running_file.set(Path(name).absolute().parent)
    try:
        exec(code, namespace)
    except BaseException as exc:
        if is_interrupt(exc) and not _is_raised_in(exc, name):
            raise
        raise ConfigurationError(name, line_in_file(exc, name), _failure(exc)) from exc
    finally:
        folder_of_running_file.reset(token)
    return LoadedConfiguration(
        _configuration_of(namespace, name, tree, text), _settings_of(namespace, name, tree)
    )


def configuration_namespace(filename: str) -> dict[str, Any]:
    """Names that a configuration file finds: those of the modules, and its own file's."""
    names: dict[str, Any] = {
        "__file__": str(Path(filename).absolute()),
        "Links": Links,
        "Policy": Policy,
        "Rule": Rule,
    }
    for module in (_coordinates, _configuration):
        public = getattr(module, "__all__", None) or [n for n in vars(module) if n[0] != "_"]
        names.update((public_name, getattr(module, public_name)) for public_name in public)
    return names


def line_in_file(exc: BaseException, filename: str) -> int | None:
    """Line of a file that was running when an exception was raised.

    Parameters
    ----------
    exc : BaseException
    filename : str
        As the code was compiled with.

    Returns
    -------
    int or None
        1-based, the innermost of that file; for a syntax error the line that
        has it. None if the file has no part in it.
    """
    if isinstance(exc, SyntaxError) and exc.filename == filename:
        return exc.lineno
    line = None
    traceback: TracebackType | None = exc.__traceback__
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == filename:
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line


def is_interrupt(exc: BaseException) -> bool:
    """Whether an exception is the user's Ctrl-C, unless somebody raised it by hand.

    Python raises it in the main thread only; elsewhere a script did.
    """
    return (
        isinstance(exc, KeyboardInterrupt)
        and threading.current_thread() is threading.main_thread()
    )


# --- helpers ---


def _compiled(text: str, name: str) -> tuple[ast.Module, CodeType]:
    try:
        tree = ast.parse(text, name)
        return tree, compile(tree, name, "exec", dont_inherit=True)
    except (SyntaxError, ValueError, MemoryError, RecursionError, OverflowError) as exc:
        line = line_in_file(exc, name)
        if line is None and "\0" in text:
            line = 1 + text.count("\n", 0, text.index("\0"))
        told = exc.msg if isinstance(exc, SyntaxError) else _told(exc)
        raise ConfigurationError(name, line, f"syntax error ({told}): expected Python") from exc


def _is_raised_in(exc: BaseException, filename: str) -> bool:
    """Whether an exception comes from a `raise` in a file, as no signal's does."""
    traceback = exc.__traceback__
    assert traceback is not None
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code
    instruction = dis.opname[code.co_code[traceback.tb_lasti]]
    return code.co_filename == filename and instruction == "RAISE_VARARGS"


def _told(exc: BaseException) -> str:
    """Say which exception it was, in one piece of text, even if it cannot be printed."""
    try:
        text = str(exc)
    except Exception as broken:  # noqa: BLE001 - the file's own class may do anything
        text = f"unprintable, {type(broken).__name__}"
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def _failure(exc: BaseException) -> str:
    """Say why the file ended, and how it should have."""
    told = _told(exc)
    if isinstance(exc, SystemExit):
        return f"{told}: a configuration file must not exit; expected it to run to its end"
    # The mistakes of a machine say themselves which value was expected.
    if isinstance(exc, TypeError | ValueError) and ": expected " in told:
        return told
    return f"{told}: expected the file to run to its end"


def _configuration_of(
    namespace: dict[str, Any], name: str, tree: ast.Module, text: str
) -> Configuration:
    if "configuration" not in namespace:
        raise ConfigurationError(
            name, 1 + text.count("\n"), f"the file ends without one: {_WANTED} {_EXAMPLE}"
        )
    configuration = namespace["configuration"]
    line = _line_assigning("configuration", tree)
    if not isinstance(configuration, Configuration):
        raise ConfigurationError(
            name,
            line,
            f"`configuration` is of type {type(configuration).__name__}: {_WANTED} {_EXAMPLE}",
        )
    try:
        # The file may have changed lists and dictionaries after they were checked.
        Configuration(*configuration)
        for machine in configuration.machines:
            Machine(*machine)
    except (TypeError, ValueError) as exc:
        raise ConfigurationError(
            name, line, f"{_told(exc)}; changed after it was made: expected a finished one"
        ) from exc
    faults = [
        text if machine is None else f"machine {machine!r}: {text}"
        for machine, text in configuration_faults(configuration)
    ]
    if faults:
        raise ConfigurationError(name, line, "; ".join(faults))
    return configuration


def _settings_of(namespace: dict[str, Any], name: str, tree: ast.Module) -> Settings:
    try:
        return settings_among(namespace)
    except SettingError as exc:
        raise ConfigurationError(name, _line_assigning(exc.name, tree), str(exc)) from exc


def _line_assigning(name: str, tree: ast.Module) -> int | None:
    """Last line that gives a global its value, or that imports or defines it."""
    lines = [
        node.lineno
        for node in ast.walk(tree)
        if (isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store))
        or (
            isinstance(node, ast.alias | ast.FunctionDef | ast.ClassDef)
            and name in (node.name, getattr(node, "asname", None))
        )
    ]
    return max(lines, default=None)
