"""Published clients under every setting that lets them in, and those that do not.

Each release does what its users' scripts do: create, wait, switch, look, keep alive, come back,
destroy; from the addresses, or with the certificates, of callers of every class.  What each may do
is written here by hand, apart from the server's own table.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from spalloc_server.server import SpallocServer
from tests.support.fronted_server import FrontedServer, needs_haproxy, needs_tls
from tests.support.keepers import Unavailable
from tests.support.puppets import Place, Puppet, Refused, Thing
from tests.support.simulated_server import PATIENCE
from tests.support.tcp_client import TcpClient

RELEASES = ("0.2.6", "6.0.0", "7.0.0", "7.4.1")
#: The release that knows no exceptions: it waits for another answer until its time is over.
DEAF = "0.2.6"
#: Exceptions of the releases when a connection is lost.
LOST = ("ProtocolError", "OSError")
READY, DESTROYED = 3, 4

RULES = (
    '[("127.21.0.1", "use"), ("127.21.0.2", "use"), ("127.21.0.3", "read"),'
    ' ("127.21.0.4", "operate"), ("127.0.0.1", "use")]'
)
CERTIFICATES = (
    '[("cert:owner", "use"), ("cert:other", "use"), ("cert:reader", "read"),'
    ' ("cert:operator", "operate"), ("cert:front", "front")]'
)
#: What a caller may do: look at everything, keep another's job alive, create jobs, and end and
#: switch another's job.
LOOK, RENEW, CREATE, END = "look", "renew", "create", "end"


class Setting(NamedTuple):
    """One way of configuring a server.

    Attributes
    ----------
    policy : str
    reached : str
        ``plain``, by ``proxy``, or by ``tls``.
    rights : dict
        {caller: what it may do beside its own jobs}; nothing is denied.
    """

    policy: str
    reached: str
    rights: dict[str, set[str]]


SETTINGS = {
    "open server": Setting(
        "Policy()",
        "plain",
        {"other": {LOOK, RENEW, CREATE, END}, "anybody": {LOOK, RENEW, CREATE, END}},
    ),
    "networks": Setting(
        f"Policy({RULES})",
        "plain",
        {
            "other": {LOOK, RENEW, CREATE, END},
            "reader": {LOOK},
            "operator": {LOOK, RENEW, CREATE, END},
            "anybody": set(),
        },
    ),
    "isolation": Setting(
        f"Policy({RULES}, isolation='jobs')",
        "plain",
        {
            "other": {LOOK, RENEW, CREATE},
            "reader": {LOOK},
            "operator": {LOOK, RENEW, CREATE, END},
            "anybody": set(),
        },
    ),
    "isolation without rules": Setting(
        "Policy(isolation='jobs')",
        "plain",
        {"other": {LOOK, RENEW, CREATE}, "anybody": {LOOK, RENEW, CREATE}},
    ),
    "behind a proxy": Setting(
        f"Policy({RULES}, isolation='jobs')",
        "proxy",
        {
            "other": {LOOK, RENEW, CREATE},
            "reader": {LOOK},
            "operator": {LOOK, RENEW, CREATE, END},
            "anybody": set(),
        },
    ),
    "certificates": Setting(
        f"Policy({CERTIFICATES}, isolation='jobs')",
        "tls",
        {
            "other": {LOOK, CREATE},
            "reader": {LOOK},
            "operator": {LOOK, RENEW, CREATE, END},
            "front": {LOOK},
            "anybody": set(),
        },
    ),
}
_MARKS: dict[str, Any] = {"plain": (), "proxy": needs_haproxy, "tls": needs_tls}
#: Last parts of the callers' addresses.
_ADDRESSES = {"owner": 1, "other": 2, "reader": 3, "operator": 4, "anybody": 9}


class Site(NamedTuple):
    """A server under a setting, and where each caller connects."""

    server: SpallocServer
    config: Path
    places: dict[str, Place]
    rights: dict[str, set[str]]

    def deadline(self, job: int) -> float:
        """Return when a job ends unless somebody renews it, by the server's clock."""
        deadline = self.server.controller._jobs[job].deadline
        assert deadline is not None
        return deadline

    def quiet_job(self) -> int:
        """Create a job of the owner's that no helper process keeps alive; returns its id."""
        port, source = self.places["owner"]
        with TcpClient(port, source=source) as client:
            return int(client.call("create_job", 1, owner="me", keepalive=600.0))

    def until(self, done: Callable[[], object]) -> None:
        """Wait for something that the server's clients do by themselves."""
        pause = threading.Event()
        for _ in range(round(PATIENCE / 0.02)):
            if done():
                return
            pause.wait(0.02)
        raise AssertionError("it did not happen")


