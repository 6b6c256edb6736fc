"""Codes by which a job changes hands."""

import pytest

from spalloc_server._access.takeover import (
    MAX_TRIES,
    SECONDS_OF_TRIES,
    TooManyTriesError,
    Tries,
    hash_of,
    new_code,
)


def test_a_code_has_128_bits_and_never_comes_twice() -> None:
    codes = {new_code() for _ in range(100)}

    assert len(codes) == 100
    assert {len(bytes.fromhex(code)) for code in codes} == {16}


def test_only_the_right_code_fits_however_it_is_typed() -> None:
    tries, code = Tries(), new_code()

    assert tries.is_right(1, f" {code.upper()}\n", hash_of(code), 0.0)
    assert not tries.is_right(1, new_code(), hash_of(code), 0.0)
    assert not tries.is_right(2, code, None, 0.0)
    assert not tries.is_right(2, "", None, 0.0)


def test_five_wrong_tries_a_minute_and_job() -> None:
    tries, code = Tries(), new_code()
    for number in range(MAX_TRIES):
        assert not tries.is_right(1, "wrong", hash_of(code), float(number))

    with pytest.raises(TooManyTriesError, match="at most 5 a minute"):
        tries.is_right(1, code, hash_of(code), 10.0)
    assert tries.is_right(2, code, hash_of(code), 10.0), "another job's tries are its own"
    assert tries.is_right(1, code, hash_of(code), SECONDS_OF_TRIES)


def test_old_tries_are_forgotten() -> None:
    tries = Tries()
    for job_id in range(1000):
        tries.is_right(job_id, "wrong", None, 0.0)

    tries.is_right(1, "wrong", None, SECONDS_OF_TRIES)

    assert list(tries._wrong) == [1]
