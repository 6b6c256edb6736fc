from typing import Generic, TypeVar

from spinnman.messages.scp import SCPRequestHeader

class AbstractSCPResponse:
    def read_bytestring(self, data: bytes, offset: int) -> None: ...

_Response_co = TypeVar("_Response_co", bound=AbstractSCPResponse, covariant=True)

# Not generic in SpiNNMan: the parameter is what get_scp_response returns.
class AbstractSCPRequest(Generic[_Response_co]):
    @property
    def scp_request_header(self) -> SCPRequestHeader: ...
    @property
    def bytestring(self) -> bytes: ...
    def get_scp_response(self) -> _Response_co: ...
