"""Leases of a segment: real pages and real locks, in this process and in a child."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from beamstream.errors import SharedMemoryError
from beamstream.location import Location
from beamstream.shared.reading import SegmentReader
from beamstream.shared.segment import HEAD_BYTES, Pages, create, epoch_of, is_segment, lease, map_pages, renew, reopen

NUMBER, SIZE_BYTES = 7, HEAD_BYTES + (1 << 16)


@pytest.fixture
def segment() -> Iterator[tuple[int, Pages]]:
    descriptor = create(NUMBER, SIZE_BYTES)
    yield descriptor, map_pages(descriptor, writable=True)
    os.close(descriptor)


def test_a_segment_says_who_it_is_and_its_pages_are_zero(segment: tuple[int, Pages]) -> None:
    _, pages = segment
    assert is_segment(pages, NUMBER)
    assert not is_segment(pages, NUMBER + 1)
    assert not is_segment(pages[: HEAD_BYTES - 1], NUMBER)
    assert epoch_of(pages) == 0
    assert not pages[HEAD_BYTES:].any()


def test_while_any_view_is_left_a_segment_is_not_used_again(segment: tuple[int, Pages]) -> None:
    descriptor, pages = segment
    held = lease(descriptor, pages, 0)
    assert held is not None
    view = held.data[HEAD_BYTES : HEAD_BYTES + 100]
    array = np.frombuffer(view, "<u2").reshape(10, 5)[2:]
    del held, view
    gc.collect()
    assert not renew(descriptor, pages, 1)
    assert epoch_of(pages) == 0
    del array
    assert renew(descriptor, pages, 1)
    assert epoch_of(pages) == 1


def test_a_view_of_another_use_is_not_to_be_had(segment: tuple[int, Pages], n_open: Callable[[], int]) -> None:
    descriptor, pages = segment
    assert renew(descriptor, pages, 1)
    before = n_open()
    assert lease(descriptor, pages, 0) is None
    assert n_open() == before
    assert lease(descriptor, pages, 1) is not None


def test_readers_cannot_write(segment: tuple[int, Pages]) -> None:
    descriptor, _ = segment
    to_read = reopen(descriptor, os.O_RDONLY)
    held = lease(to_read, map_pages(to_read, writable=False), 0)
    assert held is not None
    with pytest.raises(TypeError, match="read-only"):
        held.data[HEAD_BYTES] = 1
    os.close(to_read)


def test_the_child_of_a_fork_keeps_what_it_has_views_of(segment: tuple[int, Pages]) -> None:
    descriptor, pages = segment
    held = lease(descriptor, pages, 0)
    assert held is not None
    let_go, tell = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(tell)  # or it would wait for itself
        os.read(let_go, 1)
        os._exit(0)
    os.close(let_go)
    del held
    assert not renew(descriptor, pages, 1), "the child still has it"
    os.close(tell)
    os.waitpid(child, 0)
    assert renew(descriptor, pages, 1)


def test_the_views_of_one_process_share_one_descriptor(segment: tuple[int, Pages], n_open: Callable[[], int]) -> None:
    descriptor, pages = segment
    reader = SegmentReader(lambda _: reopen(descriptor, os.O_RDONLY))
    where = Location(NUMBER, 0, HEAD_BYTES)
    first = reader.read([(where, 10), (where, 20)])
    before = n_open()
    more = [reader.read([(where, 10)]) for _ in range(50)]
    assert n_open() == before
    del first, more
    assert n_open() == before - 1
    assert renew(descriptor, pages, 1)
    assert reader.read([(where, 10)]) == [None]
    reader.close()


@pytest.mark.parametrize(
    ("offset", "n_bytes"),
    [(0, 10), (HEAD_BYTES - 1, 10), (HEAD_BYTES, SIZE_BYTES - HEAD_BYTES + 1), (SIZE_BYTES, 1), (2**32 - 1, 2**62)],
)
def test_a_place_that_is_not_in_a_segment_is_no_payload(segment: tuple[int, Pages], offset: int, n_bytes: int) -> None:
    descriptor, _ = segment
    reader = SegmentReader(lambda _: reopen(descriptor, os.O_RDONLY))
    good = Location(NUMBER, 0, HEAD_BYTES)
    found = reader.read([(good, SIZE_BYTES - HEAD_BYTES), (Location(NUMBER, 0, offset), n_bytes), (good, 0)])
    assert [view is None for view in found] == [False, True, False]
    reader.close()


def test_a_file_that_is_no_segment_is_an_error_and_leaves_nothing_open(
    tmp_path: Path, n_open: Callable[[], int]
) -> None:
    path = tmp_path / "short"
    path.write_bytes(b"short")
    for shown in (lambda _: os.open(path, os.O_RDONLY), lambda _: create(NUMBER + 1, SIZE_BYTES)):
        reader = SegmentReader(shown)
        before = n_open()
        with pytest.raises(SharedMemoryError, match="none"):
            reader.read([(Location(NUMBER, 0, HEAD_BYTES), 1)])
        assert n_open() == before
        reader.close()
