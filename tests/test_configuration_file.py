"""Running configuration files, good and bad."""

import threading
from pathlib import Path

import pytest

from spalloc_server import configuration, coordinates
from spalloc_server._checks.settings import DURABILITIES, Settings
from spalloc_server._configuration_file import (
    ConfigurationError,
    configuration_namespace,
    load_configuration,
    parse_configuration,
    read_configuration_text,
    run_configuration,
)
from spalloc_server.configuration import Configuration, Machine
from spalloc_server.links import Links

BOARD = "Machine.single_board('m', bmp_ip='bmp', spinnaker_ip='board')"


def refused(text: str) -> ConfigurationError:
    with pytest.raises(ConfigurationError) as caught:
        parse_configuration(text, "some/machines.cfg")
    return caught.value


def test_a_file_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "machines.cfg"
    file.write_text(f"configuration = Configuration([{BOARD}], max_retired_jobs=7)\n")

    for name in (file, str(file)):
        assert load_configuration(name) == Configuration(
            [Machine.single_board("m", bmp_ip="bmp", spinnaker_ip="board")], max_retired_jobs=7
        )


def test_files_see_everything_they_may_need() -> None:
    names = configuration_namespace("machines.cfg")

    assert names["Links"] is Links
    for module in (configuration, coordinates):
        for name in module.__all__:
            assert names[name] is getattr(module, name)
    assert names["__file__"] == str(Path("machines.cfg").absolute())


def test_a_file_may_do_what_python_does() -> None:
    text = """
import os.path
from spalloc_server.configuration import Machine as M, board_locations_from_spinner
class Rack:
    name = "r"
def rack(n):
    return M.single_board(Rack.name + str(n), bmp_ip=f"b{n}", spinnaker_ip=f"s{n}")
configuration = Configuration([rack(n) for n in range(3)], ip=os.path.basename(__file__))
"""

    loaded = parse_configuration(text, "some/machines.cfg")

    assert [machine.name for machine in loaded.machines] == ["r0", "r1", "r2"]
    assert loaded.ip == "machines.cfg"


def test_files_know_nothing_of_each_other() -> None:
    parse_configuration("forgotten = 1\nconfiguration = Configuration()", "a.cfg")

    assert "forgotten" in refused("forgotten\nconfiguration = Configuration()").message


@pytest.mark.parametrize("importing", ["", "from spalloc_server.configuration import *\n"])
def test_spinner_files_are_found_beside_the_configuration(tmp_path: Path, importing: str) -> None:
    (tmp_path / "machine.csv").write_text("cabinet,frame,board,x,y\n1,2,3,0,0\n")
    text = f"""{importing}
locations = board_locations_from_spinner("machine.csv")
configuration = Configuration([Machine.with_standard_ips(
    "m", board_locations=locations, dead_boards={{(0, 0, 1), (0, 0, 2)}})])
"""
    file = tmp_path / "machines.cfg"
    file.write_text(text)

    assert load_configuration(file).machines[0].board_locations == {(0, 0, 0): (1, 2, 3)}
    with pytest.raises(FileNotFoundError):
        configuration.board_locations_from_spinner("machine.csv")


def test_a_relative_configuration_file_has_a_folder_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("site").mkdir()
    Path("site/machine.csv").write_text("cabinet,frame,board,x,y\n1,2,3,0,0\n")
    Path("site/machines.cfg").write_text(
        "import os; os.chdir('/')\n"
        "assert os.path.exists(os.path.join(os.path.dirname(__file__), 'machine.csv'))\n"
        "board_locations_from_spinner('machine.csv')\n"
        "configuration = Configuration()\n"
    )

    assert load_configuration("site/machines.cfg") == Configuration()


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    file = tmp_path / "machines.cfg"
    file.write_bytes(b"\xef\xbb\xbfconfiguration = Configuration(ip='\xc3\xa9')\r\n")

    assert load_configuration(file) == Configuration(ip="é")


# --- settings ---

MINIMAL = "configuration = Configuration()"


@pytest.mark.parametrize("level", DURABILITIES)
def test_the_durability_is_handed_over(level: str) -> None:
    loaded = run_configuration(f"durability = {level!r}\nconfiguration = Configuration()", "m.cfg")

    assert loaded == (Configuration(), Settings(durability=level))


def test_the_durability_need_not_be_given() -> None:
    assert run_configuration("configuration = Configuration()", "m.cfg").settings == Settings()


