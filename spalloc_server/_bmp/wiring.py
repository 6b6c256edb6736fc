"""How frames are reached: settings that `main` makes and the frame threads read.

Owns the settings that differ between installations, real hardware and the simulator.
Knows nothing of SpiNNMan, threads or requests.
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

#: Whether a frame goes on with other boards while some configure their FPGAs, read at
#: each power-on.
overlap_power_on: bool = True

#: From the configured BMP host to the host name or address to talk to; called in the
#: frame's thread whenever it connects. An exception counts as no answer.
resolve: Callable[[str], str] = as_configured


def reset() -> None:
    """Go back to real hardware: 5 s after power-on, hosts as configured."""
    global fpga_wait, overlap_power_on, resolve  # noqa: PLW0603 - this module is settings
    fpga_wait = _FPGA_WAIT
    overlap_power_on = True
    resolve = as_configured
