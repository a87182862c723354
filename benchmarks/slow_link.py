"""A network in between: a TCP proxy with a rate and a delay, which notes the pictures of the monitor that pass."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

CHUNK_BYTES = 8192
QUEUED_CHUNKS = 8
"""What waits in the proxy: little, so that who sends feels the rate."""

BINARY = 2


class SlowLink:
    """Passes connections on to a port of this machine.

    Attributes
    ----------
    port : int
        Where it listens.
    pictures : dict
        Number of a picture in its connection → its header, in the order in which they passed.
    """

    def __init__(self, to_port: int, mbit_per_s: float, delay_s: float) -> None:
        self._to_port = to_port
        self._bytes_per_s = mbit_per_s * 1e6 / 8
        self._delay_s = delay_s
        self.port = 0
        self.n_bytes = 0
        self.pictures: dict[int, dict[str, Any]] = {}

    @contextlib.contextmanager
    def running(self) -> Iterator[SlowLink]:
        """Run it in a thread."""
        loop = asyncio.new_event_loop()
        listening = threading.Event()
        stop = asyncio.Event()

        async def serve() -> None:
            server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
            self.port = server.sockets[0].getsockname()[1]
            listening.set()
            await stop.wait()
            server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), name="slow link", daemon=True)
        thread.start()
        listening.wait()
        try:
            yield self
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
            loop.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there, back = await asyncio.open_connection("127.0.0.1", self._to_port, limit=CHUNK_BYTES)
            await asyncio.gather(
                self._pump(reader, back, 0.0, None),
                self._pump(there, writer, self._bytes_per_s, Headers(self.pictures)),
            )

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bytes_per_s: float, headers: Headers | None
    ) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUED_CHUNKS)

        async def out() -> None:
            free_s = 0.0
            while (item := await queue.get())[1]:
                if (wait_s := item[0] - time.monotonic()) > 0:
                    await asyncio.sleep(wait_s)
                writer.write(item[1])
                await writer.drain()
                self.n_bytes += len(item[1]) if headers else 0
                if bytes_per_s:
                    free_s = max(free_s, time.monotonic() - 0.01) + len(item[1]) / bytes_per_s
                    await asyncio.sleep(max(0.0, free_s - time.monotonic()))
            writer.close()

        task = asyncio.create_task(out())
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if headers:
                    headers.see(data)
                await queue.put((time.monotonic() + self._delay_s, data))
        await queue.put((0.0, b""))
        with contextlib.suppress(OSError):
            await task


class Headers:
    """Finds the headers of pictures in what a WebSocket's server sends."""

    def __init__(self, pictures: dict[int, dict[str, Any]]) -> None:
        self._pictures = pictures
        self._waiting = b""
        self._upgraded = False
        self._skip = 0

    def see(self, data: bytes) -> None:
        """Look at the next bytes."""
        skipped = min(self._skip, len(data))
        self._skip -= skipped
        self._waiting += data[skipped:]
        if not self._upgraded:
            head, end, rest = self._waiting.partition(b"\r\n\r\n")
            if not end or not head.startswith(b"HTTP/1.1 101"):
                self._waiting = b"" if end else self._waiting
                return
            self._upgraded, self._waiting = True, rest
        while self._frame():
            pass

    def _frame(self) -> bool:
        """Take one frame, as far as it is of interest; False if more bytes are needed."""
        waiting = self._waiting
        if len(waiting) < 10:
            return False
        length, begin = waiting[1] & 127, 2
        if length == 126:
            length, begin = struct.unpack_from(">H", waiting, 2)[0], 4
        elif length == 127:
            length, begin = struct.unpack_from(">Q", waiting, 2)[0], 10
        if waiting[0] & 15 == BINARY:
            if len(waiting) < begin + 4:
                return False
            size = struct.unpack_from("<I", waiting, begin)[0]
            if len(waiting) < begin + 4 + size:
                return False
            header = json.loads(waiting[begin + 4 : begin + 4 + size])
            self._pictures[header["seq"]] = header
        taken = min(len(waiting), begin + length)
        self._skip = begin + length - taken
        self._waiting = waiting[taken:]
        return True
