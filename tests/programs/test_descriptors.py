"""The limit of open files is raised as far as it goes."""

import resource

import pytest

from spalloc_server._programs import descriptors

INFINITY = resource.RLIM_INFINITY


class Limits:
    def __init__(self, monkeypatch: pytest.MonkeyPatch, soft: int, hard: int) -> None:
        self.now = (soft, hard)
        self.refuses = False
        monkeypatch.setattr(resource, "getrlimit", lambda _: self.now)
        monkeypatch.setattr(resource, "setrlimit", self._set)

    def _set(self, _: int, limits: tuple[int, int]) -> None:
        if self.refuses:
            raise ValueError("not allowed to raise maximum limit")
        self.now = limits


@pytest.mark.parametrize(
    ("soft", "hard", "after"),
    [
        (1024, 524_288, 524_288),
        (1024, INFINITY, 1 << 20),
        (1024, 1 << 30, 1 << 20),
        (128, 128, 128),
        (1 << 21, 1 << 22, 1 << 21),
    ],
)
def test_the_soft_limit_is_raised(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, after: int
) -> None:
    limits = Limits(monkeypatch, soft, hard)

    assert descriptors.raise_limit() == after
    assert limits.now == (after, hard)


def test_no_limit_is_no_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    Limits(monkeypatch, INFINITY, INFINITY)

    assert descriptors.raise_limit() == 1 << 20


def test_a_limit_that_cannot_be_raised_is_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    Limits(monkeypatch, 128, 256).refuses = True

    assert descriptors.raise_limit() == 128
    assert "at most 128 files and connections may be open" in caplog.text