@pytest.mark.parametrize(("value", "told"), [("'sometimes'", "'sometimes'"), ("[1]", "a list")])
def test_another_durability_is_refused(value: str, told: str) -> None:
    error = refused(f"configuration = Configuration()\ndurability = {value}\n")

    assert error.line == 2
    assert f"`durability` is {told}: expected one of 'process', 'always', 'none'" in str(error)


@pytest.mark.parametrize("value", [True, False])
def test_whether_power_ons_overlap_is_handed_over(value: bool) -> None:
    loaded = run_configuration(f"overlap_power_on = {value}\n" + MINIMAL, "m.cfg")

    assert loaded.settings.overlap_power_on is value


@pytest.mark.parametrize("value", ["1", "'no'", "None"])
def test_overlapping_is_true_or_false(value: str) -> None:
    error = refused(f"{MINIMAL}\noverlap_power_on = {value}\n")

    assert error.line == 2
    assert f"`overlap_power_on` is {value}: expected True or False" in str(error)


def test_the_order_is_handed_over() -> None:
    loaded = run_configuration(f'scheduling = "fcfs"\npatience = 0.5\n{MINIMAL}', "m.cfg")

    assert (loaded.settings.scheduling, loaded.settings.patience) == ("fcfs", 0.5)
    default = run_configuration(MINIMAL, "m.cfg").settings
    assert (default.scheduling, default.patience) == ("overtaking", 7200)


@pytest.mark.parametrize(
    ("name", "value", "allowed"),
    [
        ("scheduling", "'fifo'", "one of 'overtaking', 'fcfs', 'fcfs-grid'"),
        ("scheduling", "None", "one of 'overtaking', 'fcfs', 'fcfs-grid'"),
        ("patience", "-1", "a number of seconds, 0 or more"),
        ("patience", "'long'", "a number of seconds, 0 or more"),
        ("keep_names_days", "0", "a whole number of days, 1 to 36525, or None"),
        ("keep_names_days", "30.0", "a whole number of days, 1 to 36525, or None"),
        ("keep_names_days", "True", "a whole number of days, 1 to 36525, or None"),
        ("keep_names_days", "36526", "a whole number of days, 1 to 36525, or None"),
    ],
)
def test_an_order_that_is_not_there_is_refused(name: str, value: str, allowed: str) -> None:
    error = refused(f"{MINIMAL}\n{name} = {value}\n")

    assert error.line == 2
    assert f"`{name}` is {value}: expected {allowed}" in str(error)


# --- what cannot be used ---


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("configuration = (\n", 1, "syntax error"),
        ("x = 1\nif x\n    pass\n", 2, "syntax error"),
        ("x = 1\n\tx = 2\n", 2, "syntax error"),
        ("x = 1\ny = 'a\0b'\n", None, "null bytes"),
        ("x = " + "-" * 200000 + "1\n", None, "syntax error"),
        ("x = 1\nx.y\n", 2, "AttributeError"),
        ("\n\nMachine('m')\n", 3, "ValueError: machine 'm': no size"),
        ("def f():\n    Machine('m', tags=5)\n\nf()\n", 2, "TypeError: machine 'm': tags is 5"),
        ("import sys\nsys.exit(3)\n", 2, "SystemExit: 3: a configuration file must not exit"),
        ("raise SystemExit\n", 1, "SystemExit: a configuration file must not exit"),
        ("raise GeneratorExit\n", 1, "GeneratorExit"),
        ("class E(BaseException): pass\nraise E('x')\n", 2, "E: x"),
        ("def f(): f()\nf()\n", 1, "RecursionError"),
        ("import json\njson.loads('{')\n", 2, "JSONDecodeError"),
        ("x = 1\nexec('if')\n", 2, "SyntaxError"),
        ("class E(Exception):\n    def __str__(self): 1 / 0\nraise E\n", 3, "unprintable"),
        ("open('/nowhere/at/all')\n", 1, "No such file or directory"),
        ("x = 1\n", 2, "a global `configuration` that is a Configuration"),
        ("", 1, "a global `configuration`"),
        (
            "x = 1\nconfiguration = [\n5]\n",
            2,
            "`configuration` is of type list: expected a global",
        ),
        ("def configuration():\n    pass\n", 1, "of type function"),
        ("import os as configuration\n", 1, "of type module"),
        ("globals()['configuration'] = None\n", None, "of type NoneType"),
    ],
)
def test_what_is_wrong_and_where_is_said(text: str, line: int | None, told: str) -> None:
    error = refused(text)

    if line is not None:
        assert error.line == line
        assert str(error).startswith(f"some/machines.cfg, line {line}: ")
    assert error.filename == "some/machines.cfg"
    assert told in str(error)
    assert "expected" in str(error)


