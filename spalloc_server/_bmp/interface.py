"""The interface of the object that talks to a frame's BMP, and the ways it fails.

Owns the interface and the meaning of its exceptions. Knows nothing of packets or
requests.
"""

import errno
from typing import Protocol

#: Errors of system calls that are this computer's fault, and never a peer's.
_LACKS = {
    errno.EMFILE: "no file descriptors left",
    errno.ENFILE: "no file descriptors left in the system",
    errno.ENOBUFS: "no network buffers left",
    errno.ENOMEM: "no memory left",
}
#: Begins the text of the RuntimeError of a thread that cannot be started.
_NO_THREAD = "can't start new thread"


class AbandonedError(Exception):
    """The frame's thread was told to give up, in the middle of something."""


class BMPSilentError(Exception):
    """No answer came, however often the command was sent."""


class BMPAnswerError(Exception):
    """The BMP answered with an error."""


class ShortageError(Exception):
    """The computer that runs this lacks descriptors, memory, threads or a library.

    It says nothing about the BMP.
    """


class BMPVersion(Protocol):
    """The answer of `BMPTransceiver.read_bmp_version`."""

    @property
    def version_number(self) -> tuple[int, ...]:
        """Major, minor and patch number."""


class BMPTransceiver(Protocol):
    """The object that talks to a BMP, as a frame's thread uses it.

    Each method raises if it could not be done; see `is_silence`.
    """

    def power_on(self, *, boards: list[int], frame: int, cabinet: int) -> None:
        """Power boards on; returns when their FPGAs can be used."""

    def power_off(self, *, boards: list[int], frame: int, cabinet: int) -> None:
        """Power boards off."""

    def read_fpga_register(
        self, *, fpga_num: int, register: int, board: int, cabinet: int, frame: int
    ) -> int:
        """Read one 32 bit register of an FPGA."""

    def write_fpga_register(
        self, fpga: int, register: int, value: int, *, board: int, frame: int, cabinet: int
    ) -> None:
        """Write one 32 bit register of an FPGA."""

    def read_bmp_version(self, *, board: int, frame: int, cabinet: int) -> BMPVersion:
        """Ask a board for its BMP's version."""


def _root_cause(error: BaseException) -> BaseException:
    """Unwrap SpiNNMan's exception around exceptions."""
    inner = getattr(error, "exception", None)
    return inner if isinstance(inner, BaseException) else error


def shortage(error: BaseException) -> str | None:
    """Name the thing that this computer lacks, if that is the reason for an exception.

    Parameters
    ----------
    error : BaseException
        From anywhere; the exceptions that led to it are looked at too.

    Returns
    -------
    str or None
        For people, such as "no file descriptors left (EMFILE)".
    """
    seen: set[int] = set()
    cause: BaseException | None = error
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if (lack := _lack(_root_cause(cause))) is not None:
            return lack
        cause = cause.__cause__ or cause.__context__
    return None


def _lack(error: BaseException) -> str | None:
    if isinstance(error, ShortageError):
        return str(error)
    if isinstance(error, OSError) and error.errno in _LACKS:
        return f"{_LACKS[error.errno]} ({errno.errorcode[error.errno]})"
    if isinstance(error, MemoryError):
        return "no memory left"
    if isinstance(error, ImportError):
        return f"cannot import: {error}"
    if isinstance(error, RuntimeError) and str(error).startswith(_NO_THREAD):
        return "no more threads can be started"
    return None


def is_silence(error: BaseException) -> bool:
    """Whether an exception from a transceiver says that no answer came.

    Parameters
    ----------
    error : BaseException
        From ours, or from a SpiNNMan transceiver put in its place.

    Returns
    -------
    bool
        False if there was an answer, or if that is not known.
    """
    error = _root_cause(error)
    if isinstance(error, (BMPSilentError, TimeoutError)):
        return True
    # Known by name, as only `_bmp.transceiver` imports SpiNNMan.
    return any(kind.__name__ == "SpinnmanTimeoutException" for kind in type(error).__mro__)


def describe(error: BaseException) -> str:
    """Describe an exception from a transceiver in one line.

    Parameters
    ----------
    error : BaseException

    Returns
    -------
    str
        Never empty.
    """
    error = _root_cause(error)
    return " ".join(str(error).split()) or type(error).__name__
