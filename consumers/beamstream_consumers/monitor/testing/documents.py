"""What the board says besides pictures, of a detector made of nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from .images import is_hit

PIXEL_M = 75e-6
DISTANCE_M = 0.15
WAVELENGTH_A = 1.0

GROUPS = ("write", "peaks", "index")


def run_of(
    source: str, stream: str, shape: tuple[int, int], dtype: str, n_masked: int, n_sent: int, now_s: float
) -> Mapping[str, Any]:
    """Return what is known of a run."""
    n_slow, n_fast = shape
    return {
        "t": "run",
        "source": source,
        "stream": stream,
        "streams": [stream],
        "shape": [n_slow, n_fast],
        "dtype": dtype,
        "n_expected": None,
        "created_s": now_s,
        "kinds": ["frame", "hit", "sum", "max"],
        "assembled": False,
        "geometry": {
            "name": "synthetic",
            "beam": [n_fast / 2, n_slow / 2],
            "pixel_m": [PIXEL_M, PIXEL_M],
            "distance_m": DISTANCE_M,
            "wavelength_a": WAVELENGTH_A,
        },
        "n_masked": n_masked,
        "peaks": f"{source}-peaks",
        "first_id": 1,
        "last_id": n_sent or None,
    }


def numbers_of(
    source: str, stream: str, n_sent: int, newest_ns: int | None, n_viewers: int, now_s: float
) -> Mapping[str, Any]:
    """Return the numbers."""
    n_hits = sum(map(is_hit, range(1, n_sent + 1)))
    numbers = {
        "stream": stream,
        "life": "live" if n_sent else "waiting",
        "state": "open",
        "n_received": n_sent,
        "n_expected": None,
        "n_missing": 0,
        "n_dropped": 0,
        "n_expired": 0,
        "n_late": 0,
        "n_duplicate": 0,
        "newest_id": n_sent or None,
        "rate_hz": 10.0,
        "rate_mb_s": 14.1,
        "age_s": None if newest_ns is None else now_s - newest_ns / 1e9,
        "detector_dropped": 0,
        "hits": {
            "n_frames": n_sent,
            "n_hits": n_hits,
            "n_peaks": 17 * n_hits,
            "hit_rate": n_hits / max(1, n_sent),
            "hit_rate_of_late": n_hits / max(1, n_sent),
            "n_frames_saturated": 0,
            "lag": 2,
        },
    }
    groups = [
        {
            "source": source,
            "stream": stream,
            "name": name,
            "members": 1 + n,
            "rate_hz": 10.0,
            "lag_messages": 3 * n,
            "lag_s": 0.3 * n,
            "redelivered": 0,
            "dead": 0,
            "skipped": 0,
            "required": name == "write",
        }
        for n, name in enumerate(GROUPS)
    ]
    buffer = {
        "reachable": True,
        "flaw": None,
        "used_bytes": int(4e9 + 1e9 * math.sin(now_s / 40)),
        "limit_bytes": 16 << 30,
        "n_spilled": 0,
        "spilling": False,
        "folder": "/scratch/beamstream",
        "disk_free_bytes": 2 << 40,
    }
    return {
        "t": "numbers",
        "time_s": now_s,
        "sources": {source: numbers},
        "groups": groups,
        "buffer": buffer,
        "viewers": n_viewers,
    }


def history_of(source: str, now_s: float) -> Mapping[str, Any]:
    """Return the last ten minutes."""
    return {
        "t": "history",
        "source": source,
        "time_s": [now_s - 600 + 10 * n for n in range(60)],
        "rate_hz": [10 + math.sin(n / 9) for n in range(60)],
        "age_s": [0.1 + 0.05 * math.sin(n / 5) for n in range(60)],
        "hit_rate": [0.3 + 0.1 * math.sin(n / 7) for n in range(60)],
    }


def histograms_of(source: str, stream: str) -> Mapping[str, Any]:
    """Return the histograms."""
    return {
        "t": "histograms",
        "source": source,
        "stream": stream,
        "peaks_per_frame": {"first": 0, "step": 10, "counts": [40, 12, 7, 3, 1]},
        "log10_intensity": {"first": 1.0, "step": 0.1, "counts": [int(50 / (n + 1)) for n in range(30)]},
        "one_over_resolution": {"first": 0.0, "step": 0.02, "counts": [n % 7 for n in range(30)]},
    }
