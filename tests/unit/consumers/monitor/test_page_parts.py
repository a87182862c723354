"""Which part is sent: it covers what is seen, is no larger than needed, and is the same for similar views."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamstream_consumers.monitor.web.parts import TILE, Part, part_of, region_part

SHAPE = (2167, 2070)
FIT = (0.0, 0.0, 2070.0, 2167.0)


@pytest.mark.parametrize(
    ("canvas", "level"), [((2070, 2167), 0), ((1036, 1084), 0), ((1035, 1083), 1), ((500, 500), 2), ((1, 1), 2)]
)
def test_pixels_are_those_of_the_screen_or_smaller(canvas: tuple[int, int], level: int) -> None:
    assert part_of(SHAPE, 3, FIT, canvas).level == level


def test_all_of_a_picture_is_all_of_its_level() -> None:
    assert part_of(SHAPE, 3, FIT, (1000, 1000)) == Part(1, 0, 0, 1035, 1084)
    assert part_of(SHAPE, 3, (5.0, 5.0, 6.0, 6.0), (10, 10), full=True) == Part(0, 0, 0, 2070, 2167)


def test_a_small_move_is_the_same_part() -> None:
    one = part_of(SHAPE, 3, (600.0, 600.0, 1000.0, 1000.0), (800, 800))
    assert one == part_of(SHAPE, 3, (606.0, 596.0, 1006.0, 996.0), (800, 800))
    assert one.x1 - one.x0 < 2 * 400


def test_a_view_that_misses_the_picture_gets_the_nearest_tile() -> None:
    assert part_of(SHAPE, 3, (-900.0, 5000.0, -800.0, 5100.0), (100, 100)) == Part(0, 0, 2112, 64, 2167)


spans = st.tuples(st.floats(-5000, 5000), st.floats(0.01, 6000))


@given(
    st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    st.integers(1, 5),
    spans,
    spans,
    st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
)
def test_what_is_seen_of_the_picture_is_in_the_part(
    shape: tuple[int, int],
    n_levels: int,
    x: tuple[float, float],
    y: tuple[float, float],
    canvas: tuple[int, int],
) -> None:
    rect = (x[0], y[0], x[0] + x[1], y[0] + y[1])
    part = part_of(shape, n_levels, rect, canvas)
    scale = 2**part.level
    n_columns, n_rows = -(-shape[1] // scale), -(-shape[0] // scale)
    assert 0 <= part.x0 < part.x1 <= n_columns
    assert 0 <= part.y0 < part.y1 <= n_rows
    assert part.x0 % TILE == 0
    for first, last, begin, end, n in (
        (rect[0], rect[2], part.x0, part.x1, shape[1]),
        (rect[1], rect[3], part.y0, part.y1, shape[0]),
    ):
        if last > 0 and first < n:
            assert begin * scale <= max(0.0, first)
            assert end * scale >= min(last, n)


def test_a_region_is_the_pixels_it_touches_within_the_picture() -> None:
    assert region_part((10, 20), (0.5, 1.0, 3.2, 4.0)) == Part(0, 0, 1, 4, 4)
    assert region_part((10, 20), (-5.0, -5.0, 100.0, 100.0)) == Part(0, 0, 0, 20, 10)
    empty = region_part((10, 20), (30.0, 0.0, 40.0, 5.0))
    assert empty.x0 == empty.x1
