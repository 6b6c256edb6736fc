"""Logging in, orders and refusals in a browser, with scripts and without."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.async_api import Page
from spalloc_web._accounts import passwords

from tests.browser.conftest import window
from tests.browser.test_pages import find_faults
from tests.conftest import Site, site
from tests.support.facility import busy, empty
from tests.support.people import CHEAP, GOOD, people

#: Pages of people who are logged in, beside those of everybody.
PAGES = (
    "/operate",
    "/account",
    "/jobs/1",
    "/machines/machine",
    "/machines/machine/boards/0/0/0",
    "/orders/end?id=1",
    "/orders/give?id=1",
    "/orders/out?boards=machine&reason=new+fan",
    "/orders/message?text=Back+at+noon&accepting=no",
    "/orders/end-own?id=1",
    "/orders/report?id=1",
)


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passwords, "COST", CHEAP)


@pytest.fixture
def users(tmp_path: Path) -> str:
    return str(people(tmp_path, ada="use", grace="operate"))


async def log_in(page: Page, name: str, password: str = GOOD) -> None:
    await page.get_by_label("Name").fill(name)
    await page.get_by_label("Password").fill(password)
    await page.get_by_role("main").get_by_role("button", name="Log in").click()


@pytest.mark.parametrize("scripts", [True, False])
async def test_an_operator_logs_in_ends_a_job_and_logs_out(users: str, scripts: bool) -> None:
    facility = empty(4, 2)
    job_id = facility.create("ada@example.org", [1])
    facility.allocate(job_id, "machine", [(0, 0, 0)])
    async with site(facility, users=users, anonymous="none") as place, window(
        place, java_script_enabled=scripts, expected=("403",)
    ) as view:
        page = view.page
        await view.open(f"/jobs/{job_id}")
        assert page.url.endswith(f"/login?next=/jobs/{job_id}")
        await log_in(page, "grace", "wrong password")
        assert await page.get_by_role("alert").inner_text() == "Name or password is wrong."
        await log_in(page, "grace")
        await page.wait_for_url(f"**/jobs/{job_id}")

        await page.get_by_role("link", name="End it…").click()
        assert await page.locator("h1").inner_text() == f"End job {job_id} of ada@example.org?"
        button = page.get_by_role("button", name=f"End job {job_id}")
        await button.click()
        # The browser itself asks for the reason.
        assert "/orders/end?" in page.url
        await page.get_by_label("Reason").fill("fire drill")
        await button.click()
        await page.wait_for_url("**/done/*")
        words = await page.get_by_role("main").inner_text()
        assert f"Job {job_id} has ended" in words
        assert "is told: Ended by an operator, user:grace: fire drill." in words
        assert job_id not in facility.jobs
        await page.reload()
        assert f"Job {job_id} has ended" in await page.get_by_role("main").inner_text()

        await page.get_by_role("button", name="Log out").click()
        await page.wait_for_url(re.compile(r"/login\?next="))
        cookies = {cookie.get("name"): cookie for cookie in await page.context.cookies()}
        assert "spalloc" not in cookies
        await page.go_back()
        assert "fire drill" not in await page.content()


async def test_a_page_whose_session_ends_shows_what_everybody_sees(users: str) -> None:
    facility = empty(4, 2)
    facility.create("brian@example.org", [1], why="no room")
    async with site(facility, users=users, anonymous="states") as place, window(place) as view:
        await view.open("/login?next=/jobs/1")
        await log_in(view.page, "ada")
        await view.page.get_by_text("brian@example.org").wait_for()
        accounts = place.context.accounts
        assert accounts
        accounts.sessions.close_all("ada")
        facility.create("chen@example.org", [1])
        place.server.notify()

        await view.page.get_by_role("link", name="Log in").wait_for()
        assert "@example.org" not in await view.page.content()


async def test_orders_of_the_operators_page(users: str) -> None:
    facility = empty(4, 2)
    async with site(facility, users=users) as place, window(place) as view:
        page = view.page
        await view.open("/login?next=/operate")
        await log_in(page, "grace")
        await page.wait_for_url("**/operate")
        await page.get_by_label("Boards, one place to a line").fill("machine:0,0,0\nmachine:1,1,1")
        await page.get_by_label("Reason").fill("new fan")
        await page.get_by_role("button", name="Take out of service…").click()
        await page.get_by_role("button", name="Take 2 boards out").click()
        await page.get_by_text("2 boards out of service").wait_for()
        await page.get_by_role("link", name="Go on").click()
        row = page.locator("#out tbody tr").first
        assert "0, 0, 0" in await row.inner_text()
        await row.get_by_role("link", name="Put back…").click()
        await page.get_by_role("button", name="Put 1 board back").click()
        await page.get_by_text("1 board back in service").wait_for()
        assert facility.machines["machine"].boards[0, 0, 0][0] == "free"
        assert facility.machines["machine"].boards[1, 1, 1][0] == "out"

        await view.open("/operate")
        await page.get_by_label("Message, empty for none").fill("Back at noon")
        await page.get_by_role("button", name="Change…").click()
        await page.get_by_role("button", name="Change it").click()
        place.server.notify()
        await view.until(
            "() => document.getElementById('message').textContent === 'Back at noon'"
        )


async def test_a_user_is_refused_anothers_job_and_the_operators_page(users: str) -> None:
    facility = empty(4, 2)
    job_id = facility.create("brian@example.org", [1])
    async with site(facility, users=users) as place, window(place, expected=("403",)) as view:
        page = view.page
        await view.open(f"/login?next=/jobs/{job_id}")
        await log_in(page, "ada")
        await page.get_by_role("link", name="End it by its code…").click()
        await page.get_by_role("button", name=f"End job {job_id}").click()
        assert "is of brian@example.org, not of ada" in await page.locator(".notice").inner_text()
        assert job_id in facility.jobs
        assert await page.get_by_role("link", name="Operate").count() == 0
        await view.open("/operate")
        assert "needs the right to operate" in await page.locator(".notice").inner_text()


async def test_a_form_of_another_site_logs_nobody_in(users: str) -> None:
    async with site(users=users) as place, window(place, expected=("403",)) as view:
        page = view.page
        await view.open("/login")
        token = await page.locator('input[name="token"]').first.get_attribute("value")
        other = f"http://localhost:{place.client.port}/"
        await page.route(other, lambda route: route.fulfill(
            content_type="text/html",
            body=f'<form method="post" action="{view.origin}/login"><input name="name"'
            f' value="ada"><input name="password" value="{GOOD}"><input name="token"'
            f' value="{token}"><button>x</button></form>',
        ))
        view.expected = ("403", "request to another place")
        await page.goto(other)
        await page.get_by_role("button").click()
        assert (await page.locator("h1").inner_text()) == "Not for you"
        cookies = {cookie.get("name") for cookie in await page.context.cookies()}
        assert "spalloc" not in cookies


async def _logged_in_pages(place: Site, page: Page, origin: str) -> list[str]:
    await page.goto(f"{origin}/login")
    await log_in(page, "grace")
    await page.wait_for_url(f"{origin}/")
    return [f"{origin}{path}" for path in PAGES]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
async def test_axe_finds_nothing_and_nothing_is_too_wide(
    users: str, scheme: str, width: int
) -> None:
    facility = busy(4, 2)
    facility.set_board("machine", (1, 1, 0), "out")
    async with site(facility, users=users) as place, window(
        place, color_scheme=scheme, viewport={"width": width, "height": 900}
    ) as view:
        await view.open("/login")
        assert await find_faults(view) == []
        for address in await _logged_in_pages(place, view.page, view.origin):
            await view.page.goto(address)
            await view.until("() => document.getElementById('status').dataset.state === 'live'")
            await view.ready()
            assert await find_faults(view) == [], address
            over = await view.page.evaluate(
                "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert over <= 0, address
