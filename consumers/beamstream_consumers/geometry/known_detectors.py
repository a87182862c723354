"""Detectors whose pixels and shape a name says, as pyFAI's files name them."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownDetector:
    """Size of a pixel [m], and (n_slow, n_fast)."""

    pixel_size_m: float
    shape: tuple[int, int]


PILATUS_M, EIGER_M = 172e-6, 75e-6
"""Sizes of a pixel [m]."""

_SHAPES = {
    "pilatus100k": (195, 487),
    "pilatus200k": (407, 487),
    "pilatus300k": (619, 487),
    "pilatus300kw": (195, 1475),
    "pilatus900k": (619, 1475),
    "pilatus1m": (1043, 981),
    "pilatus2m": (1679, 1475),
    "pilatus6m": (2527, 2463),
    "eiger500k": (512, 1030),
    "eiger1m": (1065, 1030),
    "eiger4m": (2167, 2070),
    "eiger9m": (3269, 3110),
    "eiger16m": (4371, 4150),
    "eiger2250k": (512, 512),
    "eiger2500k": (512, 1028),
    "eiger21m": (1062, 1028),
    "eiger21mw": (512, 2068),
    "eiger22mw": (512, 4148),
    "eiger24m": (2162, 2068),
    "eiger29m": (3262, 3108),
    "eiger216m": (4362, 4148),
}


def known_detector(name: str) -> KnownDetector | None:
    """Return what a name says; ``Eiger2 CdTe 4M``, ``Pilatus 1M`` and ``eiger2_4m`` are understood; None otherwise."""
    bare = re.sub(r"[^a-z0-9]|cdte|detector", "", name.lower())
    shape = _SHAPES.get(bare)
    if shape is None:
        return None
    return KnownDetector(PILATUS_M if bare.startswith("pilatus") else EIGER_M, shape)
