"""Serves a made-up facility for people to look at: ``python -m tests.support.look``."""

from __future__ import annotations

import argparse
import asyncio

from aiohttp import web
from spalloc_web._http.app import make_app
from spalloc_web._past.history import History
from spalloc_web._settings import settings_of

from tests.support import facility as facilities
from tests.support.fake_server import FakeServer
from tests.support.past import FakeSource


async def look(kind: str, width: int, height: int, port: int, anonymous: str) -> None:
    facility = getattr(facilities, kind)(width, height)
    async with FakeServer(facility) as server:
        values = {"server": f"127.0.0.1:{server.port}", "anonymous": anonymous}
        runner = web.AppRunner(make_app(settings_of(values), History(FakeSource())))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        print(f"http://127.0.0.1:{port}/", flush=True)
        await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("empty", "busy", "full", "half_out"))
    parser.add_argument("width", type=int)
    parser.add_argument("height", type=int)
    parser.add_argument("--port", type=int, default=22280)
    parser.add_argument("--anonymous", default="all")
    options = parser.parse_args()
    asyncio.run(look(**vars(options)))


if __name__ == "__main__":
    main()
