"""The completion scripts of the commands, tried in the shells themselves."""

import shutil
import subprocess

import pytest

from tests.commands import MAINS

_ASK_BASH = """
source /dev/stdin
COMP_WORDS=({words}) COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
function=$(complete -p {name} | sed 's/.*-F \\([^ ]*\\).*/\\1/')
"$function" {name} "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
echo "${{COMPREPLY[@]}}"
"""


def script(name: str, shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        MAINS[name](["--print-completion", shell])
    assert caught.value.code in {None, 0}
    out, err = capsys.readouterr()
    assert err == ""
    return out


@pytest.mark.parametrize(
    ("line", "completions"),
    [
        ("spalloc --max-w", "--max-wait"),
        ("spalloc --ow", "--owner"),
        ("spalloc 4 2 --req", "--require-torus"),
        ("spalloc --print-completion ", "bash zsh fish"),
        ("spalloc-ps --js", "--json"),
        ("spalloc-machine demo --det", "--detailed"),
        ("spalloc-job --power", "--power-on --power-off"),
        ("spalloc-where-is --job", "--job-chip"),
    ],
)
def test_bash_completes_options(
    line: str, completions: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = line.split(maxsplit=1)[0]
    words = " ".join([*line.split(), *(["''"] if line.endswith(" ") else [])])

    done = subprocess.run(
        ["bash", "--norc", "-c", _ASK_BASH.format(words=words, name=name)],
        input=script(name, "bash", capsys),
        capture_output=True,
        text=True,
        check=True,
    )

    assert sorted(done.stdout.split()) == sorted(completions.split())


@pytest.mark.parametrize("name", MAINS)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_are_right_in_form_and_know_the_options(
    name: str, shell: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text = script(name, shell, capsys)

    assert "hostname" in text
    assert name in text
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=text, text=True, check=True)


def test_other_shells_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert MAINS["spalloc-ps"](["--print-completion", "cmd"]) == 2

    assert "invalid choice: 'cmd' (choose from" in capsys.readouterr().err
