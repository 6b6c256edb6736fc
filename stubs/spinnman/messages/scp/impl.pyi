from collections.abc import Iterable

from spinnman.messages.scp.abstract_messages import AbstractSCPRequest, AbstractSCPResponse
from spinnman.messages.scp.enums import PowerCommand
from spinnman.model import VersionInfo

class CheckOKResponse(AbstractSCPResponse): ...

class GetVersionResponse(AbstractSCPResponse):
    @property
    def version_info(self) -> VersionInfo: ...

class _SCPReadFPGARegisterResponse(AbstractSCPResponse):
    @property
    def fpga_register(self) -> int: ...

class SetPower(AbstractSCPRequest[CheckOKResponse]):
    def __init__(
        self,
        power_command: PowerCommand,
        boards: int | Iterable[int],
        delay: float = ...,
        board_to_send_to: int = ...,
    ) -> None: ...

class BMPGetVersion(AbstractSCPRequest[GetVersionResponse]):
    def __init__(self, board: int) -> None: ...

class ReadFPGARegister(AbstractSCPRequest[_SCPReadFPGARegisterResponse]):
    def __init__(self, fpga_num: int, register: int, board: int) -> None: ...

class WriteFPGARegister(AbstractSCPRequest[CheckOKResponse]):
    def __init__(self, fpga_num: int, addr: int, value: int, board: int) -> None: ...