@contextmanager
def site_of(setting: Setting, folder: Path) -> Iterator[Site]:
    with closing(FrontedServer(folder, setting.policy)) as fronted:
        callers = ("owner", *setting.rights)
        if setting.reached == "tls":
            fronted.tls_proxy()
            places = {each: Place(fronted.tunnel(each)) for each in callers}
        else:
            proxied = setting.reached == "proxy"
            port = fronted.plain_proxy() if proxied else fronted.server.port
            places = {each: Place(port, f"127.21.0.{_ADDRESSES[each]}") for each in callers}
        yield Site(fronted.server, fronted.config, places, setting.rights)


@pytest.fixture(scope="module", params=RELEASES)
def puppet(request: pytest.FixtureRequest) -> Iterator[Puppet]:
    try:
        puppet = Puppet(request.param)
    except Unavailable as e:
        pytest.skip(str(e))
    with closing(puppet):
        yield puppet


@pytest.fixture
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with site_of(SETTINGS[request.param], tmp_path) as site:
        yield site


every_setting = pytest.mark.parametrize(
    "site",
    [pytest.param(name, marks=_MARKS[each.reached]) for name, each in SETTINGS.items()],
    indirect=True,
)


def under(name: str) -> pytest.MarkDecorator:
    """Run a test under one setting."""
    return pytest.mark.parametrize("site", [name], indirect=True)


def ready_job(puppet: Puppet, place: Place, *what: int, keepalive: float | None = 600.0) -> Thing:
    """Create a job, as a script does, and wait until it is ready."""
    job = puppet.job(place, *what, owner="me", keepalive=keepalive, timeout=PATIENCE)
    job.call("wait_until_ready", timeout=PATIENCE)
    return job


def refused(puppet: Puppet, client: Thing, name: str, *args: Any, **kwargs: Any) -> str:
    """Have a command refused; returns the words, which one release never hears."""
    if puppet.release == DEAF:
        words = client.refused(name, *args, timeout=0.2, **kwargs)
        assert words == "ProtocolTimeoutError: recv timed out."
        return ""
    words = client.refused(name, *args, timeout=PATIENCE, **kwargs)
    kind, _, text = words.partition(": ")
    assert kind == "SpallocServerException", words
    return text


def refused_job(puppet: Puppet, place: Place) -> str:
    """Have a new job refused; returns the words, which one release never hears."""
    if puppet.release == DEAF:
        return refused(puppet, puppet.protocol(place), "create_job", 1, owner="me")
    with pytest.raises(Refused, match="SpallocServerException: ") as caught:
        puppet.job(place, 1, owner="me", timeout=PATIENCE)
    return str(caught.value).partition(": ")[2]


# --- what the owner of a job does ---


def live(puppet: Puppet, site: Site) -> int:
    """Do with a job all that its owner's script does; returns its id, ready again."""
    job = ready_job(puppet, site.places["owner"], 3)
    job_id = int(job.get("id"))
    (row,) = (each for each in site.server.controller.list_jobs() if each.job_id == job_id)

    assert job.get("state") == READY
    assert job.get("power") is True
    assert job.get("boards") == sorted(map(list, row.boards or ()))
    assert job.get("machine_name") == "frame"
    assert len(job.get("connections")) == 3
    if puppet.release != DEAF:
        assert job.call("where_is_machine", 0, 0) is not None

    job.call("set_power", False)
    job.call("wait_until_ready", timeout=PATIENCE)
    assert job.get("power") is False
    job.call("reset")
    job.call("wait_until_ready", timeout=PATIENCE)
    assert (job.get("state"), job.get("power")) == (READY, True)

    job.call("close")  # without destroying it: another process comes back to it
    again = puppet.job(site.places["owner"], resume_job_id=job_id, timeout=PATIENCE)
    assert (again.get("id"), again.get("state")) == (job_id, READY)
    again.call("close")
    return job_id


# --- what everybody else does with it ---


