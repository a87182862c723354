"""The memory of batches: used again when nobody holds it, and never before."""

from __future__ import annotations

import gc

import numpy as np

from beamstream.consumer.batches import ALIGNMENT, Buffers

SHAPE = (3, 4, 5)


def address(array: np.ndarray) -> int:
    return array.ctypes.data


def test_a_loop_that_keeps_nothing_goes_on_two_buffers() -> None:
    buffers = Buffers(SHAPE, np.dtype("<u2"))
    seen = []
    array = None
    for _ in range(10):
        array = buffers.take()  # the loop holds the array before while the next one is made
        seen.append(address(array))
    assert len(set(seen)) == 2


def test_what_is_held_in_any_way_is_not_used_again() -> None:
    buffers = Buffers(SHAPE, np.dtype("<f4"))
    first = buffers.take()
    first[:] = 1
    view = first[1:, ::2]
    second = buffers.take()
    second[:] = 2
    foreign = np.from_dlpack(second[0])
    taken = {address(first), address(second)}
    del first, second
    others = [buffers.take() for _ in range(3)]
    for other in others:
        other[:] = 3
    assert not taken & {address(other) for other in others}
    assert (view == 1).all()
    assert (foreign == 2).all()
    del view, foreign
    gc.collect()
    assert {address(one) for one in (buffers.take(), buffers.take())} <= taken | {address(other) for other in others}


def test_arrays_are_contiguous_aligned_and_writable() -> None:
    for dtype in ("u1", "<u2", "<f8"):
        array = Buffers(SHAPE, np.dtype(dtype)).take()
        assert array.shape == SHAPE
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert address(array) % ALIGNMENT == 0
