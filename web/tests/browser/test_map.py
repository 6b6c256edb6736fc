"""The map equals the server's list in all circumstances."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from tests.browser.conftest import Window, window
from tests.conftest import site
from tests.support.facility import Facility, FakeMachine, busy, empty, shuffle


def rows(facility: Facility, name: str = "machine") -> list[list[Any]]:
    found = [row[:5] for row in facility.machines[name].rows()]
    return sorted(found, key=lambda row: row[:3])


async def shows(view: Window, facility: Facility, name: str = "machine") -> None:
    """Wait until the map equals the facility."""
    wanted = {
        f"{x},{y},{z}": [state, None if job is None else str(job)]
        for x, y, z, state, job in rows(facility, name)
    }
    await view.until(
        """([name, wanted]) => {
            const map = document.querySelector(`svg.map[data-machine="${name}"]`);
            const found = map ? map.querySelectorAll("[data-board]") : [];
            if (found.length !== Object.keys(wanted).length) return false;
            return [...found].every(e => e.dataset.state === wanted[e.dataset.board][0]
                && (e.dataset.job ?? null) === wanted[e.dataset.board][1]);
        }""",
        [name, wanted],
    )


async def test_the_map_equals_the_servers_list_for_200_random_states() -> None:
    chance = random.Random(12)
    facility = busy(4, 2)
    async with site(facility) as place, window(place) as view:
        await view.open("/")
        for _ in range(200):
            shuffle(facility, chance)
            place.server.notify()
            await shows(view, facility)
        assert await view.boards() == rows(facility)


async def test_a_used_board_that_is_draining_looks_so() -> None:
    facility = busy(4, 2)
    machine = facility.machines["machine"]
    board, (_, job_id, _) = next(
        (board, row) for board, row in machine.boards.items() if row[0] == "used"
    )
    look = f"""() => {{
        const path = document.querySelector('[data-board="{",".join(map(str, board))}"]');
        return [path.dataset.state, path.classList.contains("s-draining")].join();
    }}"""
    async with site(facility) as place, window(place) as view:
        await view.open("/")
        await view.ready()
        assert await view.page.evaluate(look) == "used,false"
        machine.boards[board] = ("used", job_id, "draining since 13:10 UTC: new fan")
        facility.notes.append({"machines_changed": ["machine"]})
        place.server.notify()
        await view.until(f"() => ({look})() === 'used,true'")


async def test_jobs_come_and_go_on_map_queue_and_table() -> None:
    facility = empty(4, 2)
    async with site(facility) as place, window(place) as view:
        await view.open("/")
        await view.ready()
        job_id = facility.create("eve <b>", [1, 1], why="12 boards are free, but no place")
        place.server.notify()
        await view.page.wait_for_selector(f'#queue [data-waiting="{job_id}"]')
        text = await view.page.inner_text("#queue")
        assert "eve <b>" in text
        assert "12 boards are free, but no place" in text

        facility.allocate(job_id, "machine", [(0, 0, 0), (0, 0, 1), (0, 0, 2)])
        place.server.notify()
        await shows(view, facility)
        await view.until("() => document.querySelectorAll('#queue li').length === 0")
        row = await view.page.inner_text(f'[data-job-row="{job_id}"]')
        assert row.split("\t")[:4] == ["A", str(job_id), "ready", "3"]
        letters = await view.page.eval_on_selector_all(
            "svg.map .letters text", "all => all.map(e => e.textContent)"
        )
        assert letters == ["A", "A", "A"]

        facility.end(job_id)
        place.server.notify()
        await shows(view, facility)
        await view.until("() => document.querySelectorAll('#jobs tbody tr').length === 0")


async def test_an_unknown_state_is_shown_as_out() -> None:
    facility = empty(1, 1)
    facility.machines["machine"].boards[0, 0, 0] = ("molten", None, None)
    async with site(facility) as place, window(place) as view:
        await view.open("/")
        await view.ready()

        board = view.page.locator('[data-board="0,0,0"]')
        assert await board.get_attribute("data-state") == "molten"
        assert "s-out" in (await board.get_attribute("class") or "")
        assert await view.page.inner_text("#count-out") == "1"


async def test_server_and_pages_may_go_and_come_back() -> None:
    facility = busy(4, 2)
    async with site(facility) as place, window(place) as view:
        await view.open("/")
        await shows(view, facility)
        await view.until("() => document.getElementById('status').dataset.state === 'live'")

        port = place.server.port
        await place.server.stop()
        await view.until("() => document.getElementById('status').dataset.state === 'away'")
        text = await view.page.inner_text("#status-text")
        assert "The server is away since" in text
        assert "What you see is from" in text
        await shows(view, facility)

        facility.set_board("machine", (0, 0, 0), "out")
        await place.server.start(port)
        await view.until("() => document.getElementById('status').dataset.state === 'live'")
        await shows(view, facility)


async def test_machines_that_come_and_go_are_shown() -> None:
    facility = empty(2, 1)
    async with site(facility) as place, window(place) as view:
        await view.open("/")
        await view.ready()
        facility.machines["second"] = FakeMachine("second", 1, 1)
        facility.notes.append({"machines_changed": ["second"]})
        place.server.notify()
        await view.page.wait_for_selector('svg.map[data-machine="second"]')
        await shows(view, facility, "second")

        del facility.machines["second"]
        facility.notes.append({"machines_changed": ["second"]})
        place.server.notify()
        await view.until("() => document.querySelectorAll('svg.map[data-machine]').length === 1")


async def test_the_keyboard_reaches_every_board_with_one_tab_stop() -> None:
    facility = busy(4, 2)
    async with site(facility) as place, window(place) as view:
        await view.open("/")
        await view.ready()
        assert await view.page.locator("svg.map [tabindex]").count() == 1
        await view.page.locator("svg.map [tabindex]").focus()
        seen = set()
        for key in ["ArrowUp"] * 3 + ["ArrowRight"] * 9 + ["ArrowDown"] * 6 + ["ArrowLeft"] * 9:
            await view.page.keyboard.press(key)
            place_now, label, role = await view.page.evaluate(
                "() => { const e = document.activeElement; return [e.dataset.board,"
                " e.getAttribute('aria-label'), e.getAttribute('role')]; }"
            )
            seen.add(place_now)
            assert role == "button"
            assert label.startswith(f"Board ({place_now.replace(',', ', ')})")
            assert "State" in label
        assert len(seen) > 10
        assert await view.page.locator("svg.map [tabindex]").count() == 1
        assert not await view.page.locator("#tooltip").is_hidden()

        await view.page.keyboard.press("Enter")
        assert "Nothing" not in await view.page.inner_text("#selection-title")
        await view.page.keyboard.press("Escape")
        await view.until(
            "() => document.getElementById('selection-title').textContent.includes('Nothing')"
        )


async def test_pointing_tells_all_about_a_board() -> None:
    facility = busy(4, 2)
    board = next(
        b for b, state in facility.machines["machine"].boards.items() if state[0] == "used"
    )
    job_id = facility.machines["machine"].boards[board][1]
    async with site(facility) as place, window(place) as view:
        await view.open("/")
        await view.ready()
        await view.page.hover(f'[data-board="{",".join(map(str, board))}"]')
        await view.until("() => document.getElementById('tooltip').innerText.includes('cabinet')")
        text = await view.page.inner_text("#tooltip")
        for words in (f"({', '.join(map(str, board))})", "used", str(job_id), "example.org"):
            assert words in text


async def test_a_click_on_a_job_shows_it_and_stays_in_the_address() -> None:
    facility = busy(4, 2)
    async with site(facility) as place, window(place) as view:
        await view.open("/")
        await view.ready()
        await view.page.locator('[data-job="1"]').first.click()
        assert view.page.url.endswith("?job=1")
        assert await view.page.evaluate("() => document.activeElement.dataset.job") == "1"
        assert await view.page.inner_text("#selection-title") == "Job 1 · A"
        marked = await view.page.locator("svg.map .board.picked").count()
        assert marked == len(facility.jobs[1]["boards"])

        await view.page.reload()
        await view.ready()
        assert await view.page.inner_text("#selection-title") == "Job 1 · A"
        await view.page.click("#selection-more")
        assert view.page.url.endswith("/jobs/1")


async def test_filters_and_sorting_stay_in_the_address() -> None:
    async with site(busy(8, 4)) as place, window(place) as view:
        await view.open("/")
        await view.ready()
        await view.page.click('th[data-column="boards"]')
        await view.page.click('th[data-column="boards"]')
        await view.page.fill('#filters [name="owner"]', "ada")
        await view.page.click('.counter[data-state="dead"]')
        await view.until("() => location.search.includes('state=dead')")
        table = await view.page.inner_text("#jobs tbody")

        await view.page.reload()
        await view.ready()
        await view.until("() => document.querySelectorAll('#jobs tbody tr').length")

        assert await view.page.inner_text("#jobs tbody") == table
        owners = await view.page.locator("#jobs .col-owner").all_inner_texts()
        assert set(owners) == {"ada@example.org"}
        counts = [int(text) for text in await view.page.locator("#jobs .col-boards")
                  .all_inner_texts() if text.isdigit()]
        assert counts == sorted(counts, reverse=True)
        assert await view.page.get_attribute('th[data-column="boards"]', "aria-sort") == (
            "descending"
        )
        assert await view.page.get_attribute('.counter[data-state="dead"]', "aria-pressed") == (
            "true"
        )


async def test_a_machine_of_more_than_12000_boards_is_drawn_by_frames() -> None:
    facility = busy(64, 64)
    async with site(facility) as place, window(place) as view:
        await view.open("/")
        await view.page.wait_for_selector("[data-frame]")
        assert await view.page.locator("svg.map[data-machine] [data-board]").count() == 0
        frames = await view.page.locator("[data-frame]").count()
        assert frames == 64 * 64 // 8

        await view.page.locator("[data-frame]").nth(5).click()
        await view.page.wait_for_selector("#frame [data-board]")
        shown = await view.page.eval_on_selector_all(
            "#frame [data-board]", "all => all.map(e => [e.dataset.board, e.dataset.state])"
        )
        boards = facility.machines["machine"].boards
        assert len(shown) == 24
        for text, state in shown:
            x, y, z = map(int, text.split(","))
            assert boards[x, y, z][0] == state

        board = tuple(map(int, shown[0][0].split(",")))
        facility.set_board("machine", board, "out")  # type: ignore[arg-type]
        place.server.notify()
        await view.page.wait_for_selector(
            f'#frame [data-board="{shown[0][0]}"][data-state="out"]'
        )


@pytest.mark.parametrize("packed", [True, False])
async def test_nothing_moves_when_things_change(packed: bool) -> None:
    facility = busy(8, 4)
    chance = random.Random(1)
    async with site(facility) as place, window(place) as view:
        await view.page.add_init_script(
            """window.shifts = [];
            new PerformanceObserver(list => list.getEntries().forEach(
                e => window.shifts.push([e.value, e.sources.map(s => s.node?.outerHTML ?? '')])
            )).observe({type: 'layout-shift', buffered: true});"""
        )
        await view.open("/")
        await view.ready()
        await view.until("() => document.querySelectorAll('#jobs tbody tr').length > 5")
        before = await view.page.evaluate("() => window.shifts.length")
        for turn in range(12):
            shuffle(facility, chance)
            if turn % 3 == 0:
                facility.say("Maintenance on Friday" if turn % 2 else None)
            facility.create("eve", [turn + 1], why="because " * turn)
            for job_id in [j for j, job in facility.jobs.items() if job["state"] == 1][:1]:
                facility.end(job_id)
            place.server.notify()
            await shows(view, facility)
            places = await view.page.evaluate(
                """() => JSON.stringify(['#counters', '.machine', '.side', '.jobs', '.queue']
                    .map(s => document.querySelector(s).getBoundingClientRect()))"""
            )
            if turn == 0:
                first = places
            assert json.loads(places) == json.loads(first)
        await place.server.stop()
        await view.until("() => document.getElementById('status').dataset.state === 'away'")
        places = await view.page.evaluate(
            """() => JSON.stringify(['#counters', '.machine', '.side', '.jobs', '.queue']
                .map(s => document.querySelector(s).getBoundingClientRect()))"""
        )
        assert json.loads(places) == json.loads(first)
        # All movement is inside the lists, which scroll by themselves.
        shifts = await view.page.evaluate("() => window.shifts")
        assert sum(value for value, _ in shifts[before:]) < 0.05, shifts[before:]
