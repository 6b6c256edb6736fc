"""Runs the pages as a process: TLS, signals, the service manager."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import ssl
import sys
from collections.abc import Sequence

from aiohttp import web

from spalloc_web import _sdnotify
from spalloc_web._accounts import command
from spalloc_web._accounts.users import UsersFileError
from spalloc_web._command_line import parse
from spalloc_web._facility.connection import address_in_words
from spalloc_web._http.app import make_app
from spalloc_web._notices.sender import make_sender
from spalloc_web._past.opening import open_history
from spalloc_web._settings import SettingError, Settings

log = logging.getLogger("spalloc_web")

#: Seconds that open requests have at the end.
_LAST_SECONDS = 2.0


def main(words: Sequence[str] | None = None) -> int:
    """Run ``spalloc-web``.

    Parameters
    ----------
    words
        The command line; None: that of the process.

    Returns
    -------
    int
        Exit status: 0 after SIGTERM or SIGINT, 1 if it could not start; or that of
        ``spalloc-web user``.
    """
    words = list(sys.argv[1:] if words is None else words)
    if words[:1] == ["user"]:
        return command.main(words[1:])
    settings, level = parse(words)
    logging.basicConfig(
        level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells of each of its plug-ins
    try:
        asyncio.run(serve(settings))
    except (OSError, SettingError, UsersFileError) as e:
        log.error("cannot start: %s", e)
        return 1
    return 0


async def serve(settings: Settings) -> None:
    """Serve pages until SIGTERM or SIGINT.

    Raises
    ------
    OSError
        If the address cannot be listened on, or the certificate cannot be read.
    SettingError
        If the history or a destination of notices cannot be.
    UsersFileError
        If the users' file cannot be read.
    """
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    app = make_app(settings, open_history(settings), make_sender(settings))
    runner = web.AppRunner(
        app, access_log=None, handle_signals=False, shutdown_timeout=_LAST_SECONDS
    )
    await runner.setup()
    try:
        host, port = settings.listen
        site = web.TCPSite(runner, host, port, ssl_context=tls_of(settings), backlog=1024)
        await site.start()
        address = address_of(settings, runner)
        log.info("pages of %s at %s", address_in_words(*settings.server), address)
        print(f"spalloc-web: {address}", flush=True)
        _sdnotify.tell(READY="1", STATUS=f"pages at {address}")
        await _feed_watchdog_until(end)
        _sdnotify.tell(STOPPING="1")
    finally:
        await runner.cleanup()


async def _feed_watchdog_until(end: asyncio.Event) -> None:
    period = _sdnotify.watchdog_period()
    while not end.is_set():
        if period is None:
            await end.wait()
            return
        _sdnotify.tell(WATCHDOG="1")
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(end.wait(), period / 2)


def address_of(settings: Settings, runner: web.AppRunner) -> str:
    """Return the address of the first page, with the port that was really taken."""
    host, port = runner.addresses[0][:2]
    scheme = "https" if settings.cert else "http"
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{port}{settings.base}/"


def tls_of(settings: Settings) -> ssl.SSLContext | None:
    """Return certificate and key for TLS; None if pages are served without.

    Raises
    ------
    OSError
        If certificate or key cannot be read, or do not belong together.
    """
    if settings.cert is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(settings.cert, settings.key)
    return context
