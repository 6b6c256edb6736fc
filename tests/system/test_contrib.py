"""What is offered to administrators under ``contrib/`` fits the program."""

import configparser
import itertools
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from spalloc_server._programs.metrics import METRICS
from spalloc_server._programs.options import _parser
from tests.support.simulated_server import Client, copy_of_example, simulated_server
from tests.system.test_monitoring import Scrape, get, monitored, scrape

CONTRIB = Path(__file__).parent.parent.parent / "contrib"
PROMETHEUS = CONTRIB / "prometheus"
UNIT = CONTRIB / "systemd" / "spalloc_server.service"
UNITS = sorted((CONTRIB / "systemd").glob("*.service"))
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


def dashboard() -> dict[str, Any]:
    read: dict[str, Any] = json.loads((CONTRIB / "grafana" / "spalloc.json").read_text())
    return read


def expressions() -> list[str]:
    """What the panels of the dashboard ask Prometheus for."""
    return [target["expr"] for panel in dashboard()["panels"] for target in panel["targets"]]


def variables() -> dict[str, dict[str, Any]]:
    return {each["name"]: each for each in dashboard()["templating"]["list"]}


def queries() -> list[str]:
    return [*expressions(), variables()["instance"]["query"]["query"]]


def metrics_in(expression: str) -> set[str]:
    without_labels = re.sub(r"\{[^}]*\}|\[[^]]*\]|\b(?:by|on)\s*\([^)]*\)", " ", expression)
    return set(METRIC.findall(without_labels))


def test_every_metric_of_the_alerts_exists(shown: set[str]) -> None:
    named = {metric for rule in alerts() for metric in metrics_in(rule["expr"])}

    assert named >= {"spalloc_bmp_answering", "spalloc_disk_trouble", "spalloc_unsynced_seconds"}
    assert named <= shown


def test_every_alert_has_a_section_in_the_runbook() -> None:
    lines = (CONTRIB.parent / "docs" / "runbook.rst").read_text().splitlines()
    sections = [line for line, under in itertools.pairwise(lines) if set(under) == {"-"}]

    assert sections == [rule["alert"] for rule in alerts()]


def test_every_metric_of_the_dashboard_exists(shown: set[str]) -> None:
    named = {metric for query in queries() for metric in metrics_in(query)}

    assert len(named) > 15
    assert named <= shown


def test_the_dashboard_has_what_grafana_needs_to_import_it() -> None:
    board = dashboard()

    assert board["title"]
    assert re.fullmatch(r"[\w-]{1,40}", board["uid"])
    assert board["schemaVersion"] >= 36
    assert board.get("id") is None
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    for panel in board["panels"]:
        assert panel["type"] == "timeseries"
        assert panel["title"]
        assert panel["fieldConfig"].keys() == {"defaults", "overrides"}
        letters = [target["refId"] for target in panel["targets"]]
        assert letters == ["A", "B", "C"][: len(letters)]


def cells(panel: dict[str, Any]) -> set[tuple[int, int]]:
    at = panel["gridPos"]
    return {
        (x, y)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    }


def test_no_panel_lies_on_another_or_beyond_the_edge() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in dashboard()["panels"]:
        assert cells(panel).isdisjoint(taken), panel["title"]
        taken |= cells(panel)

    assert {x for x, _ in taken} == set(range(24))


def test_the_dashboard_asks_the_source_and_the_server_that_are_chosen() -> None:
    chosen = {"type": "prometheus", "uid": "${datasource}"}

    assert variables().keys() == {"datasource", "instance"}
    assert variables()["datasource"]["query"] == "prometheus"
    assert variables()["instance"]["datasource"] == chosen
    for panel in dashboard()["panels"]:
        assert panel["datasource"] == chosen
        for target in panel["targets"]:
            assert target["datasource"] == chosen
            selectors = re.findall(r"\{[^}]*\}", target["expr"])
            assert selectors
            assert all('instance="$instance"' in selector for selector in selectors)


