"""SCP requests as SpiNNMan sends them, for the simulator to be compared with.

``python -m tests.support.simulator_recording`` records them anew into
``tests/data/scp_recorded.json``; a test compares the packets that SpiNNMan sends now with
that file.
"""

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from spinnman.connections.udp_packet_connections import BMPConnection
from spinnman.messages.scp.enums import PowerCommand
from spinnman.messages.scp.impl import BMPGetVersion, ReadFPGARegister, SetPower, WriteFPGARegister
from spinnman.model import BMPConnectionData

if TYPE_CHECKING:
    from spinnman.messages.scp.abstract_messages import AbstractSCPRequest, AbstractSCPResponse

    AnyRequest = AbstractSCPRequest[AbstractSCPResponse]

RECORDED = Path(__file__).parent.parent / "data" / "scp_recorded.json"

MADE: "dict[str, Callable[[], AnyRequest]]" = {
    "version of board 0": lambda: BMPGetVersion(0),
    "version of board 23": lambda: BMPGetVersion(23),
    "power on board 0": lambda: SetPower(PowerCommand.POWER_ON, 0),
    "power on boards 1, 2 and 23": lambda: SetPower(PowerCommand.POWER_ON, [1, 2, 23]),
    "power on boards 0 and 3, 2 s apart": lambda: SetPower(PowerCommand.POWER_ON, [0, 3], 2.0),
    "power off all boards": lambda: SetPower(PowerCommand.POWER_OFF, range(24)),
    "read flags of FPGA 2 of board 23": lambda: ReadFPGARegister(2, 0x40004, 23),
    "read stop of east of board 1": lambda: ReadFPGARegister(0, 0x5C, 1),
    "stop north_east of board 2": lambda: WriteFPGARegister(2, 0x1005C, 1, 2),
    "run south of board 0": lambda: WriteFPGARegister(0, 0x1005C, 0, 0),
    "write a whole word": lambda: WriteFPGARegister(1, 0x5C, 0x89ABCDEF, 23),
}
"""{name: makes SpiNNMan's request}; sequence numbers are 0x1200 and on, in this order."""


def make(name: str) -> "AnyRequest":
    """SpiNNMan's request of a name, numbered."""
    request = MADE[name]()
    request.scp_request_header.sequence = 0x1200 + list(MADE).index(name)
    return request


def record() -> dict[str, str]:
    """What arrives at a socket when SpiNNMan sends the requests: {name: hexadecimal digits}."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bmp:
        bmp.settimeout(10)
        bmp.bind(("127.0.0.1", 0))
        data = BMPConnectionData(0, 0, "127.0.0.1", range(24), bmp.getsockname()[1])
        connection = BMPConnection(data)
        try:
            recorded = {}
            for name in MADE:
                connection.send(connection.get_scp_data(make(name)))
                recorded[name] = bmp.recv(512).hex()
            return recorded
        finally:
            connection.close()


def recorded(name: str) -> bytes:
    """Bytes of a request as recorded once."""
    return bytes.fromhex(json.loads(RECORDED.read_text())[name])


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(record(), indent=2) + "\n")
