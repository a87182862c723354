"""The gate before all routes: it lets in whom `access` says, and no browser do more with the page than it needs.

It also takes the path away under which a proxy shows the page, whether that proxy has done so or not.
"""

from __future__ import annotations

import html
from collections import Counter
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.datastructures import MutableHeaders
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from .access import Access, Asked, Role, session_of

POLICY = (
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' data: blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content security policy: nothing from other hosts, no scripts in the page's text, no frames around it."""

HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

COOKIE_S = 30 * 24 * 3600
"""How long a browser keeps the cookie [s]: a beamtime and its preparation."""

NOT_LET_IN = 4401
"""WebSocket status: no cookie, or one of another server; the page says where the link is."""

OPEN_PATHS = ("/healthz",)
"""Paths that everybody may ask for."""

TOKEN = "token"  # noqa: S105 - the name of a parameter of the link, no token
NO_STORE = {"cache-control": "no-store"}


class Gate:
    """ASGI middleware.

    Parameters
    ----------
    app : ASGI application
        What is behind the gate; is told the role in ``scope["state"]["role"]``.
    access : Access
        Rules of who is let in.
    root_path : str
        Path under which a proxy shows the page, e.g. ``/monitor``; empty for none.
    is_https : bool
        Whether browsers come by HTTPS: then the cookie goes no other way.
    events : Counter
        Where refusals are counted.
    """

    def __init__(self, app: ASGIApp, access: Access, root_path: str, *, is_https: bool, events: Counter[str]) -> None:
        self._app = app
        self._access = access
        self._root_path = root_path
        self._is_https = is_https
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        scope = self._without_root(scope)
        asked = _asked(scope)
        if not self._access.host_is_ours(asked):
            await self._refuse(scope, receive, send, "host", _not_our_host(asked))
        elif not self._access.origin_is_ours(asked):
            await self._refuse(scope, receive, send, "origin", "another page may not use this one")
        elif scope["type"] == "http":
            await self._http(scope, receive, _with_headers(send), asked)
        else:
            await self._websocket(scope, receive, send, asked)

    def _without_root(self, scope: Scope) -> Scope:
        path, root = scope["path"], self._root_path
        if root and (path == root or path.startswith(root + "/")):
            return {**scope, "path": path.removeprefix(root) or "/", "root_path": ""}
        return {**scope, "root_path": ""}

    async def _refuse(self, scope: Scope, receive: Receive, send: Send, what: str, why: str) -> None:
        self._events[f"refused_{what}"] += 1
        response = PlainTextResponse(why + "\n", status_code=403, headers=NO_STORE)
        if scope["type"] == "websocket":
            await WebSocket(scope, receive, send).send_denial_response(response)
        else:
            await response(scope, receive, _with_headers(send))

    async def _http(self, scope: Scope, receive: Receive, send: Send, asked: Asked) -> None:
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        token = dict(query).get(TOKEN)
        role = self._access.role_of(asked)
        if scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
        elif token is not None and scope["path"] == "/" and self._access.mode == "token":
            rest = urlencode([(name, value) for name, value in query if name != TOKEN])
            await self._exchange(token, rest, asked)(scope, receive, send)
        elif role is None:
            self._events["refused_role"] += 1
            await self._not_let_in(401)(scope, receive, send)
        else:
            await self._app(_with_role(scope, role), receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send, asked: Asked) -> None:
        role = self._access.role_of(asked)
        if role is not None:
            await self._app(_with_role(scope, role), receive, send)
            return
        # Of a handshake that fails a page is told nothing; so it is let in to be told, and nothing else.
        self._events["refused_role"] += 1
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        await socket.close(NOT_LET_IN, "this browser has not opened the link that the monitor has printed")

    def _exchange(self, token: str, rest: str, asked: Asked) -> Response:
        """Give a cookie for a token, and lead to the page without the token in its address."""
        role = self._access.role_of_token(token)
        if role is None:
            self._events["refused_token"] += 1
            return self._not_let_in(403)
        page = f"{self._root_path}/" + (f"?{rest}" if rest else "")
        response: Response
        if asked.one("sec-fetch-site") in (None, "none", "same-origin"):
            response = RedirectResponse(page, 303, headers=NO_STORE)
        else:  # followed from another page; a redirect would count as that page's, and the cookie stay at home
            go = f'<!doctype html><meta http-equiv="refresh" content="0;url={html.escape(page)}"><title>Monitor</title>'
            response = HTMLResponse(go, headers=NO_STORE)
        response.set_cookie(
            self._access.cookie_name,
            session_of(self._access.tokens[role], role),
            max_age=COOKIE_S,
            path=f"{self._root_path}/",
            secure=self._is_https,
            httponly=True,
            samesite="strict",
        )
        return response

    def _not_let_in(self, status: int) -> Response:
        if self._access.mode == "proxy":
            why = "The proxy before this page has not said who you are, or is none that it trusts."
        else:
            why = (
                "Open the link that <code>stream consume monitor</code> has printed when it was started; "
                "a new start makes a new link."
            )
        text = f"<!doctype html><meta charset=utf-8><title>Monitor</title><h1>Not let in</h1><p>{why}</p>"
        return HTMLResponse(text, status, headers=NO_STORE)


def _asked(scope: Scope) -> Asked:
    headers: dict[str, tuple[str, ...]] = {}
    for name, value in scope["headers"]:
        key = name.decode("latin-1").lower()
        headers[key] = (*headers.get(key, ()), value.decode("latin-1"))
    client = scope.get("client")
    return Asked(headers=headers, client=client[0] if client else None)


def _not_our_host(asked: Asked) -> str:
    host = (asked.one("host") or "")[:100]
    return f"{host!r} is no name of this monitor; start it with --public-url if that is how it is reached"


def _with_role(scope: Scope, role: Role) -> Scope:
    state: dict[str, Any] = {**scope.get("state", {}), "role": role}
    return {**scope, "state": state}


def _with_headers(send: Send) -> Send:
    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
        await send(message)

    return send_with_headers
