"""What the parts of the way do on their own: each loop is as bare as it can be.

`memcpy` and disk belong to the process that asks; the socket pair has an end in each of two processes; redis-py runs
where producers run, against the same server as they.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

import redis

from .findings import DISK_READ, DISK_WRITE, MEMCPY, REDIS, SOCKET, Ceiling
from .workload import FOLLOW_TIMEOUT_S, make_payloads

COPY_BYTES = 256 << 20
"""Memory that is copied within [bytes]: beyond any cache, and so is what it is copied from."""

BLOCK_BYTES = 1 << 20
"""What is written to a file or read from it at once [bytes]."""

DISK_BYTES = 1 << 30
"""Most that is written to measure a disk [bytes]."""

KEYS_BYTES = 64 << 20
"""What the bare redis-py loop leaves in the server until it is done [bytes]."""

LOOK_EVERY = 16
"""Small messages between two looks at the clock."""


def measure_memcpy(seconds: float) -> Ceiling:
    """Copy memory with one core; source and target were touched before."""
    source, target = memoryview(bytearray(b"\1") * COPY_BYTES), memoryview(bytearray(b"\2") * COPY_BYTES)
    n_bytes, at, began_s, now_s = 0, 0, time.monotonic(), 0.0
    while (now_s := time.monotonic()) < began_s + seconds or not n_bytes:
        target[at : at + BLOCK_BYTES] = source[at : at + BLOCK_BYTES]
        n_bytes += BLOCK_BYTES
        at = (at + BLOCK_BYTES) % COPY_BYTES
    return Ceiling(
        name=MEMCPY, message_bytes=None, n_messages=n_bytes // BLOCK_BYTES, n_bytes=n_bytes, duration_s=now_s - began_s
    )


def measure_disk(folder: Path, seconds: float) -> list[Ceiling]:
    """Write a file with an fsync at its end, and read it after the kernel was told to forget it.

    Raises
    ------
    OSError
        If the folder does not take it.
    """
    path = folder / "ceiling"
    block = memoryview(make_payloads(BLOCK_BYTES)[0])
    try:
        with path.open("wb", buffering=0) as file:
            n_blocks, began_s = 0, time.monotonic()
            while time.monotonic() < began_s + seconds and n_blocks * BLOCK_BYTES < DISK_BYTES:
                file.write(block)
                n_blocks += 1
            os.fsync(file.fileno())
            written_s = time.monotonic() - began_s
        forget_pages(path)
        buffer = bytearray(BLOCK_BYTES)
        with path.open("rb", buffering=0) as file:
            began_s = time.monotonic()
            while file.readinto(buffer):
                pass
            read_s = time.monotonic() - began_s
    finally:
        path.unlink(missing_ok=True)
    return [
        Ceiling(
            name=name,
            message_bytes=None,
            n_messages=n_blocks,
            n_bytes=n_blocks * BLOCK_BYTES,
            duration_s=duration_s,
        )
        for name, duration_s in ((DISK_WRITE, written_s), (DISK_READ, read_s))
    ]


def forget_pages(path: Path) -> None:
    """Ask the kernel to drop what it has of a file in memory, so that it is read from the disk."""
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def listen(name: str) -> socket.socket:
    """Open the receiving end of a socket pair under an abstract name."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(f"\0{name}")
    listener.listen(1)
    return listener


def receive(listener: socket.socket, size: int) -> dict[str, Any]:
    """Receive messages of a known size until the other end is closed, and throw them away."""
    listener.settimeout(FOLLOW_TIMEOUT_S)
    with listener, listener.accept()[0] as end:
        buffer, n, began_ns = bytearray(size), 0, time.monotonic_ns()
        while end.recv_into(buffer, size, socket.MSG_WAITALL) == size:
            n += 1
        return {"n": n, "began_ns": began_ns, "last_ns": time.monotonic_ns()}


def transmit(name: str, size: int, seconds: float) -> dict[str, Any]:
    """Send messages to the other end of a socket pair."""
    payloads = make_payloads(size)
    n, every = 0, LOOK_EVERY if size < BLOCK_BYTES else 1
    with socket.socket(socket.AF_UNIX) as end:
        end.connect(f"\0{name}")
        began_ns = time.monotonic_ns()
        ends_s = time.monotonic() + seconds
        while not n or time.monotonic() < ends_s:
            for _ in range(every):
                end.sendall(payloads[n % len(payloads)])
                n += 1
    return {"n": n, "began_ns": began_ns}


def socket_ceiling(size: int, sent: dict[str, Any], received: dict[str, Any]) -> Ceiling:
    """Make a ceiling of what both ends of a socket pair tell."""
    n, duration_s = received["n"], (received["last_ns"] - sent["began_ns"]) / 1e9
    return Ceiling(name=SOCKET, message_bytes=size, n_messages=n, n_bytes=n * size, duration_s=duration_s)


def set_and_get(url: str, prefix: str, size: int, seconds: float) -> dict[str, Any]:
    """SET and GET one message after the other with a bare client; the keys are gone afterwards.

    Returns
    -------
    dict
        ``n`` and ``duration_s``, or the ``refusal`` of a server that does not let a bare client do this.
    """
    payloads = make_payloads(size)
    keys = [f"{prefix}:{number}" for number in range(max(1, min(len(payloads), KEYS_BYTES // size)))]
    n = 0
    try:
        with redis.Redis.from_url(url) as client:
            for key in keys:  # the server's first touch of memory is not what is measured
                client.set(key, payloads[0])
            began_s = now_s = time.monotonic()
            while not n or now_s < began_s + seconds:
                key = keys[n % len(keys)]
                client.set(key, payloads[n % len(payloads)])
                client.get(key)
                n += 1
                now_s = time.monotonic()
            client.unlink(*keys)
    except redis.RedisError as error:
        return {"refusal": str(error)}
    return {"n": n, "duration_s": now_s - began_s}


def redis_ceiling(size: int, told: dict[str, Any]) -> Ceiling:
    """Make a ceiling of what the bare client tells."""
    n = told["n"]
    return Ceiling(name=REDIS, message_bytes=size, n_messages=n, n_bytes=n * size, duration_s=told["duration_s"])
