"""The detector's web server: a thin shell around `routes`, on the loopback interface unless told otherwise.

It has no authentication, as the real one has none; do not let it out of the machine or the beamline's own
network.
"""

from __future__ import annotations

import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from beamstream_producers.sim.control import DetectorControl
from beamstream_producers.sim.sending.sockets import PortError

from .routes import Response, answer

MAX_BODY_BYTES = 2 << 20
"""Largest body of a request [bytes]; the largest values are appendices of the stream."""

IDLE_S = 30.0
"""How long a connection may stay silent [s]."""

POLL_S = 0.05
"""How soon the server notices that it shall stop [s]."""

_logger = logging.getLogger(__name__)


class RestServer:
    """Serves one detector from a thread of its own.

    Raises
    ------
    PortError
        If the port is taken or the interface does not exist.
    """

    def __init__(self, detector: DetectorControl, host: str, port: int) -> None:
        handler = type("Handler", (_Handler,), {"detector": detector})
        try:
            self._server = _Server((host, port), handler)
        except OSError as error:
            raise PortError(host, port, str(error)) from error
        self.url = f"http://{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(POLL_S,), name="simulated-eiger-rest", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening; requests that are being answered are answered."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 16

    def handle_error(self, request: Any, client_address: Any) -> None:
        # a client that went away is no reason for a traceback on the operator's terminal
        _logger.debug("request from %s broke off", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    detector: DetectorControl
    protocol_version = "HTTP/1.1"
    server_version = "SimulatedEiger"
    sys_version = ""
    timeout = IDLE_S

    def do_GET(self) -> None:
        self._answer("GET")

    def do_PUT(self) -> None:
        self._answer("PUT")

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        _logger.debug(format, *args)

    def _answer(self, method: str) -> None:
        length = self.headers.get("Content-Length", "0")
        if not length.isascii() or not length.isdigit() or "Transfer-Encoding" in self.headers:
            self._refuse(411, "a body needs a Content-Length")
        elif int(length) > MAX_BODY_BYTES:
            self._refuse(413, f"a body of {length} bytes is over the limit of {MAX_BODY_BYTES} bytes")
        else:
            body = self.rfile.read(int(length))
            self._send(answer(self.detector, method, urlsplit(self.path).path, body))

    def _refuse(self, status: int, reason: str) -> None:
        # the body was not read, so the connection cannot be used again
        self.close_connection = True
        self._send(Response(status=status, body=reason.encode(), content_type="text/plain; charset=utf-8"))

    def _send(self, response: Response) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        self.end_headers()
        self.wfile.write(response.body)
