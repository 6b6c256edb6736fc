from collections.abc import Iterable

class BMPConnectionData:
    def __init__(
        self,
        cabinet: int,
        frame: int,
        ip_address: str,
        boards: Iterable[int],
        port_num: int | None,
    ) -> None: ...

class VersionInfo:
    @property
    def version_number(self) -> tuple[int, int, int]: ...
    @property
    def hardware(self) -> str: ...
