"""Serves a made-up facility for people to look at: ``python -m tests.support.look``."""

from __future__ import annotations

import argparse
import asyncio

from spalloc_web._program import serve
from spalloc_web._settings import settings_of

from tests.support import facility as facilities
from tests.support.fake_server import FakeServer


async def look(kind: str, width: int, height: int, listen: str, anonymous: str) -> None:
    facility = getattr(facilities, kind)(width, height)
    async with FakeServer(facility) as server:
        await serve(
            settings_of(
                {
                    "server": f"127.0.0.1:{server.port}",
                    "listen": listen,
                    "anonymous": anonymous,
                }
            )
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("kind", choices=("empty", "busy", "full", "half_out"))
    parser.add_argument("width", type=int)
    parser.add_argument("height", type=int)
    parser.add_argument("--listen", default="127.0.0.1:22280")
    parser.add_argument("--anonymous", default="all")
    options = parser.parse_args()
    asyncio.run(look(**vars(options)))


if __name__ == "__main__":
    main()
