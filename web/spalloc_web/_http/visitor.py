"""The person behind a request: address, way, and the session that the cookie names."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from http.cookies import CookieError
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web

from spalloc_web._accounts.accounts import Accounts
from spalloc_web._accounts.rights import Access
from spalloc_web._accounts.sessions import Session
from spalloc_web._accounts.users import User
from spalloc_web._settings import Settings, is_loopback

if TYPE_CHECKING:
    from spalloc_web._settings import Network

#: Browsers take a cookie of the first name only over TLS, and for this very host.
_SECURE_PREFIX = "__Host-"
SESSION_COOKIE, VISIT_COOKIE = "spalloc", "spalloc-visit"


@dataclass(frozen=True)
class Visitor:
    """The person behind a request.

    Attributes
    ----------
    address : str or None
        Of the browser, as far as it is known.
    tls : bool
        Whether the browser's way to here, or to the web server in front, is TLS.
    token : str or None
        Of the session.
    user : User or None
        None if nobody is logged in.
    session : Session or None
        The user's.
    """

    address: str | None
    tls: bool
    token: str | None = None
    user: User | None = None
    session: Session[Any] | None = None

    def may(self, access: Access) -> bool:
        """Whether somebody with these rights is logged in."""
        return self.user is not None and self.user.may(access)


def visitor_of(request: web.Request, settings: Settings, accounts: Accounts | None) -> Visitor:
    """Return the person behind a request."""
    address, tls = way_of(request, settings)
    token = read_cookie(request, SESSION_COOKIE, tls=tls)
    found = accounts.sessions.find(token) if accounts and token else None
    return Visitor(address, tls, token, *found) if found else Visitor(address, tls)


def way_of(request: web.Request, settings: Settings) -> tuple[str | None, bool]:
    """Return the browser's address, and whether it came by TLS.

    A web server in front tells both, if the settings say that there is one and where.
    """
    address = request.remote or None
    if not settings.behind_proxy or not _is_in(address, settings.proxies):
        return address, request.secure
    schemes = ",".join(request.headers.getall("X-Forwarded-Proto", ())).split(",")
    told = [
        part.strip() for part in ",".join(request.headers.getall("X-Forwarded-For", ())).split(",")
    ]
    # The last is what the web server saw; those before it are the browser's own words.
    while told and _is_in(address, settings.proxies):
        address = told.pop() or address
    return _normal(address), schemes[-1].strip().lower() == "https"


def _is_in(address: str | None, networks: tuple[Network, ...]) -> bool:
    parsed = _parsed(address)
    return parsed is not None and any(parsed in network for network in networks)


def _normal(address: str | None) -> str | None:
    """Return an address in its normal form; None if it is none, or has a port."""
    parsed = _parsed(address)
    return None if parsed is None else str(parsed)


def _parsed(address: str | None) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        parsed = ipaddress.ip_address(address or "")
    except ValueError:
        return None
    return getattr(parsed, "ipv4_mapped", None) or parsed


def trouble_with_log_in(request: web.Request, settings: Settings, visitor: Visitor) -> str | None:
    """Say why nobody can log in over this request's way; None if it is safe."""
    if visitor.tls:
        return None
    if settings.behind_proxy:
        return (
            "Logging in needs https. If this is https: the web server in front has to send"
            " X-Forwarded-Proto, and be one of proxies."
        )
    # Without TLS the program listens on this computer alone; another name in Host means that
    # something passes requests on, or that another site's name leads here.
    try:
        host = urlsplit(f"//{request.host}").hostname
    except ValueError:
        host = None
    if host and is_loopback(host):
        return None
    return "Logging in needs https, or an address of this computer such as localhost."


def read_cookie(request: web.Request, name: str, *, tls: bool) -> str | None:
    """Return a cookie of ours."""
    try:
        return request.cookies.get(_cookie_name(name, tls=tls))
    except CookieError:
        return None


def set_cookie(response: web.StreamResponse, name: str, value: str, *, tls: bool) -> None:
    """Give the browser a cookie, which ends with it; no script can read it."""
    response.set_cookie(
        _cookie_name(name, tls=tls), value, path="/", httponly=True, samesite="Lax", secure=tls
    )


def drop_cookie(response: web.StreamResponse, name: str, *, tls: bool) -> None:
    """Have the browser forget a cookie."""
    response.del_cookie(
        _cookie_name(name, tls=tls), path="/", httponly=True, samesite="Lax", secure=tls
    )


def _cookie_name(name: str, *, tls: bool) -> str:
    return f"{_SECURE_PREFIX}{name}" if tls else name