def look(puppet: Puppet, client: Thing, job_id: int) -> None:
    """Ask everything; nothing may be an exception."""
    machines = [dict(each)["name"] for each in client.call("list_machines", timeout=PATIENCE)]
    assert machines == ["frame", "solo"]
    jobs = [dict(each)["job_id"] for each in client.call("list_jobs", timeout=PATIENCE)]
    assert job_id in jobs
    assert dict(client.call("get_job_state", job_id, timeout=PATIENCE))["state"] == READY
    info = dict(client.call("get_job_machine_info", job_id, timeout=PATIENCE))
    assert info["machine_name"] == "frame"
    found = client.call("get_board_position", "frame", 0, 0, 0, timeout=PATIENCE)
    assert client.call("get_board_at_position", "frame", *found, timeout=PATIENCE) == [0, 0, 0]
    where = client.call("where_is", job_id=job_id, chip_x=0, chip_y=0, timeout=PATIENCE)
    assert dict(where)["job_id"] == job_id
    for what, name in (("job", job_id), ("machine", "frame")):
        assert client.call(f"notify_{what}", name, timeout=PATIENCE) is None
        assert client.call(f"no_notify_{what}", name, timeout=PATIENCE) is None


def keep_alive(site: Site, client: Thing, job_id: int, *, renews: bool) -> None:
    """Send the signs of life that clients send by themselves, none of which may be refused."""
    for name in ("job_keepalive", "get_job_state", "get_job_machine_info"):
        before = site.deadline(job_id)
        client.call(name, job_id, timeout=PATIENCE)
        assert (site.deadline(job_id) > before) is renews, name


def switch(puppet: Puppet, site: Site, client: Thing, job_id: int, *, may: bool) -> None:
    """Switch another's boards."""
    for name in ("power_off_job_boards", "power_on_job_boards"):
        if may:
            client.call(name, job_id, timeout=PATIENCE)
            site.until(lambda: site.server.get_job_state(None, job_id)["state"] == READY)
            continue
        words = refused(puppet, client, name, job_id)
        if puppet.release != DEAF:
            assert "this job is of" in words or f"{name} needs the right to use" in words
        # The connection goes on, and the right answer comes to the next question.
        assert client.call("version", timeout=PATIENCE) == "1.1.0"
        assert site.server.get_job_state(None, job_id)["power"] is True


def create(puppet: Puppet, place: Place, *, may: bool) -> None:
    """Create a job of one's own, and destroy it."""
    if may:
        job = ready_job(puppet, place, 1)
        job.call("destroy", "no more")
        return
    words = refused_job(puppet, place)
    assert puppet.release == DEAF or words.startswith("create_job needs the right to use")


def be_denied(puppet: Puppet, place: Place) -> None:
    """Meet a closed door: soon, with an exception of the kind that lost connections raise."""
    for keywords in ({"owner": "me"}, {"resume_job_id": 1}):
        try:
            puppet.job(place, **keywords, timeout=PATIENCE)
        except Refused as e:
            assert str(e).partition(":")[0] in LOST, e
        else:
            raise AssertionError("a denied client was served")
    done = puppet.run(place, "spalloc-ps")
    assert done.returncode == 1
    assert "Traceback" not in done.stderr + done.stdout


def come_back(puppet: Puppet, place: Place, job_id: int, *, may: bool) -> None:
    """Come back to another's job, as a script that is given its id does."""
    job = puppet.job(place, resume_job_id=job_id, timeout=PATIENCE)
    assert (job.get("id"), job.get("state"), job.get("power")) == (job_id, READY, True)
    assert job.get("machine_name") == "frame"
    job.call("wait_until_ready", timeout=PATIENCE)
    if not may and puppet.release != DEAF:  # it would wait for PATIENCE
        for name, args in (("set_power", (True,)), ("destroy", ("mine",))):
            words = job.refused(name, *args)
            assert "this job is of" in words or "needs the right to use" in words, words
        assert job.get("state") == READY
    job.call("close")


@every_setting
def test_each_class_does_what_it_may(puppet: Puppet, site: Site) -> None:
    job_id, quiet = live(puppet, site), site.quiet_job()

    for caller, rights in site.rights.items():
        place = site.places[caller]
        if not rights:
            be_denied(puppet, place)
            continue
        client = puppet.protocol(place)
        look(puppet, client, job_id)
        keep_alive(site, client, quiet, renews=RENEW in rights)
        switch(puppet, site, client, job_id, may=END in rights)
        create(puppet, place, may=CREATE in rights)
        come_back(puppet, place, job_id, may=END in rights)
        if END in rights:
            assert client.call("destroy_job", job_id, "enough", timeout=PATIENCE) is None
            assert site.server.get_job_state(None, job_id)["reason"] == "enough"
            job_id = live(puppet, site)
    assert puppet.complaints() == ""


