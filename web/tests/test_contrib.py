"""The files for administrators: the service and a web server with TLS in front."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import ssl
import subprocess
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlencode

import pytest
from spalloc_web._command_line import parser, read_settings

from tests.support.people import GOOD, people, token_of
from tests.test_program import PATIENCE, running

CONTRIB = Path(__file__).parent.parent.parent / "contrib"
UNIT = CONTRIB / "systemd" / "spalloc-web.service"
NGINX = CONTRIB / "nginx" / "spalloc-web.conf"
#: Of 10, as of the server's own unit. # arbitrary
MOST_EXPOSED = 1.5

pytestmark = pytest.mark.skipif(not CONTRIB.exists(), reason="needs the repository")


def test_the_service_starts_the_program_with_options_it_has() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.read_string(UNIT.read_text())

    words = unit["Service"]["ExecStart"].split()
    options = parser().parse_args(words[words.index("spalloc-web") + 1 :])

    assert options.config == "/etc/spalloc/web.ini"
    assert unit["Service"]["Type"] == "notify"
    assert unit["Service"]["User"] == "spalloc-web"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_has_nothing_to_say_and_finds_the_service_well_shut_in() -> None:
    said = subprocess.run(
        ["systemd-analyze", "verify", UNIT], capture_output=True, text=True, check=False
    )
    assert (said.returncode, said.stderr) == (0, "")
    said = subprocess.run(
        ["systemd-analyze", "security", "--no-pager", "--offline=true", UNIT],
        capture_output=True, text=True, check=False,
    )
    found = re.search(r"exposure level for spalloc-web.service: ([0-9.]+)", said.stdout)
    assert found, said.stdout + said.stderr
    assert float(found[1]) <= MOST_EXPOSED


def test_the_manuals_example_is_a_file_that_is_read(tmp_path: Path) -> None:
    manual = (CONTRIB.parent / "docs" / "web.rst").read_text()
    found = re.search(r"::\n\n((?:    .*\n|\n)*?    \[notice ops\]\n(?:    .*\n)+)", manual)
    assert found
    path = tmp_path / "web.ini"
    path.write_text(re.sub(r"^    ", "", found[1], flags=re.M))

    settings = read_settings(
        parser().parse_args(["--config", str(path), "--state-dir", str(tmp_path)])
    )

    assert settings.behind_proxy
    assert settings.history == "/var/lib/spalloc-history/history.db"
    assert [destination.name for destination in settings.destinations] == ["ops"]


def test_the_container_starts_the_program_with_options_it_has() -> None:
    steps = (CONTRIB / "container" / "Containerfile.web").read_text().replace("\\\n", " ")
    entry = re.findall(r'"([^"]+)"', steps.partition("\nENTRYPOINT ")[2].splitlines()[0])

    settings = read_settings(parser().parse_args(entry[1:]))

    assert entry[0].endswith("/spalloc-web")
    assert settings.listen == ("0.0.0.0", 22280)
    assert steps.index("USER spalloc-web") < steps.index("ENTRYPOINT")
    for name in re.findall(r"^COPY (?!--)(.+) \S+$", steps, flags=re.M):
        for each in name.split():
            assert (CONTRIB.parent / each).exists()


def _log_in_over(address: str, trust: ssl.SSLContext) -> None:
    """Log in, and see that pages and stream alike know the user by then."""
    browser = urllib.request.build_opener(
        urllib.request.HTTPSHandler(context=trust), urllib.request.HTTPCookieProcessor()
    )
    page = browser.open(address + "login", timeout=PATIENCE).read().decode()
    form = {"name": "ada", "password": GOOD, "next": "/account", "token": token_of(page, "/login")}
    account = browser.open(address + "login", urlencode(form).encode(), PATIENCE).read().decode()
    assert "<dd>127.0.0.1</dd>" in account
    # The stream comes through at once.
    with browser.open(address + "events", timeout=PATIENCE) as stream:
        assert stream.readline().startswith(b"data: ")


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, as nginx's own start does")
def test_a_page_behind_nginx_with_tls(certificate: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = certificate
    users = people(tmp_path, ada="read")
    with running("--behind-proxy", "--anonymous", "none", "--users", str(users)) as program:
        port = program.address.rsplit(":", 1)[1].rstrip("/")
        site = (
            NGINX.read_text()
            .replace("127.0.0.1:22280", f"127.0.0.1:{port}")
            .replace("/etc/ssl/spalloc/fullchain.pem", str(cert))
            .replace("/etc/ssl/spalloc/privkey.pem", str(key))
            .replace("listen 443 ssl", "listen 127.0.20.80:20443 ssl")
            .replace("listen 80;", "listen 127.0.20.80:20080;")
        )
        site = re.sub(r"\n *listen \[::\][^\n]*", "", site)
        (tmp_path / "nginx.conf").write_text(
            f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/log; events {{}}\n"
            f"http {{ access_log off; client_body_temp_path {tmp_path}/b;"
            f" proxy_temp_path {tmp_path}/p; fastcgi_temp_path {tmp_path}/f;"
            f" uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;\n{site}\n}}\n"
        )
        nginx = subprocess.Popen(["nginx", "-c", tmp_path / "nginx.conf", "-p", tmp_path])
        try:
            trust = ssl.create_default_context(cafile=str(cert))
            trust.check_hostname = False
            address = "https://127.0.20.80:20443/"
            for _ in range(PATIENCE * 20):
                try:
                    with urllib.request.urlopen(address, context=trust, timeout=5) as answer:
                        text = answer.read().decode()
                        break
                except OSError:
                    assert nginx.poll() is None, (tmp_path / "log").read_text()
                    time.sleep(0.05)
            assert "spalloc" in text
            _log_in_over(address, trust)
        finally:
            nginx.terminate()
            nginx.wait(PATIENCE)
