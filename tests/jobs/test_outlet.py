"""A controller by itself keeps no outcomes and holds no requests back."""

from typing import Any

from spalloc_server._bmp.requests import AtomicRequests
from spalloc_server._jobs.outlet import AtOnce


class Frame:
    def __init__(self) -> None:
        self.steps: list[object] = []

    def add_requests(self, request: AtomicRequests) -> None:
        self.steps.append(request)

    def stop(self) -> None:
        self.steps.append("end")


def test_a_controller_by_itself_asks_its_frames_at_once() -> None:
    outlet, frame = AtOnce(), Frame()
    bmp: Any = frame
    request = AtomicRequests(lambda *_: None)

    outlet.note(("limits", 5, 30))
    outlet.send(bmp, request)
    outlet.drop_requests()
    outlet.stop(bmp)

    assert frame.steps == [request, "end"]
