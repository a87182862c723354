"""Images of a detector made of nothing: rings, Bragg peaks, gaps; by their number, always the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream_consumers.monitor.pictures.picture import About

N_DIFFERENT = 12
"""Images that are made; message n shows image n % 12."""


def is_hit(message_id: int) -> bool:
    """Whether a message is a hit."""
    return message_id % N_DIFFERENT % 3 == 1


def gaps(shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Return bars between modules, and two bad pixels."""
    mask = np.zeros(shape, bool)
    for n in (1, 2, 3):
        at = n * shape[0] // 4
        mask[at - 6 : at + 6] = True
    mask[:, shape[1] // 2 - 3 : shape[1] // 2 + 3] = True
    mask[5, 7] = mask[shape[0] // 3, shape[1] // 3] = True
    return mask


def peaks_of(shape: tuple[int, int], n: int) -> npt.NDArray[np.float32]:
    """Return x, y and intensity of the peaks of an image."""
    dice = np.random.default_rng(1000 + n)
    n_peaks = 40
    x, y = dice.uniform(4, shape[1] - 4, n_peaks), dice.uniform(4, shape[0] - 4, n_peaks)
    return np.stack([x, y, dice.uniform(50, 2000, n_peaks)], axis=1).astype(np.float32)


def make_image(
    shape: tuple[int, int], dtype: np.dtype[Any], mask: npt.NDArray[np.bool_], n: int, flag: int
) -> npt.NDArray[Any]:
    """Return rings on a background, Bragg peaks on the hits, and the flag in the gaps."""
    dice = np.random.default_rng(n)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    radius = np.hypot(columns - shape[1] / 2, rows - shape[0] / 2) / (0.5 * min(shape))
    mean = 1.5 * np.exp(-2 * radius) + 2.0 * np.exp(-(((radius - 0.6) / 0.05) ** 2)) + 0.2
    image = dice.poisson(mean).astype(dtype)
    if is_hit(n):
        for x, y, intensity in peaks_of(shape, n):
            image[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2] += dtype.type(intensity / 9)
    image[mask & (rows > 8)] = flag
    return image


def about_of(image: npt.NDArray[Any], mask: npt.NDArray[np.bool_], n: int, flag: int) -> About:
    """Return what is known of an image."""
    good = image[(image != flag) & ~mask]
    marks = np.percentile(good, [1, 50, 95, 99.5, 99.95])
    counts, _ = np.histogram(np.log10(1.0 + good), bins=64, range=(0, 6.4))
    rows, columns = np.indices(image.shape)
    radius = np.hypot(columns - image.shape[1] / 2, rows - image.shape[0] / 2).astype(int)
    ok = (image != flag) & ~mask
    total = np.bincount(radius[ok], weights=image[ok])
    n_pixels = np.bincount(radius[ok])
    radial = np.stack([np.arange(total.size) + 0.5, total / np.maximum(1, n_pixels)]).astype(np.float32)
    peaks = peaks_of(image.shape, n)[: None if is_hit(n) else 3]
    return About(
        percentiles=dict(zip(("1", "50", "95", "99.5", "99.95"), map(float, marks), strict=True)),
        histogram={"first": 0.0, "step": 0.1, "counts": counts.tolist()},
        numbers={
            "maximum": int(good.max()),
            "mean": float(good.mean()),
            "total": int(good.sum(dtype=np.uint64)),
            "n_good": int(good.size),
            "n_flagged": int((image == flag).sum()),
            "n_masked": int(mask.sum()),
        },
        hit=is_hit(n),
        n_peaks=len(peaks),
        peaks=peaks,
        radial=radial,
    )
