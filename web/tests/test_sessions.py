"""Sessions and delays: how long they last, and how many are remembered."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from spalloc_web._accounts import accounts as accounts_module
from spalloc_web._accounts import delays, passwords, sessions
from spalloc_web._accounts.accounts import Accounts, LaterError, WrongError
from spalloc_web._accounts.delays import Delays, network_of
from spalloc_web._accounts.sessions import IDLE, LONGEST, Sessions
from spalloc_web._accounts.users import Users

from tests.support.people import CHEAP, GOOD, people

HOME, ELSEWHERE = "192.0.2.1", "198.51.100.1"


class Clock:
    """Seconds that pass only when told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def sessions_of(folder: Path, clock: Clock) -> tuple[Users, Sessions[str]]:
    users = Users(people(folder, ada="use", bo="read"))
    return users, Sessions(users, clock)


def user(users: Users, name: str = "ada"):  # type: ignore[no-untyped-def]
    found = users.get(name)
    assert found
    return found


# --- sessions ---


def test_a_session_lasts_for_half_a_day_if_it_is_used(tmp_path: Path, clock: Clock) -> None:
    users, opened = sessions_of(tmp_path, clock)
    token = opened.open(user(users))
    began = clock.now
    while clock.now + IDLE - 1 < began + LONGEST:
        clock.now += IDLE - 1
        found = opened.find(token)
        assert found
        assert found[0].name == "ada"
    clock.now = began + LONGEST
    assert opened.find(token) is None


def test_a_session_that_is_not_used_ends_and_a_stream_is_no_use(
    tmp_path: Path, clock: Clock
) -> None:
    users, opened = sessions_of(tmp_path, clock)
    token = opened.open(user(users))
    clock.now += IDLE - 1
    assert opened.is_open(token)
    clock.now += 1
    assert not opened.is_open(token)
    assert opened.find(token) is None


def test_no_token_is_kept(tmp_path: Path, clock: Clock) -> None:
    users, opened = sessions_of(tmp_path, clock)
    token = opened.open(user(users))

    assert token not in repr(vars(opened))
    assert opened.find(token[:-1]) is None
    assert opened.find("\udcff") is None
    assert opened.open(user(users)) != token


def test_another_password_and_a_removal_end_sessions(tmp_path: Path, clock: Clock) -> None:
    users, opened = sessions_of(tmp_path, clock)
    ada, bo = opened.open(user(users)), opened.open(user(users, "bo"))
    people(tmp_path, bo="read")
    assert not opened.is_open(ada)
    # People have a new hash each time.
    assert not opened.is_open(bo)


def test_log_outs_end_one_session_or_all_of_a_user(tmp_path: Path, clock: Clock) -> None:
    users, opened = sessions_of(tmp_path, clock)
    first, second, bo = (opened.open(user(users, name)) for name in ("ada", "ada", "bo"))

    opened.close(first)
    opened.close(first)
    assert opened.count("ada") == 1
    assert opened.close_all("ada") == 1
    assert not opened.is_open(second)
    assert opened.is_open(bo)


