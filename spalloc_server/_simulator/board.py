"""One simulated board: its power and its three FPGAs' registers.

Owns the register table. Must not know packets, faults, time or sockets.
"""

FPGAS = 3
LINKS = {
    "east": (0, 0x0000005C),
    "south": (0, 0x0001005C),
    "south_west": (1, 0x0000005C),
    "west": (1, 0x0001005C),
    "north": (2, 0x0000005C),
    "north_east": (2, 0x0001005C),
}
"""{link: (FPGA, address)} of the registers that stop a board-to-board link (1) or let it run (0).

Source: spinnaker_fpga design of the spio project, its SPI interface.
"""

FLAG_REGISTER = 0x00040004
"""Its low two bits are the FPGA's own number once it has configured properly (same source)."""

# Bits of the flag register beyond the FPGA's number, so that a program that compares
# the whole register is found out. Arbitrary.
_OTHER_FLAGS = 0x30

# The word that an SPI bus without a device reads as.
_NOBODY = 0xFFFFFFFF

# Registers that one FPGA remembers at most, so that a program gone wild cannot fill the memory.
# Arbitrary.
_MAX_REGISTERS = 1024


class Board:
    """Power and FPGA registers of one board.

    The BMP of a board has power of its own, so the version can be asked while the board is off;
    its FPGAs have not: while off, registers read as all ones and writes are lost.

    Parameters
    ----------
    number : int
        Position in the frame, 0-based.

    Attributes
    ----------
    on : bool
        Whether it has power.
    times_on, times_off : int
        How often power commands switched it.
    writes_lost : int
        Register writes that came while it was off.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.on = False
        self.times_on = 0
        self.times_off = 0
        self.writes_lost = 0
        self._registers: list[dict[int, int]] = [{} for _ in range(FPGAS)]

    def switch(self, on: bool, wrong_fpgas: frozenset[int] = frozenset()) -> None:
        """Switch the power, as a power command does.

        The FPGAs forget their registers, even if the board was on already.

        Parameters
        ----------
        on : bool
            Power from now on.
        wrong_fpgas : frozenset of int
            FPGAs that come up with a number that is not theirs.
        """
        if on:
            self.times_on += 1
        else:
            self.times_off += 1
        self.set_power(on, wrong_fpgas)

    def set_power(self, on: bool, wrong_fpgas: frozenset[int] = frozenset()) -> None:
        """Like `switch`, but not counted: how the board was found, not a switch of it."""
        self.on = on
        self._registers = [{} for _ in range(FPGAS)]
        if on:
            for fpga, registers in enumerate(self._registers):
                says = (fpga + 1) % FPGAS if fpga in wrong_fpgas else fpga
                registers[FLAG_REGISTER] = _OTHER_FLAGS | says

    def forget(self) -> None:
        """Start counting anew."""
        self.times_on = self.times_off = self.writes_lost = 0

    def read(self, fpga: int, address: int) -> int:
        """Value of a register, 32 bits; 0 if never written, all ones while the board is off."""
        return self._registers[fpga].get(address, 0) if self.on else _NOBODY

    def write(self, fpga: int, address: int, value: int) -> None:
        """Write a register; lost while the board is off. The flag register cannot be written."""
        if not self.on:
            self.writes_lost += 1
        elif address != FLAG_REGISTER:
            registers = self._registers[fpga]
            if address in registers or len(registers) < _MAX_REGISTERS:
                registers[address] = value

    @property
    def stopped_links(self) -> list[str]:
        """Names of the links that are stopped, ordered as `LINKS`; none while it is off."""
        if not self.on:
            return []
        return [link for link, (fpga, address) in LINKS.items() if self.read(fpga, address) & 1]
