"""The texts that steer a simulation."""

import pytest

from spalloc_server._simulator import language
from spalloc_server._simulator.faults import KINDS, BadText, parse_fault

FRAMES = ["192.168.0.0", "bmp1", "power", "127.10.0.0"]


@pytest.mark.parametrize(
    ("text", "same"),
    [
        ("lose 10%", "lose 10%"),
        ("lose 0.125", "lose 12.5%"),
        ("lose 100% requests", "lose 100% requests"),
        ("lose 0 replies", "lose 0% replies"),
        ("silent", "silent"),
        ("mute", "silent"),
        ("error 0x81", "error 0x81"),
        ("error 0x8F", "error 0x8f"),
        ("error arg", "error 0x84"),
        ("error RC_P2P_BUSY", "error 0x8d"),
        ("error 0x84 power", "error 0x84 power"),
        ("error 0x84 3 times", "error 0x84 3 times"),
        ("error 0x84 read once", "error 0x84 read 1 times"),
        ("slow 0.5", "slow 0.5"),
        ("slow 3600", "slow 3600"),
        ("fpga-wrong", "fpga-wrong"),
        ("fpga-wrong 2", "fpga-wrong 2"),
        ("fpga-wrong 2 times", "fpga-wrong 2 times"),
        ("fpga-wrong 2 2 times", "fpga-wrong 2 2 times"),
        ("refuse-power", "refuse-power"),
        ("refuse-power on", "refuse-power on"),
        ("refuse-power off 1 time", "refuse-power off 1 times"),
        ("version 1.2.3", "version 1.2.3"),
        ("old", "version 1.3.1"),
    ],
)
def test_a_fault_is_read_and_written(text: str, same: str) -> None:
    fault = parse_fault(text.split())

    assert str(fault) == same
    assert parse_fault(same.split()) == fault


@pytest.mark.parametrize(
    ("text", "named", "allowed"),
    [
        ("lose", "''", "0% to 100%"),
        ("lose many", "'many'", "0% to 100%, or 0.0 to 1.0"),
        ("lose 101%", "'101%'", "0% to 100%"),
        ("lose 1.5", "'1.5'", "0.0 to 1.0"),
        ("lose -1", "'-1'", "0% to 100%"),
        ("lose nan", "'nan'", "0% to 100%"),
        ("lose 10% both", "'both'", "requests|replies"),
        ("silent now", "'now'", "usage: silent"),
        ("error", "''", "0x81 to 0x8f"),
        ("error 0x80", "'0x80'", "0x81 to 0x8f or one of LEN, SUM, CMD"),
        ("error OK", "'OK'", "0x81 to 0x8f"),
        ("error 132", "'132'", "0x81 to 0x8f"),
        ("error 0x84 led", "'led'", "version|read|write|power"),
        ("error 0x84 0 times", "'0'", "1, 2, 3"),
        ("error 0x84 some times", "'some'", "1, 2, 3"),
        ("slow", "''", "0 to 3600"),
        ("slow -1", "'-1'", "0 to 3600"),
        ("slow 3601", "'3601'", "0 to 3600"),
        ("slow inf", "'inf'", "0 to 3600"),
        ("fpga-wrong 3", "'3'", "0|1|2"),
        ("refuse-power maybe", "'maybe'", "on|off"),
        ("version 2", "'2'", "three numbers like 1.3.1"),
        ("version 1.3.1 2", "'2'", "X.Y.Z"),
        ("clear all", "'all'", "lose, silent, error, slow, fpga-wrong, refuse-power, version"),
        ("seen all", "'all'", "number of packets"),
        ("set-power", "''", "neither on nor off; usage: set-power on|off"),
        ("set-power yes", "'yes'", "neither on nor off"),
        ("links now", "'now'", "usage: links"),
        ("", "nothing to do", "lose, silent"),
        ("all", "'all'", "commands are lose"),
        ("bmp1 board 1", "'bmp1 board 1'", "commands are lose"),
        ("bmp2 mute", "'bmp2'", "frames are 127.10.0.0, 192.168.0.0, bmp1, power, all"),
        ("bmp1 explode", "'explode'", "refuse-power, version, clear"),
        ("board 24 mute", "'24'", "0 to 23"),
        ("board 3-2 mute", "'3-2'", "range like 0-3"),
        ("board 1, mute", "'1,'", "list like 0,2"),
        ("board x mute", "'x'", "0 to 23"),
        ("board", "''", "0 to 23"),
    ],
)
def test_a_bad_text_is_answered_with_the_word_and_what_is_allowed(
    text: str, named: str, allowed: str
) -> None:
    with pytest.raises(BadText) as raised:
        language.read(text, FRAMES)

    assert named in str(raised.value)
    assert allowed in str(raised.value)


@pytest.mark.parametrize(
    ("text", "frame", "boards", "command"),
    [
        ("192.168.0.0 board 3 mute", "192.168.0.0", (3,), "inject"),
        ("127.10.0.0 boards 0-2,5,1 slow 1", "127.10.0.0", (0, 1, 2, 5), "inject"),
        ("all board 3 mute", None, (3,), "inject"),
        ("board 3 mute", None, (3,), "inject"),
        ("  mute  ", None, (), "inject"),
        ("bmp1 clear", "bmp1", (), "clear"),
        ("power links", "power", (), "links"),
        ("power power", "power", (), "power"),
        ("all power", None, (), "power"),
        ("faults", None, (), "faults"),
        ("frames", None, (), "frames"),
        ("forget", None, (), "forget"),
        ("help", None, (), "help"),
        ("seen", None, (), "seen"),
    ],
)
def test_a_text_names_frame_boards_and_command(
    text: str, frame: str | None, boards: tuple[int, ...], command: str
) -> None:
    instruction = language.read(text, FRAMES)

    assert instruction[:3] == (frame, boards, command)


def test_what_follows_a_command() -> None:
    assert language.read("clear mute slow", FRAMES).kinds == ("silent", "slow")
    assert language.read("seen 5", FRAMES).number == 5
    assert language.read("set-power on", FRAMES).number == 1
    assert language.read("set-power off", FRAMES).number == 0


def test_a_frame_yet_to_be_seen_may_be_named() -> None:
    assert language.read("bmp2 mute", FRAMES, unseen=True).frame == "bmp2"
    assert language.read("mute", FRAMES, unseen=True).frame is None
    with pytest.raises(BadText, match="'explode' is neither"):
        language.read("bmp2 explode", FRAMES, unseen=True)


def test_help_tells_all_there_is() -> None:
    words = language.help_text().split()

    assert {*KINDS, *language.COMMANDS} <= set(words)
