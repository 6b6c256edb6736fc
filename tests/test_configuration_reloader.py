"""Reading the configuration when asked, by a call or by a signal."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from spinn_utilities.overrides import overrides

from spalloc_server._configuration_file import parse_configuration
from spalloc_server.configuration_reloader import ConfigurationReloader


class Reloader(ConfigurationReloader):
    """Keeps what it loads; each step can be replaced."""

    def __init__(self, file: Path, callback: Callable[[], object] = lambda: None) -> None:
        self.loaded: list[Any] = []
        self.parse: Callable[[str], Any] = lambda contents: contents.upper()
        self.validate: Callable[[Any], Any] = lambda parsed: parsed
        self.load: Callable[[Any], Any] = self.loaded.append
        super().__init__(file, callback)

    @overrides(ConfigurationReloader._parse_config)
    def _parse_config(self, config_file_contents: str) -> Any:
        return self.parse(config_file_contents)

    @overrides(ConfigurationReloader._validate_config)
    def _validate_config(self, parsed_config: Any) -> Any:
        return self.validate(parsed_config)

    @overrides(ConfigurationReloader._load_valid_config)
    def _load_valid_config(self, validated_config: Any) -> None:
        self.load(validated_config)


@pytest.fixture(autouse=True)
def signal_handler_put_back() -> Iterator[None]:
    before = signal.getsignal(signal.SIGHUP)
    yield
    assert signal.getsignal(signal.SIGHUP) is before


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "machines.cfg"
    path.write_text("hello")
    return path


@pytest.fixture
def calls() -> list[str]:
    return []


@pytest.fixture
def reloader(file: Path, calls: list[str]) -> Iterator[Reloader]:
    made = Reloader(file, lambda: calls.append("called"))
    yield made
    made.stop_listening_to_sighup()


def raising(exc: BaseException) -> Callable[[Any], Any]:
    def fail(_: Any) -> Any:
        raise exc

    return fail


# --- reading ---


def test_the_class_is_abstract(file: Path) -> None:
    with pytest.raises(TypeError, match="abstract"):
        ConfigurationReloader(file, lambda: None)  # type: ignore[abstract]


def test_nothing_is_read_before_it_is_asked_for(reloader: Reloader, file: Path) -> None:
    assert reloader.loaded == []
    assert reloader.config_needs_reloading is False
    assert reloader.configuration_file is file


def test_a_file_goes_through_all_steps(reloader: Reloader, file: Path) -> None:
    assert reloader.read_config_file() is True
    file.write_text("again")
    assert reloader.read_config_file() is True

    assert reloader.loaded == ["HELLO", "AGAIN"]


def test_what_is_not_valid_is_not_loaded(
    reloader: Reloader, caplog: pytest.LogCaptureFixture
) -> None:
    reloader.validate = lambda parsed: None

    assert reloader.read_config_file() is False

    assert reloader.loaded == []
    assert "machines.cfg is not valid" in caplog.text


def test_what_is_valid_may_be_false(reloader: Reloader) -> None:
    reloader.validate = lambda parsed: []

    assert reloader.read_config_file() is True

    assert reloader.loaded == [[]]


@pytest.mark.parametrize("step", ["parse", "validate", "load"])
@pytest.mark.parametrize(
    "exc", [ValueError("odd"), SystemExit(1), GeneratorExit(), MemoryError(), RecursionError()]
)
def test_nothing_that_goes_wrong_gets_out(
    reloader: Reloader, step: str, exc: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    setattr(reloader, step, raising(exc))

    assert reloader.read_config_file() is False

    assert reloader.loaded == []
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "machines.cfg" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[1] is exc


def test_a_missing_file_is_no_good(
    reloader: Reloader, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file.unlink()

    assert reloader.read_config_file() is False

    assert f"{file}: cannot be read (No such file" in caplog.text
    file.write_text("back")
    assert reloader.read_config_file() is True


@pytest.mark.parametrize(
    ("contents", "told"),
    [
        (b"x = 1\nif\n", "line 2: syntax error"),
        (b"import sys\n\nsys.exit(1)\n", "line 3: SystemExit"),
        (b"x = 1\n# \xff\n", "line 2: byte 0xff is not UTF-8"),
        (b"x = 1\n1 / 0\n", "line 2: ZeroDivisionError"),
        (b"configuration = 5\n", "line 1: `configuration` is of type int"),
    ],
)
def test_the_line_to_blame_is_logged_and_nothing_more(
    reloader: Reloader,
    file: Path,
    contents: bytes,
    told: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    reloader.parse = lambda text: parse_configuration(text, file)
    file.write_bytes(contents)

    assert reloader.read_config_file() is False

    assert f"{file}, {told}" in caplog.text
    assert "Traceback" not in caplog.text


def test_the_line_is_found_whoever_runs_the_file(
    reloader: Reloader, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reloader.parse = lambda text: exec(compile(text, str(file), "exec"))
    file.write_text("\n\n\nundefined\n")

    assert reloader.read_config_file() is False

    why = f"{file}, line 4: NameError: name 'undefined' is not defined"
    assert f"Configuration not loaded: {why}\n" in caplog.text
    assert reloader._why_not_loaded == why


def test_an_unexpected_error_is_told_in_a_line_of_its_words(
    reloader: Reloader, file: Path
) -> None:
    for error, told in (
        (RuntimeError("can't start new thread"), "RuntimeError: can't start new thread"),
        (RuntimeError("one\ntwo"), "RuntimeError: one"),
        (RuntimeError("x" * 999), f"RuntimeError: {'x' * 200}"),
        (RuntimeError(), "RuntimeError"),
    ):
        reloader.parse = raising(error)

        assert reloader.read_config_file() is False
        assert reloader._why_not_loaded == f"{file}: {told}"


def test_the_users_interrupt_is_not_swallowed(reloader: Reloader) -> None:
    reloader.parse = raising(KeyboardInterrupt())

    with pytest.raises(KeyboardInterrupt):
        reloader.read_config_file()


def test_reading_works_in_any_thread_one_at_a_time(reloader: Reloader) -> None:
    inside = threading.Event()
    go_on = threading.Event()
    order: list[str] = []

    def slow(contents: str) -> str:
        order.append("in")
        inside.set()
        assert go_on.wait(10)
        order.append("out")
        return contents

    reloader.parse = slow
    answers: list[bool] = []
    threads = [
        threading.Thread(target=lambda: answers.append(reloader.read_config_file()))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    assert inside.wait(10)
    go_on.set()
    for thread in threads:
        thread.join(10)

    assert answers == [True, True]
    assert order == ["in", "out", "in", "out"]


# --- signals ---


def test_a_signal_sets_the_flag_and_calls_back(reloader: Reloader, calls: list[str]) -> None:
    signal.raise_signal(signal.SIGHUP)

    assert reloader.config_needs_reloading is True
    assert calls == ["called"]
    assert reloader.loaded == []


def test_reading_answers_the_signal(reloader: Reloader) -> None:
    signal.raise_signal(signal.SIGHUP)

    reloader.read_config_file()

    assert reloader.config_needs_reloading is False


def test_a_failed_reading_is_not_repeated(reloader: Reloader) -> None:
    reloader.parse = raising(ValueError("odd"))
    signal.raise_signal(signal.SIGHUP)

    assert reloader.read_config_file() is False

    assert reloader.config_needs_reloading is False


@pytest.mark.parametrize("step", ["parse", "validate", "load"])
def test_a_signal_while_reading_asks_for_another(reloader: Reloader, step: str) -> None:
    def signalled(value: Any) -> Any:
        signal.raise_signal(signal.SIGHUP)
        return value

    setattr(reloader, step, signalled)

    assert reloader.read_config_file() is True

    assert reloader.config_needs_reloading is True


def test_a_callback_that_fails_is_logged_and_the_flag_is_set(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise ValueError("odd")

    reloader = Reloader(file, fail)

    signal.raise_signal(signal.SIGHUP)

    assert reloader.config_needs_reloading is True
    assert "nobody could be told" in caplog.text
    reloader.stop_listening_to_sighup()


def test_the_handler_before_is_put_back(file: Path) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        reloader = Reloader(file)
        reloader.stop_listening_to_sighup()
        reloader.stop_listening_to_sighup()

        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_handler_installed_later_stays(file: Path) -> None:
    def later(signum: int, frame: object) -> None:
        """Somebody else's."""

    before = signal.getsignal(signal.SIGHUP)
    reloader = Reloader(file)
    ours = signal.signal(signal.SIGHUP, later)

    reloader.stop_listening_to_sighup()

    assert signal.getsignal(signal.SIGHUP) is later
    signal.signal(signal.SIGHUP, ours)
    signal.raise_signal(signal.SIGHUP)
    assert reloader.config_needs_reloading is False
    signal.signal(signal.SIGHUP, before)


def test_reloaders_may_stop_in_any_order(file: Path) -> None:
    reloaders = [Reloader(file) for _ in range(3)]

    for index in (1, 0, 2):
        reloaders[index].stop_listening_to_sighup()

    # The fixture finds the first handler again.
    assert not isinstance(getattr(signal.getsignal(signal.SIGHUP), "__self__", None), Reloader)


def test_in_another_thread_reading_works_without_the_signal(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    before = signal.getsignal(signal.SIGHUP)
    made: list[Reloader] = []

    thread = threading.Thread(target=lambda: made.append(Reloader(file)))
    thread.start()
    thread.join()

    assert "SIGHUP will not reload" in caplog.text
    assert signal.getsignal(signal.SIGHUP) is before
    assert made[0].read_config_file() is True
    made[0].stop_listening_to_sighup()


def test_stopping_in_another_thread_makes_the_handler_do_nothing(
    reloader: Reloader, calls: list[str]
) -> None:
    before = reloader._handler_before

    thread = threading.Thread(target=reloader.stop_listening_to_sighup)
    thread.start()
    thread.join()
    signal.raise_signal(signal.SIGHUP)

    assert calls == []
    assert reloader.config_needs_reloading is False
    signal.signal(signal.SIGHUP, before)
