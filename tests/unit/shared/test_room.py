"""`beamstream.shared.room`: what the machine and the container say; a segment that has no room is refused."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from beamstream.shared.room import room_bytes
from beamstream.shared.segment import create

GIB = 1 << 30


def said(folder: Path, available: str, limit: str | None, used: str | None) -> int:
    paths = [folder / name for name in ("meminfo", "max", "current")]
    for path, text in zip(paths, (available, limit, used), strict=True):
        if text is not None:
            path.write_text(text)
    return room_bytes(*paths)


@pytest.mark.parametrize(
    ("limit", "used", "left"),
    [
        (None, None, 32 * GIB),
        ("max\n", "5\n", 32 * GIB),
        (f"{16 * GIB}\n", f"{12 * GIB}\n", 4 * GIB),
        (f"{16 * GIB}\n", f"{17 * GIB}\n", 0),
        (f"{64 * GIB}\n", f"{GIB}\n", 32 * GIB),
        (f"{16 * GIB}\n", None, 32 * GIB),
    ],
)
def test_the_less_of_machine_and_container_counts(
    tmp_path: Path, limit: str | None, used: str | None, left: int
) -> None:
    machine = f"MemTotal: 99999999 kB\nMemFree: 17 kB\nMemAvailable:   {32 * GIB // 1024} kB\n"
    assert said(tmp_path, machine, limit, used) == left * 31 // 32


@pytest.mark.parametrize("text", ["", "MemAvailable: much kB\n", "MemTotal: 12 kB\n"])
def test_a_machine_that_does_not_say_is_taken_to_have_room(tmp_path: Path, text: str) -> None:
    assert said(tmp_path, text, None, None) > 1 << 60


def test_a_segment_beyond_what_is_left_is_refused_before_anything_is_taken() -> None:
    with pytest.raises(OSError, match="the machine has") as found:
        create(1, 1 << 50)
    assert found.value.errno == errno.ENOMEM