def test_each_line_of_the_dashboard_is_named_after_labels_that_it_has() -> None:
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            labels = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            by = re.search(r"by \(([^)]*)\)", target["expr"])
            if by is not None:
                assert labels <= set(re.split(r", *", by.group(1))), target
            (metric, *_) = metrics_in(target["expr"])
            known = {each.name: set(each.labels) for each in METRICS}
            for name in (metric.removesuffix(ending) for ending in ("", "_count", "_bucket")):
                assert labels <= known.get(name, labels), target


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


#: What makes the queries speak that show trouble only.
TROUBLE = {"spalloc_bmp_answering": 0.0, "spalloc_bmp_queue_length": 1.0}


def series(before: Scrape, after: Scrape) -> list[dict[str, str]]:
    """The two scrapes as promtool reads them, the second lasting for four minutes."""
    found = []
    for (name, labels), value in after.items():
        written = ",".join(f'{label}="{text}"' for label, text in (*labels, ("instance", "here")))
        last = TROUBLE.get(name, value)
        values = f"{before.get((name, labels), 0.0)!r} {last!r} {last!r}x3"
        found.append({"series": f"{name}{{{written}}}", "values": values})
    return found


def seen(expression: str) -> dict[str, Any]:
    """A test of promtool: that an expression has a result."""
    return {
        "expr": f"count({expression.replace('$instance', 'here')}) > bool 0",
        "eval_time": "4m",
        "exp_samples": [{"labels": "{}", "value": 1}],
    }


