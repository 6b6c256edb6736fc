class SpinnmanException(Exception): ...  # noqa: N818 - SpiNNMan's name

class SpinnmanIOException(SpinnmanException):
    def __init__(self, problem: str) -> None: ...

class SpinnmanTimeoutException(SpinnmanException):
    def __init__(
        self, operation: object, timeout: float | None, msg: str | None = ...
    ) -> None: ...

class SpinnmanUnexpectedResponseCodeException(SpinnmanException):
    def __init__(self, operation: str, command: str, response: str) -> None: ...
    @property
    def response(self) -> str: ...

class SpinnmanGenericProcessException(SpinnmanException):
    def __init__(
        self,
        exception: Exception,
        tb: object,
        x: int,
        y: int,
        p: int,
        phys_p: str,
        tb2: object = ...,
    ) -> None: ...
    @property
    def exception(self) -> Exception: ...