@under("isolation")
def test_keepalives_of_all_go_on_in_the_background(puppet: Puppet, site: Site) -> None:
    """The clients' helpers, which an exception would end, send without being asked."""
    job = ready_job(puppet, site.places["owner"], 1, keepalive=2.0)
    job_id = int(job.get("id"))
    reader = puppet.job(site.places["reader"], resume_job_id=job_id, timeout=PATIENCE)
    # Both send each second from now on; the job itself outlives a pause of this computer.
    site.server.controller._jobs[job_id].keepalive = 600.0
    times = site.server.command_times["job_keepalive"]
    before = sum(times.counts)

    site.until(lambda: sum(times.counts) >= before + 4)

    assert site.server.command_errors["job_keepalive"] == 0
    assert (job.get("state"), reader.get("state")) == (READY, READY)
    assert site.server.get_job_state(None, job_id)["keepalivehost"] == "127.21.0.1"
    reader.call("close")
    job.call("destroy")
    assert puppet.complaints() == ""


@pytest.mark.parametrize(
    ("site", "renews"),
    [
        pytest.param("isolation", True),
        pytest.param("certificates", False, marks=needs_tls),
    ],
    indirect=["site"],
)
def test_a_job_that_is_taken_over_is_anothers(puppet: Puppet, site: Site, renews: bool) -> None:
    mine, other = site.places["owner"], site.places["other"]
    job_id = site.quiet_job()
    job = puppet.protocol(mine)
    with (
        TcpClient(mine.port, source=mine.source) as giver,
        TcpClient(other.port, source=other.source) as taker,
    ):
        code = giver.call("get_takeover_code", job_id)
        assert taker.call("take_over_job", job_id, code) is True

    keep_alive(site, job, job_id, renews=renews)
    words = refused(puppet, job, "destroy_job", job_id)
    assert puppet.release == DEAF or words.startswith("this job is of ")
    assert puppet.protocol(other).call("destroy_job", job_id, timeout=PATIENCE) is None
    assert dict(job.call("get_job_state", job_id, timeout=PATIENCE))["state"] == DESTROYED
    assert puppet.complaints() == ""


@under("networks")
def test_a_reload_that_denies_a_client_ends_its_connection_until_the_next(
    puppet: Puppet, site: Site
) -> None:
    # Without a helper, which would complain of the lost connection at some time.
    job = ready_job(puppet, site.places["owner"], 1, keepalive=None)
    job_id = int(job.get("id"))
    text = site.config.read_text()

    site.config.write_text(text.replace('("127.21.0.1", "use")', '("127.21.0.1", "deny")'))
    reload(site)
    be_denied(puppet, site.places["owner"])
    site.config.write_text(text)
    reload(site)

    assert job.refused("state").partition(":")[0] in LOST
    again = puppet.job(site.places["owner"], resume_job_id=job_id, timeout=PATIENCE)
    assert again.get("state") == READY
    again.call("destroy")


@under("networks")
def test_the_programs_of_a_reader_show_everything(puppet: Puppet, site: Site) -> None:
    job = ready_job(puppet, site.places["owner"], 3)
    job_id = str(job.get("id"))
    for command, *args in (
        ("spalloc-ps",),
        ("spalloc-machine",),
        ("spalloc-machine", "frame"),
        ("spalloc-job", job_id),
        ("spalloc-where-is", "--job-chip", job_id, "0", "0"),
    ):
        done = puppet.run(site.places["reader"], command, *args)
        assert done.returncode == 0, done
        assert done.stderr == ""
        assert "frame" in done.stdout
    job.call("destroy")


@under("networks")
def test_an_operators_notice_stops_new_jobs_and_tells_why(puppet: Puppet, site: Site) -> None:
    job = ready_job(puppet, site.places["owner"], 1)
    operator = site.places["operator"]
    with TcpClient(operator.port, source=operator.source) as client:
        client.call("operate", {"do": "message", "text": "Back at noon", "accepting": False})

        words = refused_job(puppet, site.places["owner"])

        assert words in ("", "no new jobs are accepted now: Back at noon")
        assert (job.get("state"), job.get("power")) == (READY, True)
        client.call("operate", {"do": "message", "text": None})
        ready_job(puppet, site.places["owner"], 1).call("destroy")
    job.call("destroy")
    assert puppet.complaints() == ""


def reload(site: Site) -> None:
    """Have the server load another policy, as SIGHUP does."""
    before = site.server._doorkeeper.policy
    signal.raise_signal(signal.SIGHUP)
    site.until(lambda: site.server._doorkeeper.policy != before)
