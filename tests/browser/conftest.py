"""What tests of the monitor's page share: a real Chromium, and pages that report what no page may do.

The browser is the machine's own (`BEAMSTREAM_CHROMIUM` names another one). Without one these tests are skipped at a
desk, and fail in CI, which installs it.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, Literal

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

Renderer = Literal["webgl2", "canvas2d"]

SIZE = {"width": 1600, "height": 1000}


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
