"""Measures the pages before a made-up facility: ``python -m benchmarks [--rounds N]``.

Prints, for each row, the median and the best of some rounds:

- a page complete in the browser: from asking for its address until every board is an element;
- a change on the screen: from the server's notification until the next frame of the browser
  after the board's element has changed;
- many pages: processor time of ``spalloc-web`` with 200 open streams at 50 changes a second, how
  many connections the server has, and how late frames arrive.

The computer should do nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from playwright.async_api import Page, async_playwright
from tests.support.fake_server import FakeServer

from tests.support.facility import Facility, busy

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
SIZES = {1200: (20, 20), 12000: (80, 50)}
_COMPLETE = """(boards) => new Promise(done => {
    const look = () => document.querySelectorAll('[data-board]').length === boards
        ? requestAnimationFrame(() => setTimeout(() => done(performance.now())))
        : setTimeout(look, 1);
    look();
})"""
_WATCH = """() => { window.changed = new Promise(done => {
    const board = document.querySelector('[data-board="0,0,0"]');
    new MutationObserver((_, observer) => {
        observer.disconnect();
        requestAnimationFrame(() => setTimeout(() => done(Date.now())));
    }).observe(board, {attributes: true, attributeFilter: ['data-state']});
}); }"""


@contextlib.asynccontextmanager
async def pages_of(facility: Facility) -> AsyncIterator[tuple[FakeServer, str, int]]:
    """Serve a facility by ``spalloc-web`` in a process of its own."""
    async with FakeServer(facility) as server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "spalloc_web", "--listen", "127.0.0.1:0"),
            *("--server", f"127.0.0.1:{server.port}", "--anonymous", "all"),
            *("--log-level", "error"),
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout
        address = (await process.stdout.readline()).decode().split()[-1]
        while "get_facility" not in server.asked or "list_jobs" not in server.asked:
            await asyncio.sleep(0.01)
        try:
            yield server, address, process.pid
        finally:
            process.terminate()
            await process.wait()


@contextlib.asynccontextmanager
async def browser_page() -> AsyncIterator[Page]:
    """Open a page in the browser."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        try:
            context = await browser.new_context(viewport={"width": 1280, "height": 900})
            yield await context.new_page()
        finally:
            await browser.close()


def tell(what: str, values: list[float], unit: str, aim: str) -> None:
    """Print one row."""
    print(
        f"{what:<52} median {statistics.median(values):8.3f} {unit}   best {min(values):8.3f}"
        f" {unit}   to reach {aim}",
        flush=True,
    )


async def page_and_change(boards: int, rounds: int) -> None:
    """Measure how long a page takes to be complete, and a change to be seen."""
    facility = busy(*SIZES[boards])
    loads, changes = [], []
    async with pages_of(facility) as (server, address, _), browser_page() as page:
        for number in range(rounds):
            await page.goto("about:blank")
            await page.goto(address, wait_until="commit")
            loads.append(await page.evaluate(_COMPLETE, boards) / 1000)
            await page.evaluate(_WATCH)
            await asyncio.sleep(0.5)
            facility.set_board("machine", (0, 0, 0), "out" if number % 2 else "resting")
            facility.notes.append({"machines_changed": ["machine"]})
            began = time.time()
            server.notify()
            changes.append(await page.evaluate("() => window.changed") / 1000 - began)
    aim = {1200: "< 0.5 s", 12000: "< 1.5 s"}[boards]
    tell(f"page of {boards} boards complete", loads, "s", aim)
    tell(f"change seen on a page of {boards} boards", changes, "s", "< 0.2 s")


def processor_time(pid: int) -> float:
    """Return the seconds of processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def read_stream(address: str, late: list[float], sent: dict[int, float]) -> None:
    """Read a stream as a page does, and note how late changes arrive."""
    host, port = address.removeprefix("http://").rstrip("/").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 26)
    writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    try:
        while line := await reader.readline():
            if late is not None and line.startswith(b"data: {\"kind\":\"changes\""):
                frame = json.loads(line[6:])
                for row in frame.get("boards", {}).get("machine", []):
                    number = int(row[5] or 0)
                    if number in sent:
                        late.append(time.time() - sent[number])
    finally:
        writer.close()


async def drain_stream(address: str) -> None:
    """Read a stream and forget it."""
    host, port = address.removeprefix("http://").rstrip("/").split(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1 << 26)
    writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n")
    try:
        while await reader.read(1 << 16):
            pass
    finally:
        writer.close()


async def many_pages(pages: int, rate: int, seconds: float) -> None:
    """Measure the cost of many open pages while boards change."""
    facility = busy(*SIZES[1200])
    boards = list(facility.machines["machine"].boards)
    late: list[float] = []
    sent: dict[int, float] = {}
    async with pages_of(facility) as (server, address, pid):
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(read_stream(address, late, sent)),
            *(asyncio.create_task(drain_stream(address)) for _ in range(pages - 1)),
        ]
        await asyncio.sleep(2)
        used, began = processor_time(pid), time.monotonic()
        for number in itertools.count(1):
            board = boards[number * 7 % len(boards)]
            word = ("out", "free", "resting")[number % 3]
            facility.machines["machine"].boards[board] = (word, None, str(number))
            facility.notes.append({"machines_changed": ["machine"]})
            sent[number] = time.time()
            server.notify()
            due = began + number / rate
            if due - began > seconds:
                break
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        took = time.monotonic() - began
        share = (processor_time(pid) - used) / took
        connections = len(server.connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    tell(f"{pages} pages, {rate} changes a second: cores used", [share], " ", "< 0.5")
    tell("    from the notification to the page", late, "s", "< 0.2 s")
    tell("    connections that the server has", [connections], " ", "1")


async def slow_pages(slow: int, seconds: float) -> None:
    """Measure how long others wait while many pages read nothing."""
    facility = busy(*SIZES[1200])
    async with pages_of(facility) as (server, address, pid):
        host, port = address.removeprefix("http://").rstrip("/").split(":")
        writers = []
        for _ in range(slow):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.transport.pause_reading()  # type: ignore[attr-defined]
            writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
            writers.append(writer)
        late: list[float] = []
        sent: dict[int, float] = {}
        reading = asyncio.create_task(read_stream(address, late, sent))
        await asyncio.sleep(1)
        boards = list(facility.machines["machine"].boards)
        for number in range(1, int(seconds * 10)):
            for board in boards:
                facility.machines["machine"].boards[board] = ("out", None, str(number))
            facility.notes.append({"machines_changed": ["machine"]})
            sent[number] = time.time()
            server.notify()
            await asyncio.sleep(0.1)
        memory = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 1e6
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        for writer in writers:
            writer.transport.abort()
    tell(f"{slow} pages that read nothing: change at another", late, "s", "< 0.2 s")
    tell("    memory of spalloc-web", [memory], "MB", "bounded")


async def main() -> None:
    """Measure all rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--pages", type=int, default=200)
    options = parser.parse_args()
    for boards in SIZES:
        await page_and_change(boards, options.rounds)
    await many_pages(options.pages, 50, 10)
    await slow_pages(500, 5)


if __name__ == "__main__":
    asyncio.run(main())
