"""What is offered to administrators under ``contrib/`` fits the program."""

import configparser
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from spalloc_server._command_line import _parser
from tests.simulated_server import Client, copy_of_example, simulated_server
from tests.test_monitoring import get, monitored, scrape

CONTRIB = Path(__file__).parent.parent / "contrib"
PROMETHEUS = CONTRIB / "prometheus"
UNIT = CONTRIB / "systemd" / "spalloc_server.service"
#: Words of PromQL and names that Prometheus adds itself.
METRIC = re.compile(r"\b((?:spalloc|process|up)(?:_\w+)?)\b(?!=)")
needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool, of Debian's prometheus"
)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Names of all samples in a scrape of a real server."""
    config = copy_of_example("frame-24-boards.cfg", tmp_path_factory.mktemp("site"))
    with (
        simulated_server(config) as server,
        monitored(server) as page,
        Client(server.port) as client,
    ):
        client.wait_until(client.call("create_job", owner="me"), 3)
        return {name for name, _ in scrape(page.port)} | {"up"}


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> list[str]:
    dashboard = json.loads((CONTRIB / "grafana" / "spalloc.json").read_text())
    found = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return found + [
        each["query"]["query"]
        for each in dashboard["templating"]["list"]
        if each["type"] == "query"
    ]


def metrics_in(expression: str) -> set[str]:
    without_labels = re.sub(r"\{[^}]*\}|\[[^]]*\]|\b(?:by|on)\s*\([^)]*\)", " ", expression)
    return set(METRIC.findall(without_labels))


def test_every_metric_of_the_alerts_exists(shown: set[str]) -> None:
    named = {metric for rule in alerts() for metric in metrics_in(rule["expr"])}

    assert named >= {"spalloc_bmp_answering", "spalloc_disk_trouble", "spalloc_unsynced_seconds"}
    assert named <= shown


def test_every_metric_of_the_dashboard_exists(shown: set[str]) -> None:
    named = {metric for query in queries() for metric in metrics_in(query)}

    assert len(named) > 15
    assert named <= shown


def test_a_metric_that_does_not_exist_is_found() -> None:
    assert metrics_in('rate(spalloc_nonsense{machine="spalloc_x"}[5m]) > 0') == {
        "spalloc_nonsense"
    }


def test_every_alert_says_what_is_wrong() -> None:
    for rule in alerts():
        assert rule["labels"]["severity"] in {"info", "warning", "critical"}
        assert rule["annotations"]["summary"]


def rule_tests() -> list[dict[str, Any]]:
    groups = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    return [test for group in groups for test in group["alert_rule_test"]]


def test_every_alert_is_tested_to_fire_and_to_be_silent() -> None:
    names = {rule["alert"] for rule in alerts()}

    assert {test["alertname"] for test in rule_tests() if test["exp_alerts"]} == names
    assert {test["alertname"] for test in rule_tests() if not test["exp_alerts"]} == names


def test_every_alert_keeps_apart_the_servers_it_is_about() -> None:
    for test in rule_tests():
        for alert in test["exp_alerts"]:
            assert {"instance", "job"} <= set(alert["exp_labels"]), test["alertname"]


def promtool(*arguments: str, folder: Path = PROMETHEUS) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


@needs_promtool
def test_prometheus_takes_the_alerts() -> None:
    said = promtool("check", "rules", "alerts.yml")

    assert said.returncode == 0, said.stdout + said.stderr
    assert f"{len(alerts())} rules found" in said.stdout


@needs_promtool
def test_the_alerts_fire_when_they_should_and_only_then() -> None:
    said = promtool("test", "rules", "alerts_test.yml")

    assert said.returncode == 0, said.stdout + said.stderr


@needs_promtool
def test_an_alert_that_never_fires_is_found(tmp_path: Path) -> None:
    rules = (PROMETHEUS / "alerts.yml").read_text()
    shutil.copy(PROMETHEUS / "alerts_test.yml", tmp_path)
    (tmp_path / "alerts.yml").write_text(rules.replace("disk_trouble == 1", "disk_trouble == 2"))

    said = promtool("test", "rules", "alerts_test.yml", folder=tmp_path)

    assert said.returncode != 0
    assert "SpallocDiskTrouble" in said.stdout + said.stderr


@needs_promtool
def test_prometheus_finds_no_fault_with_a_scrape(tmp_path: Path) -> None:
    config = copy_of_example("frame-24-boards.cfg", tmp_path)
    with simulated_server(config) as server, monitored(server) as page:
        _, text = get(page.port, "/metrics")

    said = subprocess.run(
        ["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )

    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def arguments_of(command: str) -> list[str]:
    """Options in a command line, after the program's name."""
    words = command.replace("\\\n", " ").split()
    return words[words.index("spalloc_server") + 1 :]


def test_the_service_starts_the_program_with_options_it_has() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.read_string(UNIT.read_text().replace("\\\n", " "))

    arguments = arguments_of(unit["Service"]["ExecStart"])

    options = _parser().parse_args(arguments)
    assert options.config_file == "/etc/spalloc/spalloc.cfg"
    assert options.metrics_port == 9144
    assert unit["Service"]["Type"] == "notify"
    assert unit["Service"]["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert unit["Service"]["Restart"] == "on-failure"


def test_a_stop_has_time_to_wait_for_hardware() -> None:
    unit = UNIT.read_text()

    seconds = int(unit.partition("TimeoutStopSec=")[2].split()[0])

    assert seconds > 30


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_has_nothing_to_say_about_the_service() -> None:
    said = subprocess.run(
        ["systemd-analyze", "verify", UNIT], capture_output=True, text=True, check=False
    )

    assert (said.returncode, said.stderr) == (0, "")


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="needs systemd-sysusers")
def test_systemd_makes_the_user_and_the_folders(tmp_path: Path) -> None:
    for name in ("passwd", "group", "shadow", "gshadow"):
        (tmp_path / "etc").mkdir(exist_ok=True)
        (tmp_path / "etc" / name).touch()
    root = ["--root", str(tmp_path)]

    said = subprocess.run(
        ["systemd-sysusers", *root, CONTRIB / "systemd" / "spalloc.sysusers.conf"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert said.returncode == 0, said.stderr
    assert "spalloc" in (tmp_path / "etc" / "passwd").read_text()


def test_the_container_runs_the_program_as_an_ordinary_user() -> None:
    steps = (CONTRIB / "container" / "Containerfile").read_text().replace("\\\n", " ")

    last = {line.split()[0]: line for line in steps.splitlines() if line[:1].isupper()}
    entry = json.loads(last["ENTRYPOINT"].partition(" ")[2])
    command = json.loads(last["CMD"].partition(" ")[2])

    assert last["USER"] == "USER spalloc"
    assert steps.index("USER spalloc") < steps.index("ENTRYPOINT")
    assert entry[0].endswith("/spalloc_server")
    options = _parser().parse_args([*entry[1:], *command])
    assert options.metrics_host == "0.0.0.0"
    assert options.state_dir == "/var/lib/spalloc"
