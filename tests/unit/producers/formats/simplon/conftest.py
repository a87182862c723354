"""Captured detector messages, and messages of both versions made here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

PARTS_OF_A_SERIES = [8] + [4] * 10 + [1]


@pytest.fixture(scope="session")
def captured() -> Path:
    """Where real captured data lies."""
    folder = os.environ.get("BEAMSTREAM_TEST_DATA")
    if not folder:
        pytest.skip("BEAMSTREAM_TEST_DATA names no folder of captured data")
    return Path(folder)


@pytest.fixture(scope="session")
def captured_v1(captured: Path) -> dict[int, list[list[bytes]]]:
    """Two series of an EIGER2 1M by their id, each as 12 multipart messages."""
    parts = iter(path.read_bytes() for path in sorted((captured / "stream_v1_eigerstreamreceiver/parts").iterdir()))
    return {
        series_id: [[next(parts) for _ in range(n_parts)] for n_parts in PARTS_OF_A_SERIES] for series_id in (71, 72)
    }


@pytest.fixture(scope="session")
def captured_v2(captured: Path) -> dict[str, bytes]:
    """Start, image and end of an EIGER2 16M; the start was made smaller by hand."""
    folder = captured / "stream_v2_tickit_eiger16m"
    return {kind: (folder / f"{kind}.cbor").read_bytes() for kind in ("start", "image", "end")}
