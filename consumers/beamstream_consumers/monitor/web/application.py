"""The monitor as a web application: its page, its WebSocket, what operators may change. Addresses are relative."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from beamstream_consumers.monitor.requests import Control

from .access import Access
from .control import control_routes
from .gate import Gate
from .hub import Hub
from .page import STATIC, page_routes
from .viewer import Viewer

FULL = 1013
"""WebSocket status: try again later."""

CLOSE_S = 1.0
"""How long a page is given to take the reason why it is sent away [s]."""


def make_application(
    hub: Hub,
    access: Access,
    *,
    control: Control | None = None,
    root_path: str = "",
    is_https: bool = False,
    static: Path = STATIC,
) -> Starlette:
    """Return the application.

    Parameters
    ----------
    hub : Hub
        What all viewers share; started and stopped with the application.
    access : Access
        Rules of who is let in.
    control : Control, optional
        What operators may change; without it there are no such routes.
    root_path : str
        Path under which a proxy shows the page.
    is_https : bool
        Whether browsers come by HTTPS.
    static : Path
        Folder of the page's files.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        hub.start()
        try:
            yield
        finally:
            hub.stop()

    async def healthz(_: Request) -> JSONResponse:
        return JSONResponse({"ok": True}, headers={"cache-control": "no-store"})

    async def websocket(socket: WebSocket) -> None:
        await socket.accept()
        if len(hub.viewers) >= hub.limits.max_viewers:
            hub.counts.events["refused_full"] += 1
            await _close(socket, FULL, f"{hub.limits.max_viewers} viewers are connected, which is the limit")
            return
        role = socket.scope["state"]["role"]
        viewer = Viewer(
            hub,
            _Connection(socket),
            role,
            control=control is not None and role == "operator",
            version=version("beamstream"),
        )
        with contextlib.suppress(WebSocketDisconnect):
            away = await viewer.serve()
            if away is not None:
                await _close(socket, *away)

    return Starlette(
        routes=[
            Route("/healthz", healthz),
            WebSocketRoute("/ws", websocket),
            *(control_routes(control, hub) if control is not None else ()),
            *page_routes(static),
        ],
        middleware=[Middleware(Gate, access=access, root_path=root_path, is_https=is_https, events=hub.counts.events)],
        lifespan=lifespan,
    )


async def _close(socket: WebSocket, code: int, reason: str) -> None:
    """Send a page away; one that does not even take the reason is cut off by the server."""
    short = reason.encode()[:120].decode(errors="ignore")
    with contextlib.suppress(TimeoutError, RuntimeError, WebSocketDisconnect):
        async with asyncio.timeout(CLOSE_S):
            await socket.close(code, short)


class _Connection:
    """A WebSocket as a viewer sees it."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self.send_text = socket.send_text
        self.send_bytes = socket.send_bytes

    async def receive(self) -> str | bytes | None:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            return None
        text: str | None = message.get("text")
        data: bytes = message.get("bytes") or b""
        return data if text is None else text
