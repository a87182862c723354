"""What tests of the monitor's page share: a real Chromium, pages that report what no page may do, and the real thing
that they look at: a server, and `stream` commands as processes.

The browser is the machine's own (`BEAMSTREAM_CHROMIUM` names another one). Without one these tests are skipped at a
desk, and fail in CI, which installs it.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from beamstream_broker.embedded import EmbeddedServer

Renderer = Literal["webgl2", "canvas2d"]

SIZE = {"width": 1600, "height": 1000}

PATIENCE_S = 60.0


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium."""
    for name in (os.environ.get("BEAMSTREAM_CHROMIUM", ""), "chromium", "chromium-browser", "google-chrome"):
        if name and (path := shutil.which(name)):
            return path
    why = "there is no Chromium on this machine; install one, or name it with BEAMSTREAM_CHROMIUM"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@pytest.fixture(scope="module")
def browsers(chromium: str) -> Iterator[Callable[[Renderer], Browser]]:
    """Starts a browser with or without 3D; each at most once."""
    running: dict[str, Browser] = {}
    with sync_playwright() as playwright:

        def start(renderer: Renderer) -> Browser:
            if renderer not in running:
                arguments = ["--no-sandbox", *(["--disable-3d-apis"] if renderer == "canvas2d" else [])]
                running[renderer] = playwright.chromium.launch(executable_path=chromium, args=arguments)
            return running[renderer]

        yield start
        for browser in running.values():
            browser.close()


@pytest.fixture
def open_page(browsers: Callable[[Renderer], Browser]) -> Iterator[Callable[..., Page]]:
    """Opens an address in a context of its own; no page may log an error, or ask another host for anything."""
    complaints: list[str] = []
    with ExitStack() as contexts:

        def open_(url: str, renderer: Renderer = "webgl2", **options: Any) -> Page:
            context = browsers(renderer).new_context(**{"viewport": SIZE, **options})
            contexts.callback(context.close)
            page = context.new_page()
            page.set_default_timeout(1000 * PATIENCE_S)
            host = url.split("/")[2]

            def look(address: str) -> None:
                if address.startswith(("http:", "https:", "ws:", "wss:")) and address.split("/")[2] != host:
                    complaints.append(f"a request to another host: {address}")

            page.on("request", lambda request: look(request.url))
            page.on("websocket", lambda socket: look(socket.url))
            page.on("pageerror", lambda error: complaints.append(f"an error in the page: {error}"))
            page.goto(url)
            return page

        yield open_
    assert complaints == []


# --- what is looked at -------------------------------------------------------------------------------------------


@dataclass
class Running:
    """A server's URL, and `stream` commands that are ended with it."""

    broker: str
    processes: list[subprocess.Popen[str]] = field(default_factory=list)

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start a `stream` command."""
        own = {name: value for name, value in os.environ.items() if not name.startswith("STREAM_")}
        process = subprocess.Popen(
            [sys.executable, "-m", "beamstream.cli", "--log-level", "error", *arguments],
            env={**own, "STREAM_BROKER": self.broker, **environment},
            stdout=subprocess.PIPE,
            text=True,
        )
        self.processes.append(process)
        return process

    def monitor(self, *arguments: str, port: int = 0, **environment: str) -> Monitor:
        """Start a monitor; whoever waits for its links waits until it serves."""
        options = ("--port", str(port), "--json", "--no-browser")
        return Monitor(self.start("consume", "monitor", *arguments, *options, **environment))

    def end(self) -> None:
        """End everything that still runs."""
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.communicate()


class Monitor:
    """A monitor as a process."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self._said: Mapping[str, Any] | None = None

    @property
    def said(self) -> Mapping[str, Any]:
        """What it has printed."""
        if self._said is None:
            assert self.process.stdout is not None
            self._said = json.loads(self.process.stdout.readline())
        return self._said

    @property
    def port(self) -> int:
        """Where it serves."""
        return int(self.said["port"])

    def link(self, view: str = "", renderer: str = "", role: str = "viewer") -> str:
        """Return the link, of a view (what follows the `#`), drawn by a renderer."""
        more = f"&renderer={renderer}" if renderer else ""
        return f"{self.said['urls'][role]}{more}" + (f"#{view}" if view else "")


@contextmanager
def running(**options: Any) -> Iterator[Running]:
    """Run a server, and whatever is started on it."""
    with EmbeddedServer(memory_bytes=512 << 20, **options) as server:
        commands = Running(server.url)
        try:
            yield commands
        finally:
            commands.end()


@pytest.fixture(scope="module")
def commands() -> Iterator[Running]:
    """Starts `stream` commands on a server of the module."""
    with running() as started:
        yield started


@pytest.fixture(scope="session")
def run_server() -> Callable[..., Any]:
    """Runs another server with its commands."""
    return running


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    """Waits until something is true, and returns it."""

    def wait(what: Callable[[], Any], why: str = "waited for too long") -> Any:
        until_s = time.monotonic() + PATIENCE_S
        while not (found := what()):
            assert time.monotonic() < until_s, why
            threading.Event().wait(0.02)
        return found

    return wait


@pytest.fixture(scope="session")
def wait_for(wait_until: Callable[..., Any]) -> Callable[..., Any]:
    """Waits until a function of the page says so.

    Playwright's own `wait_for_function` needs an `eval` in the page, which its content security policy forbids.
    """

    def wait(page: Page, function: str, argument: Any = None) -> Any:
        return wait_until(lambda: page.evaluate(function, argument), f"waited for too long: {function} {argument}")

    return wait


@pytest.fixture(scope="session")
def look() -> Callable[[Page], npt.NDArray[np.uint8]]:
    """Returns what is on the screen where the picture is, without rings, peaks and texts: (height, width, 3) uint8."""

    def pixels(page: Page) -> npt.NDArray[np.uint8]:
        box = page.evaluate(
            """() => {
              for (const what of ['.pane-overlay', '.pane-message', '.notice'])
                for (const element of document.querySelectorAll(what)) element.style.visibility = 'hidden';
              const { left, top, right, bottom } = document.querySelector('.pane-stage').getBoundingClientRect();
              return [left, top, right, bottom].map(Math.round);
            }"""
        )
        left, top, right, bottom = box
        png = page.screenshot(clip={"x": left, "y": top, "width": right - left, "height": bottom - top})
        return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))

    return pixels
