from hypothesis import given
from hypothesis import strategies as st
from rich.color import Color
from spalloc_client._geometry import LINKS, Board, all_boards, both_ends, neighbour, wrap
from spalloc_client._hexagons import Mark, draw
from spalloc_client._palette import FIELDS, WORDS


def lines(*args: object, **kwargs: object) -> list[str]:
    return [text.plain for text in draw(*args, **kwargs)]  # type: ignore[arg-type]


def marks(width: int, height: int, label: str = ".") -> dict[Board, Mark]:
    return {board: Mark(label) for board in all_boards(width, height)}


def test_a_board_is_a_hexagon() -> None:
    assert lines({(0, 0, 0): Mark("A")}) == [" ___", "/ A \\", "\\___/"]


def test_a_triad_is_three() -> None:
    picture = {(0, 0, 0): Mark("A"), (0, 0, 1): Mark("BC"), (0, 0, 2): Mark("DEF")}
    assert lines(picture) == [
        " ___",
        "/DEF\\___",
        "\\___/BC \\",
        "/ A \\___/",
        "\\___/",
    ]


def test_a_machine_leans_to_the_left() -> None:
    assert lines(marks(2, 2)) == [
        " ___     ___",
        "/ . \\___/ . \\___",
        "\\___/ . \\___/ . \\",
        "/ . \\___/ . \\___/",
        "\\___/ . \\___/ . \\___",
        "    \\___/ . \\___/ . \\",
        "    / . \\___/ . \\___/",
        "    \\___/   \\___/",
    ]


def test_dead_links_replace_edges_on_all_sides() -> None:
    picture = {(1, 1, 1): Mark(".")}

    for link, expected in zip(
        LINKS,
        (
            [" ___", "/ . \\", "\\___#"],
            [" ___", "/ . #", "\\___/"],
            [" ###", "/ . \\", "\\___/"],
            [" ___", "# . \\", "\\___/"],
            [" ___", "/ . \\", "#___/"],
            [" ___", "/ . \\", "\\###/"],
        ),
        strict=True,
    ):
        assert lines(picture, {(1, 1, 1, link)}) == expected


def test_unicode_lines_have_the_same_shape() -> None:
    plain = lines(marks(3, 2), {(0, 0, 0, 2)})
    table = str.maketrans("\u2571\u2572\u2581\u2573", "/\\_#")

    fancy = lines(marks(3, 2), {(0, 0, 0, 2)}, unicode=True)

    assert [line.translate(table) for line in fancy] == plain


@given(st.integers(1, 6), st.integers(1, 6), st.data())
def test_hexagons_and_letters_count_as_boards_do(
    width: int, height: int, data: st.DataObject
) -> None:
    boards = all_boards(width, height)
    shown = data.draw(
        st.dictionaries(st.sampled_from(boards), st.sampled_from("ABab.*"), min_size=1)
    )

    for room in (None, 4 * width + 2 * height + 2, 2 * width + height + 1):
        picture = "\n".join(lines({b: Mark(m) for b, m in shown.items()}, max_width=room))
        for letter in "ABab.*":
            expected = sum(mark == letter for mark in shown.values())
            assert picture.count(letter) == expected


@given(st.integers(1, 5), st.integers(1, 5))
def test_each_board_of_a_full_map_has_six_edges(width: int, height: int) -> None:
    picture = lines(marks(width, height))

    for number, line in enumerate(picture):
        for column, letter in enumerate(line):
            if letter == ".":
                assert picture[number - 1][column - 1 : column + 2] == "___"
                assert line[column - 2] + line[column + 2] == "/\\"
                assert picture[number + 1][column - 2 : column + 3] == "\\___/"


@given(st.integers(2, 5), st.integers(2, 5), st.data())
def test_each_dead_link_between_neighbours_is_drawn_once(
    width: int, height: int, data: st.DataObject
) -> None:
    boards = all_boards(width, height)
    link = (*data.draw(st.sampled_from(boards)), data.draw(st.sampled_from(LINKS)))
    other = neighbour(link[:3], link[3])
    wraps = wrap(other, width, height) != other

    picture = "\n".join(lines(marks(width, height), both_ends([link], width, height)))

    signs = 3 if link[3] in (2, 5) else 1
    assert picture.count("#") == signs * (2 if wraps else 1)


def test_a_map_that_is_too_wide_gets_smaller() -> None:
    million = marks(20, 20)

    full, compact, tight, cut = (
        lines(million, max_width=width) for width in (None, 120, 80, 40)
    )

    assert max(map(len, full)) == 4 * 59 + 1
    assert max(map(len, compact)) == 2 * 59 - 1
    assert max(map(len, tight)) == 59
    assert max(map(len, cut)) == 40
    for picture in (full, compact, tight):
        assert "".join(picture).count(".") == 1200
    assert cut[-2:] == ["", "cut: all needs 59 columns"]


def test_nothing_makes_no_lines() -> None:
    assert draw({}) == []


def luminance(number: int) -> float:
    parts = [part / 255 for part in Color.from_ansi(number).get_truecolor()]
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: float, other: float) -> float:
    light, dark = max(one, other), min(one, other)
    return (light + 0.05) / (dark + 0.05)


def test_letters_are_legible_on_their_fields() -> None:
    for background, text in FIELDS:
        assert contrast(luminance(background), luminance(text)) >= 4.5


def test_words_are_legible_on_black_and_on_white() -> None:
    for number in WORDS.values():
        assert min(contrast(luminance(number), 0.0), contrast(luminance(number), 1.0)) >= 3.8
