"""Names of boards and frames are plain tuples."""

import pickle

from spalloc_server._places import Frame, Place, frame_of, place_in


def test_a_place_is_a_frame_and_a_number_in_it() -> None:
    place = place_in(Frame((0, 3)), 17)

    assert place == Place((0, 3, 17))
    assert frame_of(place) == Frame((0, 3))


def test_places_and_frames_are_plain_tuples() -> None:
    for name in (place_in(Frame((0, 3)), 17), Frame((0, 3))):
        assert type(name) is tuple
        assert pickle.loads(pickle.dumps(name)) == name
