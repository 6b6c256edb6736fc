"""The rules for every answer: headers that tie the page down, and errors in words."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from spalloc_web._http.templates import LAYOUT, TEMPLATES

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: Nothing but this process's own files, and no script within a page.
CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Put the headers on an answer; aiohttp calls it before any is sent."""
    response.headers.update(HEADERS)
    response.headers.setdefault("Cache-Control", "no-store")
    if request.secure:
        response.headers["Strict-Transport-Security"] = "max-age=31536000"
    response.headers["Server"] = "spalloc-web"


@web.middleware
async def errors_in_words(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn refusals and faults into a page, or into JSON for programs."""
    try:
        return await handler(request)
    except web.HTTPError as e:
        if e.status == 401 and request.method == "GET" and not _is_for_programs(request):
            _go_to_log_in(request)
        status, text = e.status, e.text or e.reason
        headers = {
            name: value
            for name, value in e.headers.items()
            if name in {"Allow", "Retry-After", "WWW-Authenticate"}
        }
    except (web.HTTPException, ConnectionError):
        raise
    except Exception:
        # The boundary between one request's fault and all others.
        log.exception("%s %s failed", request.method, request.path)
        status, text, headers = 500, "A fault of spalloc-web; its log says more.", {}
    return error(request, status, text, headers)


def error(
    request: web.Request, status: int, text: str, headers: dict[str, str] | None = None
) -> web.Response:
    """Make the answer of a refusal or fault.

    Parameters
    ----------
    request
        Paths below ``/api/`` get JSON.
    status
        Of HTTP.
    text
        A sentence; escaped here.
    headers
        Further headers.
    """
    if _is_for_programs(request):
        body = msgspec.json.encode({"status": status, "error": text})
        return web.Response(
            body=body, status=status, content_type="application/json", headers=headers
        )
    page = TEMPLATES.render(request, "error.html", code=status, text=text)
    return web.Response(text=page, status=status, content_type="text/html", headers=headers)


def _go_to_log_in(request: web.Request) -> None:
    layout = request.app[LAYOUT]
    if layout["has_log_in"]:
        query = urlencode({"next": request.path_qs})
        raise web.HTTPSeeOther(f"{layout['base']}/login?{query}")


def _is_for_programs(request: web.Request) -> bool:
    return "/api/" in request.path or request.path.endswith(("/events", ".csv"))
