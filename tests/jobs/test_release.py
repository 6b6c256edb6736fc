"""Boards that go off frame by frame."""

from spalloc_server._jobs.release import Release
from spalloc_server._places import Frame


def test_a_release_is_done_when_every_frame_has_answered() -> None:
    release = Release(7, "m", 3, [(0, 0, 0), (1, 0, 0)])
    release.expect(Frame((0, 0)), "a", [0])
    release.expect(Frame((0, 1)), "b", [4, 5])

    assert release.key == ("m", 3)
    assert list(release.outstanding()) == [("a", [0]), ("b", [4, 5])]
    assert release.answered(Frame((0, 1))) == ("b", [4, 5])
    assert not release.done
    release.answered(Frame((0, 0)))
    assert release.done
    assert not release.orphaned