def test_what_was_expected_is_said_once() -> None:
    text = "configuration = Configuration([Machine.single_board('a', bmp_ip='b')])\n"

    with pytest.raises(ConfigurationError) as wrong:
        parse_configuration(text, "machines.cfg")
    with pytest.raises(ConfigurationError) as exits:
        parse_configuration("raise SystemExit('no: expected it')", "machines.cfg")

    assert str(wrong.value).count("expected") == 1
    assert str(exits.value).endswith("must not exit; expected it to run to its end")


def test_a_null_byte_has_a_line() -> None:
    assert refused("x = 1\ny = 'a\0b'\n").line == 2


@pytest.mark.parametrize(
    "change",
    [
        "configuration.machines.append(5)",
        "configuration.machines.append(configuration.machines[0])",
        "configuration.machines[0].board_locations.clear()",
    ],
)
def test_a_configuration_is_checked_as_it_is_in_the_end(change: str) -> None:
    error = refused(f"configuration = Configuration([{BOARD}])\n{change}\n")

    assert error.line == 1
    assert "changed after it was made" in str(error)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "nowhere.cfg"

    with pytest.raises(ConfigurationError) as caught:
        load_configuration(file)

    assert caught.value.line is None
    assert str(caught.value) == (
        f"{file}: cannot be read (No such file or directory): expected a readable file"
    )


@pytest.mark.parametrize("name", ["", "a\0b"])
def test_names_that_no_file_can_have_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_configuration_text(f"{tmp_path}/{name}")


def test_other_encodings_are_refused_by_line(tmp_path: Path) -> None:
    file = tmp_path / "machines.cfg"
    file.write_bytes(b"# -*- coding: latin-1 -*-\nx = 1\nname = 'Caf\xe9'\n")

    with pytest.raises(ConfigurationError, match="byte 0xe9 is not UTF-8: expected") as caught:
        load_configuration(file)

    assert caught.value.line == 3


@pytest.mark.parametrize(
    "text",
    [
        "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nwhile True: pass",
        "import signal\nsignal.raise_signal(signal.SIGINT)\nx = 1",
    ],
)
def test_a_keyboard_interrupt_is_the_users(text: str) -> None:
    with pytest.raises(KeyboardInterrupt):
        parse_configuration(text, "m.cfg")


@pytest.mark.parametrize(
    "text", ["\nraise KeyboardInterrupt", "\nraise KeyboardInterrupt('enough') from None"]
)
def test_a_keyboard_interrupt_that_a_file_raises_is_the_files(text: str) -> None:
    error = refused(text)

    assert error.line == 2
    assert "KeyboardInterrupt" in error.message


def test_in_another_thread_a_keyboard_interrupt_is_the_files() -> None:
    errors = []

    def parse() -> None:
        errors.append(refused("\nraise KeyboardInterrupt"))

    thread = threading.Thread(target=parse)
    thread.start()
    thread.join()

    assert [error.line for error in errors] == [2]


def test_a_policy_is_handed_over() -> None:
    loaded = run_configuration(
        'policy = Policy([Rule("10.1.0.0/16", "use")], isolation="jobs")\n' + MINIMAL, "m.cfg"
    )

    assert loaded.settings.policy.rules == (("10.1.0.0/16", "use"),)
    assert loaded.settings.policy.isolation == "jobs"


def test_a_policy_of_another_type_is_refused_with_its_line() -> None:
    error = refused(f"{MINIMAL}\npolicy = ['10.1.0.0/16']\n")

    assert "`policy` is a list: expected a Policy, such as Policy(access=[Rule(" in str(error)


def test_a_bad_rule_is_refused_with_its_line() -> None:
    error = refused(f'{MINIMAL}\npolicy = Policy([("10.1.0.0/16", "write")])\n')

    assert error.line == MINIMAL.count("\n") + 2
    assert "access rule 1: the class is 'write': expected one of" in str(error)
