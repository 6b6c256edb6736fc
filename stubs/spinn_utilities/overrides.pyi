from collections.abc import Callable, Iterable
from typing import Any, TypeVar

_Method = TypeVar("_Method", bound=Callable[..., Any])

class overrides:  # noqa: N801 - the library's name
    def __init__(
        self,
        super_class_method: Callable[..., Any] | property,
        extend_doc: bool = True,
        additional_arguments: Iterable[str] | None = None,
        extend_defaults: bool = False,
    ) -> None: ...
    def __call__(self, method: _Method) -> _Method: ...
