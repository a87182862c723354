"""What one viewer asked for beyond the newest: other messages, steps between them, exact pixels.

It may take its time, so it is looked up in threads while pictures and numbers go on. For each pane one thing at a time
is looked up, and of what was asked meanwhile only the last: whatever a page asks, what waits is bounded.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Coroutine
from typing import Any

from beamstream.errors import BeamstreamError
from beamstream_consumers.monitor.pictures.picture import Picture
from beamstream_consumers.monitor.requests import ExactPixel

from .hub import Hub
from .messages import text_of
from .outbox import Outbox
from .panes import Pane
from .recent import Key, key_of

MAX_STEPS = 1000
"""Steps that are added up while the last one is still looked up."""

_logger = logging.getLogger(__name__)


class Lookups:
    """Looks things up for one viewer.

    Parameters
    ----------
    hub : Hub
        What all viewers share.
    outbox : Outbox
        Where answers go.
    wake : callable
        Called when there is something new.
    """

    def __init__(self, hub: Hub, outbox: Outbox, wake: Callable[[], None]) -> None:
        self._hub = hub
        self._outbox = outbox
        self._wake = wake
        self._running: dict[tuple[str, int], asyncio.Task[None]] = {}
        self._pixels: dict[int, tuple[Key | None, int, int]] = {}

    def cancel(self) -> None:
        """Look nothing up any more."""
        for task in self._running.values():
            task.cancel()

    def picture(self, pane: Pane) -> Picture | None:
        """Return what a pane wants to show; None if that is not there, or not yet."""
        newest = self._hub.board.picture(pane.view.source, pane.view.kind)
        wanted = pane.wanted
        if wanted is None:
            return newest
        if newest is not None and key_of(newest) == wanted:
            return newest
        found = self._hub.recent.find(wanted)
        if found is None and pane.gone != wanted:
            self._begin("picture", pane.view.pane, lambda: self._fetch(pane))
        return found

    def step(self, pane: Pane, by: int) -> None:
        """Let a pane stay at a message so many after the one that it shows."""
        pane.steps = max(-MAX_STEPS, min(pane.steps + by, MAX_STEPS))
        self._begin("picture", pane.view.pane, lambda: self._fetch(pane))

    def pixel(self, pane: Pane, x: int, y: int) -> None:
        """Answer what a pixel of the picture says that a pane shows."""
        self._pixels[pane.view.pane] = (None if pane.shown is None else pane.shown.key, x, y)
        self._begin("pixel", pane.view.pane, lambda: self._answer_pixels(pane.view.pane))

    def _begin(self, what: str, pane: int, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        key = what, pane
        if key not in self._running:
            task = self._running[key] = asyncio.create_task(work())
            task.add_done_callback(lambda _: self._ended(key))

    def _ended(self, key: tuple[str, int]) -> None:
        del self._running[key]
        self._wake()

    # --- messages ----------------------------------------------------------------------------------------------

    async def _fetch(self, pane: Pane) -> None:
        """Look for what a pane wants until it has it: it may want something else meanwhile."""
        while True:
            view = pane.view
            start = pane.wanted or (None if pane.shown is None else pane.shown.key)
            if pane.steps and start is None:  # nothing was shown yet, so there is nothing beside it
                pane.steps = 0
            elif pane.steps and start is not None:
                by, pane.steps = pane.steps, 0
                found = await self._call(start, self._hub.archive.neighbour, by, pane=view.pane)
                if found is None:
                    return
                if pane.view is view:
                    pane.view = dataclasses.replace(view, at=(start[2], int(found)))
                continue
            wanted = pane.wanted
            if wanted is None or self._hub.recent.find(wanted) is not None:
                return
            picture = await self._call(wanted, self._hub.archive.picture, pane=view.pane)
            if picture is not None:
                self._hub.recent.keep(wanted, picture)
            elif pane.wanted == wanted:
                pane.gone = wanted
                return

    async def _call(self, key: Key, call: Callable[..., Any], *more: Any, pane: int) -> Any:
        """Return what the archive says of a message; None if it has no such thing, and the page is told so."""
        try:
            return await self._hub.read(call, *key, *more)
        except BeamstreamError as error:
            why = str(error)
        except Exception:  # noqa: BLE001 - whatever a broker or a file does, this viewer goes on
            why = self._failed(key)
        self._hub.counts.events["lookups_failed"] += 1
        self._outbox.answer(text_of({"t": "gone", "pane": pane, "stream": key[2], "id": key[3], "why": why}))
        return None

    def _failed(self, key: Key) -> str:
        _logger.exception("%s/%s: message %d could not be read", key[0], key[2], key[3])
        return "the monitor failed to read it; its log says why"

    # --- pixels ------------------------------------------------------------------------------------------------

    async def _answer_pixels(self, pane: int) -> None:
        while (asked := self._pixels.pop(pane, None)) is not None:
            key, x, y = asked
            answer: dict[str, Any] = {"t": "px", "pane": pane, "id": None, "x": x, "y": y}
            said = None if key is None else await self._pixel(key, x, y)
            if key is not None and said is not None:
                answer |= {"id": key[3], "value": said.value, "why": said.why, "raw": said.raw, "d": said.resolution_a}
            else:
                answer |= {"value": None, "why": "no value", "raw": None, "d": None}
            self._outbox.answer(text_of(answer))
            self._wake()

    async def _pixel(self, key: Key, x: int, y: int) -> ExactPixel | None:
        """Return what a pixel of a picture says; None if that picture is gone."""
        archive = self._hub.archive
        try:
            picture = self._hub.recent.find(key)
            if picture is None:
                picture = await self._hub.read(archive.picture, *key)
                self._hub.recent.keep(key, picture)
            return await self._hub.read(archive.pixel, picture, x, y)  # type: ignore[no-any-return]
        except BeamstreamError:
            return None
        except Exception:  # noqa: BLE001 - whatever a broker or a file does, this viewer goes on
            self._failed(key)
            return None
