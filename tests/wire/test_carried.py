"""The record that a connection's next process finds, at every step of its life."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from spalloc_server._wire.carried import Carried
from spalloc_server._wire.kernel_counts import Counts
from spalloc_server._wire.record import MAX_BODY, Record, Told, read_record


@pytest.fixture
def carried() -> Iterator[Carried]:
    """A connection with 100 bytes read and 1,000 written, 30 of them since it is ours."""
    carried = Carried("c1", Record.new(), Counts(100, 1000), handed=30)
    yield carried
    carried.end()


def told(carried: Carried) -> Told:
    found = read_record(carried.record.descriptor)
    assert found is not None
    return found


def test_it_begins_with_the_kernels_counts(carried: Carried) -> None:
    carried.note_body({})

    assert (carried.name, carried.read) == ("c1", 100)
    assert Counts(100, 1000) in told(carried).counts
    assert told(carried).body == {}


def test_output_is_counted_from_the_moment_at_which_the_kernel_was_asked(
    carried: Carried,
) -> None:
    carried.note_body({})
    carried.read += 7

    carried.note_output(30)
    assert Counts(107, 1000) in told(carried).counts
    carried.note_output(42)

    # The counts before count, too, until the output that was foretold is with the kernel.
    assert set(told(carried).counts) == {Counts(107, 1000), Counts(107, 1012)}
    carried.read += 1
    carried.note_output(43)
    assert set(told(carried).counts) == {Counts(107, 1012), Counts(108, 1013)}


def test_a_body_replaces_the_one_before(carried: Carried) -> None:
    assert carried.note_body({"watches": {"jobs": [1]}})
    assert carried.note_body({"watches": {}})

    assert told(carried).body == {"watches": {}}


def test_a_body_that_is_too_long_leaves_nothing_to_go_on_with(carried: Carried) -> None:
    fits = {"x": "y" * (MAX_BODY - len('{"x": ""}'))}
    assert carried.note_body(fits)
    assert told(carried).body == fits

    assert not carried.note_body({"x": fits["x"] + "y"})

    assert read_record(carried.record.descriptor) is None


def test_at_the_end_the_next_process_finds_nothing() -> None:
    carried = Carried("c2", Record.new(), Counts(1, 2), handed=0)
    carried.note_body({})
    kept = os.dup(carried.record.descriptor)  # as the service manager has one
    ours = carried.record.descriptor

    carried.end()

    assert read_record(kept) is None
    os.close(kept)
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(ours)
