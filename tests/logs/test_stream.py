"""Standard output and standard error, in whatever state they are."""

import io
import os
import threading

import pytest

from spalloc_server._logs.stream import Stream


def test_a_stream_without_descriptor_is_written_to() -> None:
    stream = io.StringIO()

    Stream(stream).write("mü\n".encode())

    assert stream.getvalue() == "mü\n"


def test_no_stream_takes_everything() -> None:
    stream = Stream(None)

    stream.write(b"line\n")
    stream.close()


@pytest.mark.parametrize(
    ("encoding", "written"), [("utf-8", "mü\n".encode()), ("ascii", b"m\\xfc\n")]
)
def test_a_descriptor_is_written_to_in_the_streams_encoding(encoding: str, written: bytes) -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "w", encoding=encoding) as stream:
        Stream(stream).write("mü\n".encode())

        assert os.read(reading, 100) == written
    os.close(reading)


def test_a_closed_stream_is_an_error() -> None:
    stream = io.StringIO()
    stream.close()

    with pytest.raises(ValueError, match="closed"):
        Stream(stream).write(b"line\n")


def test_a_reader_that_has_gone_is_an_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)

    with os.fdopen(writing, "w") as stream, pytest.raises(BrokenPipeError):
        Stream(stream).write(b"line\n")


def test_a_full_pipe_that_does_not_block_is_waited_for() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    data = b"x" * 1_000_000 + b"\n"
    with os.fdopen(writing, "w") as stream:
        thread = threading.Thread(target=Stream(stream).write, args=(data,))
        thread.start()

        got = b""
        while len(got) < len(data):
            got += os.read(reading, 65536)
        thread.join()

    assert got == data
    os.close(reading)
