"""The web server: one thread with an event loop, on a port or a Unix socket.

The sockets are opened here and not by uvicorn, so that what is wrong with an address is known before anything starts,
and by names that say what to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import stat
import threading
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from .errors import MonitorAddressError

MAX_FRAME_BYTES = 64 << 10
"""Longest message that is read at all [bytes]; what is longer than a page's may be is told so, longer than this not."""

PING_EVERY_S = 20.0
"""How often a silent page is asked whether it is there, and how long it may take to say so [s]."""

SHUTDOWN_S = 2.0
"""How long pages are given when the server ends [s]."""

CUT_OFF_S = 15.0
"""How long after its end a connection is cut off whose page does not even take what was sent [s]."""

POLL_S = 0.02
"""How often it is looked whether the server has started [s]."""


class _Protocol(WebSocketsSansIOProtocol):
    """uvicorn's, but a page that takes nothing cannot keep its connection for ever."""

    async def run_asgi(self) -> None:
        await super().run_asgi()
        self.loop.call_later(CUT_OFF_S, self.transport.abort)

    def shutdown(self) -> None:
        super().shutdown()
        self.loop.call_later(SHUTDOWN_S / 4, self.transport.abort)


class WebServer:
    """Serves an application from a thread of its own.

    Parameters
    ----------
    app : ASGI application
        What is served.
    listener : socket
        Where; is closed with the server.
    max_connections : int
        Connections at a time; more are told to come later.
    """

    def __init__(self, app: Any, listener: socket.socket, *, max_connections: int) -> None:
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http="h11",
            ws=_Protocol,
            ws_max_size=MAX_FRAME_BYTES,
            ws_per_message_deflate=False,  # pictures are packed already
            ws_ping_interval=PING_EVERY_S,
            ws_ping_timeout=PING_EVERY_S,
            lifespan="on",
            log_config=None,
            log_level="error",
            access_log=False,  # it would hold tokens
            proxy_headers=False,  # who asks is for `access` to say
            server_header=False,
            limit_concurrency=max_connections,
            timeout_graceful_shutdown=int(SHUTDOWN_S),
        )
        self._server = uvicorn.Server(config)
        self._listener = listener
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="monitor-web", daemon=True)

    def start(self) -> None:
        """Begin to serve; returns once pages can come.

        Raises
        ------
        RuntimeError
            If the server could not begin, for a reason that is none of the address.
        """
        self._thread.start()
        while not self._server.started:
            self._thread.join(POLL_S)
            if not self._thread.is_alive():
                raise RuntimeError("the web server did not start") from self._failure

    def check(self) -> None:
        """See whether it still serves.

        Raises
        ------
        RuntimeError
            If it does not.
        """
        if not self._thread.is_alive():
            raise RuntimeError("the web server has ended by itself") from self._failure

    def close(self) -> None:
        """Serve no more; pages are told, and what they wait for is left."""
        self._server.should_exit = True
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._server.serve(sockets=[self._listener]))
        except BaseException as error:  # noqa: BLE001 - told to whoever started the thread
            self._failure = error


def listen_on_port(host: str, port: int) -> socket.socket:
    """Open a socket on an interface; port 0 takes a free one.

    Raises
    ------
    MonitorAddressError
        If the port is taken or may not be used, or the interface does not exist.
    """
    where = f"{host} port {port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise MonitorAddressError(where, str(error), "name an interface of this machine by --host") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise MonitorAddressError(where, error.strerror or str(error), _remedy(error)) from error
    return listener


def _remedy(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "choose another one by --port, or let the system choose by --port 0"
    if error.errno == errno.EACCES:
        return "ports below 1024 are root's; choose another one by --port"
    return "name an interface of this machine by --host"


@contextlib.contextmanager
def listen_on_path(path: Path) -> Any:
    """Open a Unix socket that only its owner may use; one that nobody serves any more is replaced, and it is removed.

    Raises
    ------
    MonitorAddressError
        If somebody serves it, or something else lies there, or the folder cannot be written to.
    """
    where = f"socket {path}"
    remedy = "name another path by --uds"
    try:
        _remove_stale(path, where)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        before = os.umask(0o177)
        try:
            listener.bind(str(path))
        except OSError:
            listener.close()
            raise
        finally:
            os.umask(before)
        listener.listen(128)
    except OSError as error:
        raise MonitorAddressError(where, error.strerror or str(error), remedy) from error
    made = path.stat().st_ino
    try:
        yield listener
    finally:
        listener.close()
        with contextlib.suppress(OSError):
            if path.stat().st_ino == made:  # and not that of a server that has taken our place
                path.unlink()


def _remove_stale(path: Path, where: str) -> None:
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise MonitorAddressError(where, "something lies there that is no socket", "name another path by --uds")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise MonitorAddressError(where, "another program serves it", "end that one, or name another path by --uds")
