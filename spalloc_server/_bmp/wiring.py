"""How frames are reached: settings that `main` makes and the frame threads read.

Owns the two settings that differ between real hardware and the simulator. Knows
nothing of SpiNNMan, threads or requests.
"""

from collections.abc import Callable

#: Seconds that boards need after power-on before their FPGAs can be used.
_FPGA_WAIT = 5.0


def as_configured(host: str) -> str:
    """Talk to the very host that the configuration names.

    Parameters
    ----------
    host : str
        Host name or address of a BMP, as configured.

    Returns
    -------
    str
        The same.
    """
    return host


#: Seconds to wait after a power-on, read at each power-on.
fpga_wait: float = _FPGA_WAIT

#: From the configured BMP host to the host name or address to talk to; called in the
#: frame's thread whenever it connects. What it raises counts as no answer.
resolve: Callable[[str], str] = as_configured


def reset() -> None:
    """Go back to real hardware: 5 s after power-on, hosts as configured."""
    global fpga_wait, resolve  # noqa: PLW0603 - replaceable settings are what this module is for
    fpga_wait = _FPGA_WAIT
    resolve = as_configured
