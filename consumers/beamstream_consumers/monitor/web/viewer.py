"""One viewer: a connection of a page, what it asked for, and what it is sent.

Three tasks, of which the first to end ends the others: one receives, one sends, one watches that what is sent is drawn.
They are apart because a sender that waits for a credit never sees that its viewer has gone. Nothing is queued: the
sender is woken when something may be new, and then takes the newest of each.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from typing import Protocol

from beamstream_consumers.monitor.pictures.picture import Picture

from .errors import PageMessageError
from .hub import Hub
from .limits import REQUESTS_PER_S, Bucket
from .lookups import Lookups
from .messages import about_blocks, picture_header, picture_message, text_of
from .outbox import Outbox
from .panes import Pane, Shown
from .parts import Part, part_of, region_part
from .recent import key_of
from .wishes import (
    MAX_REQUEST_BYTES,
    N_PANES,
    Acknowledgement,
    ClosePane,
    Hide,
    PixelWish,
    Rect,
    Step,
    View,
    Wish,
    read_wish,
)

PACE = 0.95
"""How much of the time between pictures is kept: were it all, each would wait as long as the first one had to."""

WATCH_EVERY_S = 0.5
"""How often it is looked whether acknowledgements are due [s]."""

POLICY = 1008
"""WebSocket status: the page did what it must not."""

IDLE = 4408
"""WebSocket status: the page drew nothing of what it was sent; a laptop that slept may come again at once."""

RESTART = 1012
"""WebSocket status: the server ends, and may be back soon."""


class Connection(Protocol):
    """What carries the messages; `receive` returns None once the page has gone."""

    async def receive(self) -> str | bytes | None: ...

    async def send_text(self, text: str) -> None: ...

    async def send_bytes(self, data: bytes) -> None: ...


class Viewer:
    """One page's connection.

    Parameters
    ----------
    hub : Hub
        What all viewers share.
    connection : Connection
        What carries the messages.
    role : str
        ``viewer`` or ``operator``.
    """

    def __init__(self, hub: Hub, connection: Connection, role: str, *, control: bool, version: str) -> None:
        self.outbox = Outbox()
        self._hub = hub
        self._connection = connection
        self._hello = {
            "t": "hello",
            "version": version,
            "role": role,
            "control": control,
            "sources": list(hub.facts.sources),
            "offline": hub.facts.offline,
            "fps": hub.limits.pictures_per_s,
            "panes": N_PANES,
        }
        self._panes: dict[int, Pane] = {}
        self._lookups = Lookups(hub, self.outbox, self.wake)
        self._hidden = False
        self._seq = 0
        self._turn = 0
        self._stalled = False
        self._woken = asyncio.Event()
        self._bucket = Bucket()

    @property
    def is_stalled(self) -> bool:
        """Whether an acknowledgement has been due for long."""
        return self._stalled

    def wake(self) -> None:
        """Look whether there is something new."""
        self._woken.set()

    async def serve(self) -> tuple[int, str] | None:
        """Serve the page until it goes; return status and reason if it is to be sent away."""
        self._hub.join(self)
        tasks = [asyncio.create_task(one) for one in (self._receive(), self._send(), self._watch())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._hub.leave(self)
            self._lookups.cancel()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return next(iter(done)).result()

    # --- from the page -----------------------------------------------------------------------------------------

    async def _receive(self) -> tuple[int, str] | None:
        while (message := await self._connection.receive()) is not None:
            self._hub.counts.events["requests"] += 1
            try:
                wish = self._read(message)
                is_due = isinstance(wish, Acknowledgement) and self._acknowledge(wish)
                if not (is_due or self._bucket.take(time.monotonic())):
                    self._hub.counts.events["sent_away_too_fast"] += 1
                    return POLICY, f"more than {REQUESTS_PER_S:g} messages a second, for longer than a moment"
                self._do(wish)
            except PageMessageError as error:
                self._hub.counts.events["sent_away_message"] += 1
                return POLICY, error.reason
        return None

    def _read(self, message: str | bytes) -> Wish:
        if isinstance(message, bytes):
            raise PageMessageError("it is binary, and a page sends text")
        if len(message) > MAX_REQUEST_BYTES:
            raise PageMessageError(f"it has more than {MAX_REQUEST_BYTES} bytes")
        return read_wish(message)

    def _do(self, wish: Wish) -> None:
        if isinstance(wish, View):
            self._look(wish)
        elif isinstance(wish, Hide):
            self._hide(hidden=wish.hidden)
        elif isinstance(wish, ClosePane):
            self._panes.pop(wish.pane, None)
        elif isinstance(wish, Acknowledgement):
            pass  # its credit is back already
        elif (pane := self._panes.get(wish.pane)) is None:
            raise PageMessageError(f"pane {wish.pane} was not opened")
        elif isinstance(wish, Step):
            self._lookups.step(pane, wish.by)
        elif isinstance(wish, PixelWish):
            self._lookups.pixel(pane, wish.x, wish.y)
        self.wake()

    def _acknowledge(self, wish: Acknowledgement) -> bool:
        """Give a credit back; False if none is due, e.g. because the pane was closed meanwhile."""
        pane = self._panes.get(wish.pane)
        is_due = pane is not None and pane.acknowledge(wish.seq)
        self._hub.counts.events["pictures_drawn"] += is_due
        return is_due

    def _look(self, view: View) -> None:
        if view.source not in self._hub.facts.sources:
            raise PageMessageError("its source is none of those that are watched")
        pane = self._panes.get(view.pane)
        if pane is None:
            pane = self._panes[view.pane] = Pane(view)
        pane.view = view
        pane.steps = 0
        self._want()

    def _want(self) -> None:
        """Say of what pictures are to be made for this page."""
        if not self._hidden:
            for view in (pane.view for pane in self._panes.values() if pane.view.at is None):
                self._hub.wanted(view.source, view.kind)

    def _hide(self, *, hidden: bool) -> None:
        self._hidden = hidden
        self._want()
        for pane in self._panes.values():
            pane.forgive()  # a hidden page draws nothing, so no acknowledgement is due

    # --- to the page -------------------------------------------------------------------------------------------

    async def _send(self) -> tuple[int, str]:
        await self._connection.send_text(text_of(self._hello))
        while not self._hub.is_closing:
            self._woken.clear()
            now_s = time.monotonic()
            for text in self.outbox.take(now_s):
                await self._connection.send_text(text)
            due_s = self.outbox.due_s()
            if not self._hidden:
                picture_due_s = await self._send_a_picture()
                due_s = min((at for at in (due_s, picture_due_s) if at is not None), default=None)
            await self._sleep_until(due_s)
        return RESTART, "the monitor ends"

    async def _sleep_until(self, due_s: float | None) -> None:
        if due_s is None:
            await self._woken.wait()
        elif (left_s := due_s - time.monotonic()) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await self._woken.wait()

    async def _send_a_picture(self) -> float | None:
        """Send one picture to the pane whose turn it is, if one is due; return when the next one is, of any pane."""
        soonest: float | None = None
        turn = self._turn
        for number in sorted(self._panes, key=lambda one: (one <= turn, one)):
            picture = self._new_picture(pane := self._panes[number])
            if picture is None:
                continue
            due_s = max(pane.due_s(picture.number), self._hub.pacer.free_s())
            if due_s <= time.monotonic():
                self._turn = number
                await self._send_picture(pane, picture)
                return 0.0
            soonest = due_s if soonest is None else min(soonest, due_s)
        return soonest

    def _new_picture(self, pane: Pane) -> Picture | None:
        """Return what a pane could be sent that it does not have, if it may be sent anything."""
        if not pane.has_credit or pane.settled is pane.view:
            return None
        picture = self._lookups.picture(pane)
        if picture is None or not pane.has(_key(picture, pane.view)):
            return picture
        if pane.view.at is not None:
            pane.settled = pane.view
        return None

    async def _send_picture(self, pane: Pane, picture: Picture) -> None:
        hub, view = self._hub, pane.view
        part = _part(picture, view)
        image = await hub.encodings.image(picture, part, masked=view.masked, pool=view.pool)
        roi = None if view.roi is None else await self._count(picture, view, view.roi)
        if self._panes.get(view.pane) is not pane or self._hidden or not _same(pane.view, view):
            return  # it has turned to something else meanwhile
        self._seq += 1
        header = picture_header(
            picture, part, pane=view.pane, seq=self._seq, follows=view.at is None, now_s=time.time(), roi=roi
        )
        message = picture_message(header, [image, *about_blocks(picture.about)])
        now_s = time.monotonic()
        shown = Shown(picture.number, key_of(picture))
        pane.sent(shown, _key(picture, view), self._seq, now_s, PACE / hub.limits.pictures_per_s)
        hub.recent.keep(shown.key, picture)
        hub.pacer.sent(len(message), now_s)
        hub.counts.events["pictures"] += 1
        hub.counts.picture_bytes += len(message)
        await self._connection.send_bytes(message)

    async def _count(self, picture: Picture, view: View, roi: Rect) -> dict[str, object]:
        part = region_part(picture.shape, roi)
        region = await self._hub.encodings.region(picture, part, masked=view.masked)
        return {"rect": [part.x0, part.y0, part.x1, part.y1], **dataclasses.asdict(region)}

    # --- whether they are drawn --------------------------------------------------------------------------------

    async def _watch(self) -> tuple[int, str]:
        limits = self._hub.limits
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            self._want()
            sent = [pane.oldest_sent_s for pane in self._panes.values()]
            waiting_s = time.monotonic() - min((at for at in sent if at is not None), default=float("inf"))
            if waiting_s > limits.stalled_s and not self._stalled:
                self._hub.counts.events["stalls"] += 1
            self._stalled = waiting_s > limits.stalled_s
            if waiting_s > limits.closed_s:
                self._hub.counts.events["sent_away_stalled"] += 1
                return IDLE, f"no picture was acknowledged for {limits.closed_s:g} s"


def _part(picture: Picture, view: View) -> Part:
    return part_of(picture.shape, picture.n_levels, view.rect, view.canvas, full=view.full)


def _key(picture: Picture, view: View) -> tuple[object, ...]:
    """Return what makes a picture in a view different from another one."""
    return picture.number, _part(picture, view), view.masked, view.pool, view.roi


def _same(one: View, other: View) -> bool:
    """Whether two views are of the same messages."""
    return (one.source, one.kind, one.at) == (other.source, other.kind, other.at)