@pytest.fixture(scope="module")
def dashboard_test(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What promtool is to try of the dashboard, with numbers of a real server."""
    config = copy_of_example("frame-24-boards.cfg", tmp_path_factory.mktemp("site"))
    with (
        simulated_server(config) as server,
        monitored(server) as page,
        Client(server.port) as client,
    ):
        before = scrape(page.port)
        client.wait_until(client.call("create_job", owner="me"), 3)
        client.send_line('{"command": "create_job", "args": [2.5], "kwargs": {"owner": "me"}}')
        client.answer()
        after = scrape(page.port)
    trial = {"interval": "1m", "input_series": series(before, after)}
    return {"evaluation_interval": "1m", "tests": [trial]}


def tried(
    folder: Path, test: dict[str, Any], asked: list[str]
) -> subprocess.CompletedProcess[str]:
    test["tests"][0]["promql_expr_test"] = [seen(each) for each in asked]
    (folder / "dashboard_test.yml").write_text(yaml.safe_dump(test, width=1000))
    return promtool("test", "rules", "dashboard_test.yml", folder=folder)


@needs_promtool
def test_every_panel_of_the_dashboard_shows_something(
    tmp_path: Path, dashboard_test: dict[str, Any]
) -> None:
    said = tried(tmp_path, dashboard_test, expressions())

    assert said.returncode == 0, said.stdout + said.stderr


@needs_promtool
def test_a_panel_that_shows_nothing_is_found(
    tmp_path: Path, dashboard_test: dict[str, Any]
) -> None:
    said = tried(tmp_path, dashboard_test, ['spalloc_clients{instance="$instance"} > 1000'])

    assert said.returncode != 0
    assert "spalloc_clients" in said.stdout + said.stderr


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


def test_a_cold_start_of_the_manual_is_the_unit_s_start_but_cold() -> None:
    """`systemctl edit --stdin` came with systemd 256; the manual writes the file itself."""
    manual = (CONTRIB.parent / "docs" / "operation.rst").read_text()
    drop_in = manual.partition("cold-start.conf <<'END'")[2].partition("END\n")[0]
    reset, _, command = drop_in.replace("\\\n", " ").partition("ExecStart=\n")

    assert reset.split() == ["[Service]"]
    usual = arguments_of(UNIT.read_text().partition("ExecStart=")[2].partition("\nExecReload")[0])
    assert arguments_of(command) == ["--cold-start", *usual]


def test_the_manual_s_commands_run_on_systemd_252() -> None:
    for page in (CONTRIB.parent / "docs").glob("*.rst"):
        assert "systemctl edit" not in page.read_text(), page


def test_a_stop_has_time_to_wait_for_hardware() -> None:
    unit = UNIT.read_text()

    seconds = int(unit.partition("TimeoutStopSec=")[2].split()[0])

    assert seconds > 30


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_has_nothing_to_say_about_the_service(unit: Path) -> None:
    said = subprocess.run(
        ["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False
    )

    assert (said.returncode, said.stderr) == (0, "")


#: Of 10; 1.2 by systemd 252, most of it for reaching the network. # arbitrary
MOST_EXPOSED = 1.5


def systemd_version() -> int:
    """0 if there is no systemd."""
    if shutil.which("systemd-analyze") is None:
        return 0
    said = subprocess.run(
        ["systemd-analyze", "--version"], capture_output=True, text=True, check=True
    )
    return int(said.stdout.split()[1])


@pytest.mark.skipif(systemd_version() < 250, reason="needs systemd-analyze of systemd 250")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_finds_the_service_well_shut_in(unit: Path) -> None:
    said = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=true", unit],
        capture_output=True,
        text=True,
        check=False,
    )

    found = re.search(rf"Overall exposure level for {unit.name}: ([0-9.]+)", said.stdout)
    assert found is not None, said.stdout + said.stderr
    assert float(found.group(1)) <= MOST_EXPOSED


def in_root(tool: str, root: Path, *arguments: str) -> None:
    """Run a tool of systemd on a system of its own."""
    said = subprocess.run(
        [tool, f"--root={root}", *arguments], capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="needs systemd-sysusers")
@pytest.mark.skipif(shutil.which("systemd-tmpfiles") is None, reason="needs systemd-tmpfiles")
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders away")
def test_systemd_makes_the_user_and_the_folders(tmp_path: Path) -> None:
    for kind in ("sysusers", "tmpfiles"):
        folder = tmp_path / "etc" / f"{kind}.d"
        folder.mkdir(parents=True)
        shutil.copy(CONTRIB / "systemd" / f"spalloc.{kind}.conf", folder / "spalloc.conf")

    in_root("systemd-sysusers", tmp_path)
    in_root("systemd-tmpfiles", tmp_path, "--create")

    users = {line.split(":")[0]: line.split(":") for line in passwd(tmp_path)}
    assert users["spalloc"][5:] == ["/var/lib/spalloc", "/usr/sbin/nologin"]
    state = (tmp_path / "var" / "lib" / "spalloc").stat()
    assert (stat.S_IMODE(state.st_mode), state.st_uid) == (0o700, int(users["spalloc"][2]))
    site = (tmp_path / "etc" / "spalloc").stat()
    assert (stat.S_IMODE(site.st_mode), site.st_uid) == (0o755, 0)


def passwd(root: Path) -> list[str]:
    return (root / "etc" / "passwd").read_text().splitlines()


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


def copied_by_the_container() -> list[str]:
    """What the Containerfile takes from the project's folder."""
    steps = (CONTRIB / "container" / "Containerfile").read_text().splitlines()
    copies = [step.split()[1:-1] for step in steps if step.startswith("COPY ")]
    return [name for copy in copies if not copy[0].startswith("--from") for name in copy]


def test_the_container_is_built_from_no_more_than_it_needs(tmp_path: Path) -> None:
    for name in copied_by_the_container():
        source = CONTRIB.parent / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name)
        else:
            shutil.copy(source, tmp_path)

    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", str(tmp_path)],
        capture_output=True,
        check=True,
    )

    assert "." not in copied_by_the_container()
    (wheel,) = (tmp_path / "dist").iterdir()
    with zipfile.ZipFile(wheel) as packed:
        assert "spalloc_server/_simulator/__init__.py" in packed.namelist()
