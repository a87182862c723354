"""The page's files, as they lie in the package."""

from __future__ import annotations

import re
from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

STATIC = Path(__file__).parent.parent / "static"
"""Where the page's files lie; built from `ui/`."""

PAGE = "index.html"

HASHED = re.compile(r"[-.][0-9A-Za-z]{8,}\.\w+$")
"""Names that change with what is in the file: these may be kept for ever."""


def page_routes(folder: Path = STATIC) -> list[BaseRoute]:
    """Return the routes of the page and its files; without the files a route that says so."""
    if not (folder / PAGE).is_file():
        return [Route("/", _missing)]

    def page(_: Request) -> Response:
        return FileResponse(folder / PAGE, headers={"cache-control": "no-store"})

    return [Route("/", page), Mount("/", _Files(directory=folder))]


def _missing(_: Request) -> Response:
    return PlainTextResponse("the page's files are missing; build them in ui/, or install the wheel\n", 503)


class _Files(StaticFiles):
    """Files that a browser asks about each time, but for those whose names change with them."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        kept = HASHED.search(path) is not None
        response.headers["cache-control"] = "max-age=31536000, immutable" if kept else "no-cache"
        return response
