"""Receive buffers: used again as soon as nobody looks at them, and never a moment sooner."""

from __future__ import annotations

import gc
import random

import numpy as np
import pytest

from beamstream.protocol.buffers import MAX_LOOKS, ReceiveBuffers, buffer_size

N_BYTES = 1 << 20


def place(view: memoryview) -> int:
    return np.frombuffer(view, np.uint8).ctypes.data


def test_a_buffer_without_views_is_used_again():
    buffers = ReceiveBuffers()
    first = buffers.take(N_BYTES)
    there = place(first)
    del first
    assert place(buffers.take(N_BYTES)) == there
    assert place(buffers.take(N_BYTES - 100)) == there
    assert buffers.known_bytes == buffer_size(N_BYTES)


@pytest.mark.parametrize(
    "hold",
    [
        lambda view: view,
        lambda view: view[5:6],
        lambda view: view[:4].toreadonly(),
        lambda view: view.cast("B", (2, N_BYTES // 2)),
        lambda view: np.frombuffer(view, "<u2")[3:4],
        lambda view: np.frombuffer(view, "<u2").reshape(2, -1).T[1:],
        lambda view: view.obj,
    ],
    ids=["itself", "a byte of it", "a part to be read", "another shape", "an array", "an array of an array", "beneath"],
)
def test_what_is_still_looked_at_is_never_given_out(hold):
    buffers = ReceiveBuffers()
    view = buffers.take(N_BYTES)
    there = place(view)
    held = hold(view)
    del view
    gc.collect()
    others = [buffers.take(N_BYTES) for _ in range(5)]
    assert there not in {place(other) for other in others}
    del held, others
    assert there in {place(view) for view in [buffers.take(N_BYTES) for _ in range(6)]}


def test_frames_that_are_held_for_long_do_not_keep_the_others_from_being_used_again():
    buffers = ReceiveBuffers()
    held = [buffers.take(N_BYTES) for _ in range(MAX_LOOKS - 1)]
    for _ in range(100):
        buffers.take(N_BYTES)
    assert buffers.known_bytes == (len(held) + 1) * buffer_size(N_BYTES)


def test_no_more_is_known_than_may_be_kept():
    buffers = ReceiveBuffers(kept_bytes=3 * buffer_size(N_BYTES))
    held = [buffers.take(N_BYTES) for _ in range(10)]
    held.append(buffers.take(10 * N_BYTES))
    assert buffers.known_bytes == 3 * buffer_size(N_BYTES)
    assert len({place(view) for view in held}) == len(held)
    small = buffers.take(100)
    assert buffers.known_bytes <= 3 * buffer_size(N_BYTES)
    assert len(small) == 100


def test_what_was_written_stays_whoever_takes_buffers_in_between():
    rng = random.Random(5)
    buffers = ReceiveBuffers(kept_bytes=20 * N_BYTES)
    held: list[tuple[int, memoryview]] = []
    for number in range(2000):
        if held and rng.random() < 0.5:
            held.pop(rng.randrange(len(held)))
        view = buffers.take(rng.choice([70_000, 200_000, N_BYTES]))
        view[:8] = view[-8:] = number.to_bytes(8, "big")
        held.append((number, view[:8]))
        held = held[-30:]
        assert all(int.from_bytes(head, "big") == said for said, head in held)


@pytest.mark.parametrize("n_bytes", [1, 64, 65, 4096, 65_536, 1 << 20, (1 << 20) + 2, 9_000_001, 36_000_000])
def test_at_most_an_eighth_of_a_large_buffer_is_not_used(n_bytes):
    assert n_bytes <= buffer_size(n_bytes) <= max(n_bytes * 9 / 8, n_bytes + 4096) + 64
