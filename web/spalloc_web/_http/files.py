"""Scripts, styles and the like, read once at the start.

Their addresses hold a digest of all of them, so that browsers may keep them for ever and still
get new ones after an upgrade.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

FOLDER = Path(__file__).parent.parent / "static"
_TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    "": "text/plain; charset=utf-8",
}
_FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class File:
    """A file as it is sent."""

    kind: str
    plain: bytes
    packed: bytes


class Files:
    """All files of the folder.

    Attributes
    ----------
    digest : str
        Of all of them together.
    """

    def __init__(self, folder: Path = FOLDER) -> None:
        self._files: dict[str, File] = {}
        summary = hashlib.sha256()
        for path in sorted(folder.rglob("*")):
            if path.suffix not in _TYPES or not path.is_file():
                continue
            plain = path.read_bytes()
            name = path.relative_to(folder).as_posix()
            summary.update(f"{name}\0{len(plain)}\0".encode() + plain)
            self._files[name] = File(_TYPES[path.suffix], plain, gzip.compress(plain, 6, mtime=0))
        self.digest = summary.hexdigest()[:12]

    async def serve(self, request: web.Request) -> web.Response:
        """Answer a request for ``/static/DIGEST/NAME``.

        Raises
        ------
        aiohttp.web.HTTPNotFound
            If there is no such file.  A wrong digest is taken, but not kept by browsers.
        """
        file = self._files.get(request.match_info["name"])
        if file is None:
            raise web.HTTPNotFound(text="There is no such file.")
        current = request.match_info["digest"] == self.digest
        headers = {
            "Content-Type": file.kind,
            "Cache-Control": _FOR_EVER if current else "no-cache",
            "Vary": "Accept-Encoding",
        }
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            return web.Response(
                body=file.packed, headers=headers | {"Content-Encoding": "gzip"}
            )
        return web.Response(body=file.plain, headers=headers)
