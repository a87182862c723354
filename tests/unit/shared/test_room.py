"""`beamstream.shared.room`: what the machine and the container say; a segment that has no room is refused."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from beamstream.shared.room import room_bytes
from beamstream.shared.segment import create

GIB = 1 << 30


def said(folder: Path, available: str, **container: str | None) -> int:
    machine = folder / "meminfo"
    machine.write_text(available)
    for name, text in container.items():
        if text is not None:
            (folder / f"memory.{name}").write_text(text)
    return room_bytes(machine, folder)


@pytest.mark.parametrize(
    ("limit", "used", "stat", "left"),
    [
        (None, None, None, 32 * GIB),
        ("max\n", "5\n", None, 32 * GIB),
        (f"{16 * GIB}\n", f"{12 * GIB}\n", None, 4 * GIB),
        (f"{16 * GIB}\n", f"{12 * GIB}\n", f"anon 5\nshmem 7\nactive_file {GIB}\ninactive_file {GIB}\n", 6 * GIB),
        (f"{16 * GIB}\n", f"{12 * GIB}\n", "garbage\nactive_file much\n", 4 * GIB),
        (f"{16 * GIB}\n", f"{17 * GIB}\n", None, 0),
        (f"{64 * GIB}\n", f"{GIB}\n", None, 32 * GIB),
        (f"{16 * GIB}\n", None, None, 32 * GIB),
    ],
)
def test_the_less_of_machine_and_container_counts(
    tmp_path: Path, limit: str | None, used: str | None, stat: str | None, left: int
) -> None:
    machine = f"MemTotal: 99999999 kB\nMemFree: 17 kB\nMemAvailable:   {32 * GIB // 1024} kB\n"
    assert said(tmp_path, machine, max=limit, current=used, stat=stat) == left * 31 // 32


@pytest.mark.parametrize("text", ["", "MemAvailable: much kB\n", "MemTotal: 12 kB\n"])
def test_a_machine_that_does_not_say_is_taken_to_have_room(tmp_path: Path, text: str) -> None:
    assert said(tmp_path, text) > 1 << 60


def test_a_segment_beyond_what_is_left_is_refused_before_anything_is_taken() -> None:
    with pytest.raises(OSError, match="the machine has") as found:
        create(1, 1 << 50)
    assert found.value.errno == errno.ENOMEM
