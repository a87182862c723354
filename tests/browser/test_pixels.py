"""What is on the screen, pixel by pixel, beside NumPy: both renderers, scales, fit and 1:1, masks, wheel and hand."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from beamstream import Producer

SOURCES = ("11012345/u2", "11012345/u4")
SHAPES = {"u2": (1900, 2100), "u4": (1301, 1499)}
"""Shown fitted in, the first is pooled by the server and by the page, the second by the page."""

RENDERERS = ("webgl2", "canvas2d")
NO_VALUE = (70, 78, 110)
PATIENCE_S = 60.0
CENTRE = (701.0, 640.0)
"""What is looked at closely: masked pixels, a module gap, bright pixels."""

View = tuple[float, float, float]
"""x, y, zoom."""


@cache
def image_of(dtype: str) -> npt.NDArray[Any]:
    """Draw counts of all sizes, with a gap between modules and a few saturated pixels."""
    rng = np.random.default_rng(7)
    image = np.minimum(np.exp2(rng.uniform(0, 16, SHAPES[dtype])), 60000).astype(f"<{dtype}") - 1
    rows, columns = rng.integers(0, 1300, (2, 400))
    image[rows, columns] = np.iinfo(dtype).max
    if dtype == "u4":
        image[::7, ::11] *= 40  # more than 16 bits hold
    return image


@cache
def mask_of(dtype: str) -> npt.NDArray[np.bool_]:
    mask = np.zeros(SHAPES[dtype], np.bool_)
    mask[600:637] = True
    mask[::13, ::17] = True
    return mask


def metadata_of(dtype: str) -> dict[str, Any]:
    detector = {
        "@NX_class": "NXdetector",
        "beam_center_x": 1000.0,
        "beam_center_y": 900.0,
        "x_pixel_size": 75e-6,
        "y_pixel_size": 75e-6,
        "distance": 0.15,
        "pixel_mask": mask_of(dtype).astype(np.uint32),
    }
    beam = {"@NX_class": "NXbeam", "incident_wavelength": 1.0}
    instrument = {"@NX_class": "NXinstrument", "detector": detector, "beam": beam}
    return {"entry": {"@NX_class": "NXentry", "instrument": instrument}}


@pytest.fixture(scope="module")
def monitor(commands: Any) -> Iterator[Any]:
    started = commands.monitor(*SOURCES)
    producers = []
    for source in SOURCES:
        dtype = source[-2:]
        producers.append(Producer(f"{source}/run_001", broker=commands.broker, metadata=metadata_of(dtype)))
        producers[-1].__enter__()
        producers[-1].send_array(1, image_of(dtype))
        producers[-1].flush()
    yield started
    for producer in producers:
        producer.finish(1)
        producer.__exit__(None, None, None)


# --- the reference -----------------------------------------------------------------------------------------------


def numbers_of(dtype: str, *, masked: bool = True) -> npt.NDArray[np.float64]:
    """Return the values; NaN where there is none."""
    numbers = image_of(dtype).astype(np.float64)
    numbers[image_of(dtype) == np.iinfo(dtype).max] = np.nan
    if masked:
        numbers[mask_of(dtype)] = np.nan
    return numbers


def pooled(numbers: npt.NDArray[np.float64], level: int) -> npt.NDArray[np.float64]:
    """Return the largest value of blocks of 2^level pixels; NaN where a block has none."""
    for _ in range(level):
        rows, columns = (n + n % 2 for n in numbers.shape)
        padded = np.full((rows, columns), np.nan)
        padded[: numbers.shape[0], : numbers.shape[1]] = numbers
        numbers = np.fmax(padded[::2], padded[1::2])
        numbers = np.fmax(numbers[:, ::2], numbers[:, 1::2])
    return numbers


def on_screen(numbers: npt.NDArray[np.float64], view: View | None, canvas: tuple[int, int]) -> tuple[Any, Any]:
    """Return the number of each pixel of the screen, and whether it shows the picture at all."""
    height, width = canvas
    fit = min(width / numbers.shape[1], height / numbers.shape[0])
    x, y, zoom = view or (numbers.shape[1] / 2, numbers.shape[0] / 2, fit)
    level = max(0, math.floor(math.log2(1 / zoom) + 1e-9))
    tile = pooled(numbers, level)
    pixel = zoom * 2**level
    many = math.ceil(1 / pixel - 1e-6) if pixel < 1 else 1
    firsts = []
    for size, centre in ((height, y), (width, x)):
        origin = math.floor(size / 2 - centre * zoom + 0.5)
        middle = 0.5 if pixel >= 1 else 0.0
        firsts.append(np.floor((np.arange(size) + middle - origin) / pixel).astype(int))
    rows, columns = firsts
    shown = np.full(canvas, np.nan)
    there = np.zeros(canvas, np.bool_)
    for dy in range(many):
        for dx in range(many):
            r, c = rows[:, None] + dy, columns[None] + dx
            inside = (r >= 0) & (c >= 0) & (r < tile.shape[0]) & (c < tile.shape[1])
            found = tile[np.clip(r, 0, tile.shape[0] - 1), np.clip(c, 0, tile.shape[1] - 1)]
            shown = np.where(inside, np.fmax(shown, found), shown)
            there |= inside
    return shown, there


def colours_of(shown: Any, there: Any, scale: str, limits: tuple[float, float], background: Any) -> Any:
    """Return the colours of «Grey inverted»."""
    scaled = {"linear": np.positive, "sqrt": np.sqrt, "log": np.log1p}[scale]
    low, high = (scaled(limit) for limit in limits)
    grey = 255 - np.clip(np.floor((scaled(shown) - low) * 255 / (high - low) + 0.5), 0, 255)
    colours = np.repeat(grey[..., None], 3, axis=2)
    colours[np.isnan(shown)] = NO_VALUE
    colours[~there] = background
    return colours


class Screen:
    """A page, and what it should show."""

    def __init__(self, page: Any, look: Callable[..., Any], dtype: str) -> None:
        self.page, self.look, self.dtype = page, look, dtype
        self.numbers = numbers_of(dtype)

    def set(self, fields: str) -> None:
        self.page.evaluate("hash => { location.hash = hash }", f"#;s=11012345/{self.dtype}&{fields}")

    def check(self, view: View | None = None, scale: str = "sqrt", limits: tuple[float, float] = (0, 5000)) -> None:
        """Wait until the screen is as it should be, all of it within 1/255."""
        rgb = self.page.evaluate("getComputedStyle(document.querySelector('.pane-stage')).backgroundColor")
        background = [int(part) for part in re.findall(r"\d+", rgb)[:3]]
        canvas = self.page.evaluate(
            "() => { const { width, height } = document.querySelector('.pane-image'); return [height, width]; }"
        )
        shown, there = on_screen(self.numbers, view, tuple(canvas))
        assert there.sum() > 300_000
        expected = colours_of(shown, there, scale, limits, background).astype(np.int16)
        until_s = time.monotonic() + PATIENCE_S
        while True:
            difference = np.abs(self.look(self.page) - expected)
            if difference.max() <= 1 or time.monotonic() > until_s:
                break
        assert difference.max() <= 1, f"{(difference.max(axis=2) > 1).sum()} of {difference.size // 3} pixels differ"


@pytest.fixture
def screen(open_page: Any, monitor: Any, look: Any, wait_for: Any) -> Callable[..., Screen]:
    def start(dtype: str, renderer: str, fields: str = "", **options: Any) -> Screen:
        view = f";s=11012345/{dtype}&r=0,5000{fields}"
        page = open_page(monitor.link(view, renderer), renderer, **options)
        wait_for(page, "() => document.querySelector('.pane')?.dataset.drawn > 0")
        assert page.evaluate("document.querySelector('.pane').dataset.renderer") == renderer
        return Screen(page, look, dtype)

    return start


# --- the tests ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["u2", "u4"])
@pytest.mark.parametrize("renderer", RENDERERS)
def test_all_pixels_are_those_of_numpy_in_each_scale_fitted_in_and_one_to_one(
    screen: Callable[..., Screen], renderer: str, dtype: str
) -> None:
    page = screen(dtype, renderer)
    for scale, limits in (("linear", (0.0, 3000.0)), ("sqrt", (10.0, 50000.0)), ("log", (0.0, 2_000_000.0))):
        look = f"c={scale}&r={limits[0]},{limits[1]}"
        page.set(look)
        page.check(None, scale, limits)
    page.set(f"{look}&v={CENTRE[0]},{CENTRE[1]},1")
    page.check((*CENTRE, 1.0), scale, limits)


@pytest.mark.parametrize("renderer", RENDERERS)
def test_masked_pixels_are_shown_as_such_or_with_what_they_hold(screen: Callable[..., Screen], renderer: str) -> None:
    page = screen("u2", renderer, f"&v={CENTRE[0]},{CENTRE[1]},4&o=rp")
    page.check((*CENTRE, 4.0))
    masked = page.look(page.page)
    page.page.keyboard.press("m")
    page.numbers = numbers_of("u2", masked=False)
    page.check((*CENTRE, 4.0))
    assert (masked == NO_VALUE).all(axis=2).sum() > 20 * (page.look(page.page) == NO_VALUE).all(axis=2).sum()


@pytest.mark.parametrize("renderer", RENDERERS)
def test_wheel_and_hand_move_the_picture_exactly_and_the_link_shows_the_same(
    screen: Callable[..., Screen], wait_for: Any, renderer: str
) -> None:
    page = screen("u2", renderer)
    box = page.page.locator(".pane-stage").bounding_box()
    height, width = page.look(page.page).shape[:2]
    fit = min(width / 2100, height / 1900)
    at = (400 - box["x"], 430 - box["y"])
    mouse = page.page.mouse
    mouse.move(400, 430)
    mouse.wheel(0, -500)
    zoom = fit * math.exp(0.75)
    left, top = (math.floor(size / 2 - centre * fit + 0.5) for size, centre in ((width, 1050), (height, 950)))
    under = ((at[0] - left) / fit, (at[1] - top) / fit)
    x, y = (place - (to - size / 2) / zoom for place, to, size in zip(under, at, (width, height), strict=True))
    mouse.down()
    mouse.move(400 - 61, 430 + 47, steps=3)
    mouse.up()
    x, y = x + 61 / zoom, y - 47 / zoom
    wait_for(
        page.page,
        """expected => {
          const view = /&v=([^&]+)/.exec(location.hash)?.[1].split(',').map(Number);
          return view && view.every((number, i) => Math.abs(number - expected[i]) < 1e-3 * expected[2]);
        }""",
        [x, y, zoom],
    )
    written = page.page.evaluate("location.hash")
    view = tuple(float(number) for number in re.search(r"&v=([^&]+)", written)[1].split(","))  # type: ignore[index]
    again = screen("u2", renderer, "&v=" + ",".join(map(repr, view)))
    again.check(view)  # type: ignore[arg-type]
    assert (again.look(again.page) == page.look(page.page)).all()


@pytest.mark.parametrize("renderer", RENDERERS)
def test_the_value_under_the_cursor_is_the_arrays_in_a_pooled_view_too(
    screen: Callable[..., Screen], wait_for: Any, renderer: str
) -> None:
    page = screen("u2", renderer)
    page.check()
    box = page.page.locator(".pane-stage").bounding_box()
    height, width = page.look(page.page).shape[:2]
    fit = min(width / 2100, height / 1900)
    left, top = round(width / 2 - 1050 * fit), round(height / 2 - 950 * fit)
    image, values = image_of("u2"), page.numbers
    for to in ((300, 433), (640, 612), (871, 870), (500, 400)):
        page.page.mouse.move(*to)
        x, y = math.floor((to[0] - box["x"] - left) / fit), math.floor((to[1] - box["y"] - top) / fit)
        value = "no value" if np.isnan(values[y, x]) else str(image[y, x])
        value = "masked" if mask_of("u2")[y, x] else value
        radius_m = math.hypot(x + 0.5 - 1000, y + 0.5 - 900) * 75e-6
        d = 1 / (2 * math.sin(math.atan(radius_m / 0.15) / 2))
        text = page.page.locator(".status-cursor")
        wait_for(
            page.page,
            "text => document.querySelector('.status-cursor').textContent.startsWith(text)",
            f"x {x}   y {y}   {value}   d ",
        )
        assert float(re.search(r"d ([\d.]+) Å", text.inner_text())[1]) == pytest.approx(d, rel=1e-3)  # type: ignore[index]
