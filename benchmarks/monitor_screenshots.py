"""Pictures of the monitor's page for the documentation: the demo in a real browser, dark and light, large and small.

    python benchmarks/monitor_screenshots.py [--to docs/images] [--rate 20] [--frame 500]

Runs `stream demo`, opens the address that it prints, and takes the screenshots once the demo has come to a frame. The
browser is the machine's own Chromium (`BEAMSTREAM_CHROMIUM` names another one). Colours are
reduced, so that the files are small.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, expect, sync_playwright

SIZES = ((1600, 1000), (1024, 768))
THEMES = ("dark", "light")
PATIENCE_MS = 120_000
N_GREYS = 14


@contextmanager
def demo(rate_hz: float, n_frames: int) -> Iterator[str]:
    """Run the demo, and yield the address of its page."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = ("--rate", str(rate_hz), "--frames", str(n_frames), "--directory", folder, "--no-browser")
        command = [sys.executable, "-u", "-m", "beamstream.cli", "demo", *arguments]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as running:
            try:
                assert running.stderr is not None
                yield next(found[1] for line in running.stderr if (found := re.search(r"watch it at (\S+)", line)))
            finally:
                running.send_signal(signal.SIGINT)
                running.communicate()


def take(browser: Browser, url: str, theme: str, size: tuple[int, int], frame: int) -> Image.Image:
    """Return what the page looks like once the demo has come to a frame, with a hit on it."""
    viewport = {"width": size[0], "height": size[1]}
    page = browser.new_page(viewport=viewport, color_scheme=theme)  # type: ignore[arg-type]
    page.set_default_timeout(PATIENCE_MS)
    page.goto(url)
    expect(page.locator(".status-facts")).to_contain_text(re.compile(r"hit, \d+ peaks"), timeout=PATIENCE_MS)
    newest = page.locator(".kpi", has=page.locator("dt", has_text=re.compile("^frame$"))).locator("dd span")
    while not (digits := re.sub(r"\D", "", newest.inner_text())) or int(digits) < frame:
        page.wait_for_timeout(100)
    page.wait_for_timeout(1500)  # curves come twice a second
    shot = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    page.close()
    return reduced(shot)


def reduced(shot: Image.Image) -> Image.Image:
    """Return a picture with 256 colours: few greys, for the noise of a detector cannot be packed, and all others."""
    rgb = np.asarray(shot)
    is_grey = rgb.max(axis=2) == rgb.min(axis=2)
    # Each colour counts by the root of its pixels: a small green bar is not to become grey.
    unique, inverse, counts = np.unique(rgb[~is_grey], axis=0, return_inverse=True, return_counts=True)
    weighted = np.repeat(unique, np.ceil(np.sqrt(counts)).astype(int), axis=0)
    palette = Image.fromarray(weighted[None]).quantize(256 - N_GREYS, dither=Image.Dither.NONE)
    others = Image.fromarray(unique[None]).quantize(palette=palette, dither=Image.Dither.NONE)
    greys = np.round(np.linspace(0, 255, N_GREYS)).astype(np.uint8)
    index = np.round(rgb[..., 0] / 255 * (N_GREYS - 1)).astype(np.uint8)
    index[~is_grey] = N_GREYS + np.asarray(others)[0][inverse.ravel()]
    picture = Image.fromarray(index, "L")
    picture.putpalette([*np.repeat(greys, 3).tolist(), *(others.getpalette() or [])])
    return picture


def main() -> None:
    """Take them all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=Path("docs/images"), metavar="DIR")
    parser.add_argument("--rate", type=float, default=20.0, metavar="HZ")
    parser.add_argument("--frame", type=int, default=500, metavar="N", help="first frame that is on a picture")
    options = parser.parse_args()
    chromium = os.environ.get("BEAMSTREAM_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    options.to.mkdir(parents=True, exist_ok=True)
    with demo(options.rate, options.frame + 2000) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for theme in THEMES:
            for size in SIZES:
                path = options.to / f"monitor-{theme}-{size[0]}x{size[1]}.png"
                take(browser, url, theme, size, options.frame).save(path, optimize=True)
                print(f"{path}: {path.stat().st_size / 1000:.0f} kB", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
