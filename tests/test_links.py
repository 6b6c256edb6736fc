"""The six links of a board."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server.links import Links

links = st.sampled_from(list(Links))

VECTORS = {
    Links.east: (1, 0),
    Links.north_east: (1, 1),
    Links.north: (0, 1),
    Links.west: (-1, 0),
    Links.south_west: (-1, -1),
    Links.south: (0, -1),
}


def test_links_are_numbered_anticlockwise_from_east() -> None:
    names = [link.name for link in sorted(Links)]

    assert names == ["east", "north_east", "north", "west", "south_west", "south"]
    assert [int(link) for link in Links] == [0, 1, 2, 3, 4, 5]


def test_a_link_is_a_plain_number_to_others() -> None:
    assert int(Links.south) == 5
    assert (0, 0, 0, Links.north) in {(0, 0, 0, 2)}
    assert hash((0, 0, 0, Links.north)) == hash((0, 0, 0, 2))


@pytest.mark.parametrize(("link", "vector"), VECTORS.items())
def test_a_link_and_its_vector_tell_each_other(link: Links, vector: tuple[int, int]) -> None:
    assert link.to_vector() == vector
    assert Links.from_vector(vector) is link


@pytest.mark.parametrize(
    ("vector", "link"),
    [
        ((7, 0), Links.west),
        ((-7, 0), Links.east),
        ((0, 4), Links.south),
        ((0, -4), Links.north),
        ((5, 9), Links.south_west),
        ((-5, -9), Links.north_east),
        ((1, -9), Links.north_east),
        ((-9, 1), Links.north_east),
        ((9, -1), Links.south_west),
        ((-1, 9), Links.south_west),
    ],
)
def test_a_step_beyond_one_went_around_the_machine(
    vector: tuple[int, int], link: Links
) -> None:
    assert Links.from_vector(vector) is link


def test_a_machine_two_wide_or_high_has_its_diagonal_with_either_sign() -> None:
    assert Links.from_vector((1, -1)) is Links.south_west
    assert Links.from_vector((-1, 1)) is Links.north_east


def test_there_is_no_link_to_oneself() -> None:
    with pytest.raises(ValueError, match=r"\(0, 0\)"):
        Links.from_vector((0, 0))


@given(links)
def test_opposite_is_three_further_and_twice_is_the_same(link: Links) -> None:
    assert link.opposite == (link + 3) % 6
    assert link.opposite.opposite is link
    assert isinstance(link.opposite, Links)


@given(links)
def test_the_opposite_has_the_negative_vector(link: Links) -> None:
    dx, dy = link.to_vector()

    assert link.opposite.to_vector() == (-dx, -dy)
