"""The monitor's page over a real server on a port of its own, and pages that speak its protocol."""

from __future__ import annotations

import contextlib
import http.client
import json
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from beamstream.codecs import decode
from beamstream.testing.waiting import wait_until
from beamstream_consumers.monitor.board import Board
from beamstream_consumers.monitor.testing import SyntheticControl, SyntheticDetector
from beamstream_consumers.monitor.web.access import Access
from beamstream_consumers.monitor.web.application import make_application
from beamstream_consumers.monitor.web.hub import Facts, Hub
from beamstream_consumers.monitor.web.limits import Limits
from beamstream_consumers.monitor.web.server import WebServer, listen_on_port

PATIENCE_S = 20.0


@dataclass(frozen=True)
class Shown:
    """A picture as it came."""

    header: dict[str, Any]
    image: npt.NDArray[Any]
    peaks: npt.NDArray[np.float32] | None


def unpack(message: bytes) -> Shown:
    (length,) = struct.unpack_from("<I", message)
    header = json.loads(message[4 : 4 + length])
    body = message[4 + length :]
    arrays = {}
    for block in header["blocks"]:
        payload = body[block["offset"] : block["offset"] + block["bytes"]]
        arrays[block["name"]] = decode(payload, block["codec"], tuple(block["shape"]), np.dtype("<" + block["dtype"]))
    return Shown(header, arrays["image"], arrays.get("peaks"))


class Viewer:
    """A page: says what it wants, and takes what comes."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.texts: list[dict[str, Any]] = []
        self.pictures: list[Shown] = []

    def say(self, **message: Any) -> None:
        self.socket.send(json.dumps(message))

    def want(self, source: str, **changes: Any) -> None:
        wish = {
            "t": "pane", "pane": 0, "source": source, "kind": "frame", "rect": [0, 0, 514, 512], "canvas": [600, 600],
            "masked": True, "pool": "max", "full": False, "roi": None, "at": None,
        }  # fmt: skip
        self.say(**{**wish, **changes})

    def ack(self, shown: Shown) -> None:
        self.say(t="ack", pane=shown.header["pane"], seq=shown.header["seq"])

    def take(self, timeout_s: float = PATIENCE_S) -> dict[str, Any] | Shown:
        message = self.socket.recv(timeout=timeout_s)
        if isinstance(message, bytes):
            self.pictures.append(unpack(message))
            return self.pictures[-1]
        self.texts.append(json.loads(message))
        return self.texts[-1]

    def picture(self) -> Shown:
        """Return the next picture."""
        until_s = time.monotonic() + PATIENCE_S
        while not isinstance(taken := self.take(max(0.0, until_s - time.monotonic())), Shown):
            pass
        return taken

    def text(self, kind: str, when: Callable[[dict[str, Any]], bool] = lambda _: True) -> dict[str, Any]:
        """Return the next text of a kind."""
        until_s = time.monotonic() + PATIENCE_S
        while True:
            taken = self.take(max(0.0, until_s - time.monotonic()))
            if isinstance(taken, dict) and taken["t"] == kind and when(taken):
                return taken

    def settle(self, served: Served) -> None:
        """Take all that is on its way: a log entry of now comes behind it."""
        mark = f"mark {time.monotonic_ns()}"
        served.board.note("info", mark)
        self.text("log", lambda log: any(entry["text"] == mark for entry in log["entries"]))

    def end(self) -> tuple[int, str]:
        """Return with what status and reason the server ends the connection."""
        until_s = time.monotonic() + PATIENCE_S
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.take(max(0.0, until_s - time.monotonic()))
        code = self.socket.close_code
        assert code is not None
        return code, self.socket.close_reason or ""


class Served:
    """A server, what it shows, and pages."""

    def __init__(self, stack: ExitStack, access: Access, limits: Limits, *, control: bool, options: Any) -> None:
        self.board = Board()
        self.detector = SyntheticDetector(self.board)
        self.source = self.detector.source
        self.control = SyntheticControl(self.detector) if control else None
        self.wanted: list[tuple[str, str]] = []
        self.hub = Hub(
            self.board,
            options.pop("archive", self.detector),
            Facts(sources=[self.source]),
            limits,
            wanted=lambda source, kind: self.wanted.append((source, kind)),
        )
        listener = options.pop("listener", None) or listen_on_port("127.0.0.1", 0)
        app = make_application(self.hub, access, control=self.control, **options)
        self.server = WebServer(app, listener, max_connections=200)
        self.port = 0 if isinstance(listener.getsockname(), str) else listener.getsockname()[1]
        self._stack = stack
        self.server.start()

    @property
    def events(self) -> Mapping[str, int]:
        return self.hub.counts.events

    def view(self, path: str = "/ws", headers: Mapping[str, str] | None = None, **options: Any) -> Viewer:
        url = f"ws://127.0.0.1:{self.port}{path}"
        socket = connect(url, max_size=None, additional_headers=headers, proxy=None, **options)
        return Viewer(self._stack.enter_context(socket))

    def ask(
        self, method: str = "GET", path: str = "/", body: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method, path, body, named)
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
        finally:
            connection.close()

    def wait_until(self, so: Callable[[], bool]) -> None:
        wait_until(so, patience_s=PATIENCE_S)


@pytest.fixture
def page_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "static"
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html><title>Monitor</title>")
    (folder / "main.js").write_text("'use strict';")
    (folder / "main-0123abcd.js").write_text("'use strict';")
    return folder


@pytest.fixture
def serve(page_folder: Path) -> Iterator[Callable[..., Served]]:
    """Serves a page that everybody may look at, unless told otherwise."""
    with ExitStack() as servers, ExitStack() as viewers:

        def start(access: Access | None = None, *, control: bool = False, **options: Any) -> Served:
            limits = options.pop("limits", Limits(pictures_per_s=1000.0))
            options.setdefault("static", page_folder)
            access = access or Access(mode="none", has_operators=control)
            served = Served(viewers, access, limits, control=control, options=options)
            servers.callback(served.server.close)
            return served

        yield start
