"""Lines of JSON, whole, torn and wrong."""

import gc
import json
import operator
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spalloc_server._wire import messages
from spalloc_server._wire.messages import Command, MalformedError, Row, Rows

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        (b'{"command": "version"}', ("version", (), {})),
        (b'{"command": "x", "args": [1, "2", null]}', ("x", (1, "2", None), {})),
        (b'{"command": "x", "kwargs": {"a": [1]}}', ("x", (), {"a": [1]})),
        (b'{"command": "x", "args": null, "kwargs": null}', ("x", (), {})),
        (b'{"command": "x", "other": 1}', ("x", (), {})),
        (b' {"command": "x"} \r', ("x", (), {})),
        (b'{"command": "x", "kwargs": {"client": 1, "a": 2}}', ("x", (), {"a": 2})),
        ('{"command": "\u00fc"}'.encode(), ("\u00fc", (), {})),
    ],
)
def test_a_command_is_understood(line: bytes, command: Command) -> None:
    assert messages.decode(line) == command


def test_a_line_is_understood_alike_every_time() -> None:
    line = b'{"command": "x", "args": [1], "kwargs": {"a": null, "client": 2}}'

    first, second = messages.decode(line), messages.decode(line)

    assert first == second == ("x", (1,), {"a": None})


@pytest.mark.parametrize(
    "line",
    [
        b'{"command": "x", "args": [[1]]}',
        b'{"command": "x", "args": [{}]}',
        b'{"command": "x", "kwargs": {"a": [1]}}',
    ],
)
def test_arguments_that_can_be_changed_are_nobody_else_s(line: bytes) -> None:
    changed = messages.decode(line)
    for value in (*changed.args, *changed.kwargs.values()):
        value.clear() if value else value.update(b=1)

    assert messages.decode(line) != changed


def command_line(length: int, number: int = 0) -> bytes:
    """A command of so many bytes."""
    start = b'{"command": "x", "args": [%d, "' % number
    return start + b"y" * (length - len(start) - 3) + b'"]}'


@pytest.mark.parametrize(("length", "remembered"), [(60, True), (160, True), (161, False)])
def test_lines_are_remembered_up_to_a_length(length: int, remembered: bool) -> None:
    line = command_line(length)
    assert len(line) == length

    assert (messages.decode(line) is messages.decode(line)) == remembered


def test_lines_are_remembered_up_to_a_number() -> None:
    messages._remembered.clear()
    lines = [command_line(60, number) for number in range(4097)]
    commands = [messages.decode(line) for line in lines[:4096]]
    assert all(map(operator.is_, commands, map(messages.decode, lines)))

    messages.decode(lines[4096])

    assert len(messages._remembered) == 1
    assert messages.decode(lines[0]) is not commands[0]


def test_a_malformed_line_is_malformed_every_time() -> None:
    for _ in range(2):
        with pytest.raises(MalformedError):
            messages.decode(b'{"command": 3}')


@pytest.mark.parametrize(
    "line",
    [
        b"hello",
        b"\xff\xfe",
        b'{"command": "x"',
        b'{"command": "x"} {}',
        b"[]",
        b"null",
        b"3",
        b'"version"',
        b"{}",
        b'{"command": null}',
        b'{"command": 3}',
        b'{"command": ["version"]}',
        b'{"command": "x", "args": {}}',
        b'{"command": "x", "args": "abc"}',
        b'{"command": "x", "args": 0}',
        b'{"command": "x", "args": false}',
        b'{"command": "x", "kwargs": []}',
        b'{"command": "x", "kwargs": ""}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xef\xbb\xbf{}",
    ],
)
def test_what_is_no_command_is_malformed(line: bytes) -> None:
    with pytest.raises(MalformedError):
        messages.decode(line)


@given(st.binary(max_size=60))
def test_random_bytes_are_a_command_or_malformed(line: bytes) -> None:
    try:
        messages.decode(line)
    except MalformedError as e:
        assert str(e)


@given(JSON)
def test_random_json_is_a_command_or_malformed(value: Any) -> None:
    line = json.dumps(value).encode()
    try:
        command = messages.decode(line)
    except MalformedError:
        return
    assert command.name == value["command"]


def test_numbers_beyond_what_python_converts_are_large_numbers() -> None:
    digits = b"9" * 100_000
    line = b'{"command": "x", "args": [%s, -%s, 17, 1.5]}' % (digits, digits)

    large, small, *others = messages.decode(line).args

    assert large > 10**500
    assert small == -large
    assert others == [17, 1.5]
    assert str(large)


def test_numbers_that_stand_for_larger_ones_can_always_be_written() -> None:
    assert sys.int_info.str_digits_check_threshold >= messages._MOST_DIGITS


def test_a_return_value_is_one_line() -> None:
    assert messages.returned(None) == b'{"return": null}\n'
    assert messages.returned({"a": {3, 1, 2}}) == b'{"return": {"a": [1, 2, 3]}}\n'
    assert messages.returned("a\nb") == b'{"return": "a\\nb"}\n'
    assert messages.returned((1, [2])) == b'{"return": [1, [2]]}\n'


def test_an_exception_is_one_line_with_its_words() -> None:
    line = messages.raised(ValueError('no "x"\n'))

    assert json.loads(line) == {"exception": 'no "x"\n'}
    assert line.count(b"\n") == 1


@pytest.mark.parametrize("enabled", [True, False])
def test_garbage_is_collected_after_a_long_line_as_before(enabled: bool) -> None:
    before = gc.isenabled()
    line = b'{"command": "x", "args": [[' + b" " * 20_000 + b"]]}"
    try:
        (gc.enable if enabled else gc.disable)()
        assert messages.decode(line).args == ([],)
        assert gc.isenabled() is enabled
        with pytest.raises(messages.MalformedError):
            messages.decode(line[:-1])
        assert gc.isenabled() is enabled
    finally:
        (gc.enable if before else gc.disable)()


@pytest.mark.parametrize(("length", "collecting"), [(200, True), (16384, True), (16385, False)])
def test_no_garbage_is_looked_for_while_a_long_line_is_read(
    monkeypatch: pytest.MonkeyPatch, length: int, collecting: bool
) -> None:
    seen = []

    def decode(text: str) -> object:
        seen.append(gc.isenabled())
        return json.loads(text)

    monkeypatch.setattr(messages, "_decode", decode)

    messages.decode(command_line(length))

    assert seen == [collecting]


def test_changes_are_told_under_their_name() -> None:
    assert messages.changed("jobs_changed", [1, 2]) == b'{"jobs_changed": [1, 2]}\n'


def test_what_is_no_json_is_refused() -> None:
    with pytest.raises(TypeError, match="object"):
        messages.returned(object())


def test_sets_without_an_order_are_arrays_too() -> None:
    line = messages.returned({1, "a"})

    assert sorted(json.loads(line)["return"], key=str) == [1, "a"]


def test_rows_remember_how_they_read() -> None:
    rows = Rows([Row({"a": 1}), Row({"b": {2}})])

    assert messages.returned(rows) == b'{"return": [{"a": 1}, {"b": [2]}]}\n'
    assert messages.returned(rows[1]) == b'{"return": {"b": [2]}}\n'
    rows[0]["a"] = 5
    assert rows[0].json == b'{"a": 1}'
    rows.append(Row())
    assert messages.returned(rows) == b'{"return": [{"a": 1}, {"b": [2]}]}\n'
    assert messages.returned(Rows()) == b'{"return": []}\n'


def test_values_that_are_json_already_are_replies_as_they_are() -> None:
    assert messages.returned_json(b'{"a": 1}') == b'{"return": {"a": 1}}\n'