def test_the_oldest_session_goes_when_there_are_too_many(
    tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    users, opened = sessions_of(tmp_path, clock)
    tokens = [opened.open(user(users)) for _ in range(sessions.MOST_OF_ONE + 1)]
    assert [opened.is_open(token) for token in tokens[:2]] == [False, True]
    assert opened.count("ada") == sessions.MOST_OF_ONE

    monkeypatch.setattr(sessions, "MOST", sessions.MOST_OF_ONE)
    opened.open(user(users, "bo"))
    assert not opened.is_open(tokens[1])


def test_a_session_remembers_its_last_results(tmp_path: Path, clock: Clock) -> None:
    users, opened = sessions_of(tmp_path, clock)
    found = opened.find(opened.open(user(users)))
    assert found
    keys = [found[1].keep(str(number)) for number in range(sessions.MOST_RESULTS + 1)]

    assert keys[0] not in found[1].results
    assert found[1].results[keys[-1]] == str(sessions.MOST_RESULTS)


# --- delays ---


def wait_of(tries: Delays, name: str = "ada", address: str | None = HOME) -> float:
    return tries.begin(name, address)


def test_delays_double_up_to_a_quarter_of_an_hour_and_end(clock: Clock) -> None:
    tries = Delays(clock)
    waited: list[float] = []
    while len(waited) < 14:
        wait = wait_of(tries)
        if wait:
            waited.append(wait)
            # A try during the delay does not lengthen it.
            assert wait_of(tries) == wait
        clock.now += wait
    assert waited[:4] == [1.0, 2.0, 4.0, 8.0]
    assert waited[-1] == max(waited) == delays.LONGEST_DELAY
    assert wait_of(tries) == 0.0

    clock.now += delays.MEMORY
    assert [wait_of(tries) for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]


def test_one_address_is_delayed_for_all_names_and_one_name_for_all_addresses(
    clock: Clock,
) -> None:
    tries = Delays(clock)
    for number in range(delays.FREE):
        assert wait_of(tries, f"name {number}") == 0
    assert wait_of(tries, "another") > 0
    assert wait_of(tries, "another", ELSEWHERE) == 0

    for number in range(delays.FREE):
        assert wait_of(tries, "bo", f"203.0.113.{number}") == 0
    assert wait_of(tries, "bo", "203.0.113.99") > 0


def test_strangers_do_not_keep_a_user_out_of_home(clock: Clock) -> None:
    tries = Delays(clock)
    assert wait_of(tries) == 0
    tries.succeed("ada", HOME)
    for number in range(100):
        wait_of(tries, "ada", f"203.0.113.{number}")
        clock.now += 1

    assert wait_of(tries, "ada", ELSEWHERE) > 0
    assert wait_of(tries, "ada", HOME) == 0


def test_log_ins_that_are_right_cost_nothing(clock: Clock) -> None:
    tries = Delays(clock)
    for _ in range(20):
        assert wait_of(tries) == 0
        tries.succeed("ada", HOME)


def test_own_log_ins_do_not_wash_off_an_addresss_mistakes(clock: Clock) -> None:
    tries = Delays(clock)
    for number in range(delays.FREE):
        wait_of(tries, f"victim {number}")
    clock.now += 1
    assert wait_of(tries, "own") == 0
    tries.succeed("own", HOME)
    assert wait_of(tries, "victim") > 0


def test_only_so_many_mistakes_and_homes_are_remembered(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delays, "MOST", 10)
    tries = Delays(clock)
    for number in range(50):
        wait_of(tries, f"n{number}", f"10.0.0.{number}")
        tries.succeed(f"n{number}", f"10.0.0.{number}")
        wait_of(tries, f"m{number}", f"10.1.0.{number}")
    assert len(tries._mistakes) <= 10
    assert len(tries._homes) == 10


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8::1:2:3:4", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("nonsense", ""),
        (None, ""),
    ],
)
def test_an_ipv6_network_counts_as_one_address(address: str | None, network: str) -> None:
    assert network_of(address) == network


# --- log-ins ---


async def test_names_that_are_nobodys_are_compared_like_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(passwords, "COST", CHEAP)
    compared: list[str] = []

    def is_right(password: str, hashed: str) -> bool:
        compared.append(hashed)
        passwords.parts_of(hashed)
        return False

    accounts = Accounts(people(tmp_path, ada="use"))
    monkeypatch.setattr(passwords, "is_right", is_right)
    for name in ("ada", "my secret word"):
        with pytest.raises(WrongError, match=r"^Name or password is wrong\.$"):
            await accounts.log_in(name, GOOD, HOME)
    assert len(compared) == 2
    assert compared[0].split("$")[:4] == compared[1].split("$")[:4]
    assert "my secret word" not in caplog.text
    assert "refused: ada" in caplog.text
    assert GOOD not in caplog.text


async def test_many_tries_at_a_time_gain_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(passwords, "COST", CHEAP)
    accounts = Accounts(people(tmp_path, ada="use"), clock=lambda: 0.0)
    answers = await asyncio.gather(
        *(accounts.log_in("ada", f"guess number {n}", HOME) for n in range(30)),
        return_exceptions=True,
    )

    assert [type(answer) for answer in answers].count(WrongError) == delays.FREE
    later = [answer for answer in answers if isinstance(answer, LaterError)]
    assert len(later) == 30 - delays.FREE
    assert str(later[0]) == "Too many tries that were wrong: try again in 1 second."


async def test_only_so_many_wait_for_their_hashes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accounts_module, "MOST_WAITING", 2)
    accounts = Accounts(people(tmp_path, ada="use"))
    answers = await asyncio.gather(
        *(accounts.log_in("ada", GOOD, f"192.0.2.{n}") for n in range(3)),
        return_exceptions=True,
    )

    assert isinstance(answers[2], LaterError)
    assert str(answers[2]).endswith("try again in 2 seconds.")
    assert all(isinstance(answer, str) for answer in answers[:2])


async def test_a_password_is_compared_as_a_whole(tmp_path: Path) -> None:
    path = people(tmp_path, ada="use")

    for wrong in ("", GOOD[:-1], GOOD + "y", GOOD + "x" * 5000):
        with pytest.raises(WrongError):
            await Accounts(path).log_in("ada", wrong, None)
    assert await Accounts(path).log_in("ada", GOOD, HOME)
