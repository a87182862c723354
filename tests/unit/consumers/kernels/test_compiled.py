"""Compiling kernels where machine code can be kept on disk, and where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from beamstream_consumers.kernels.compiled import compiled


def test_a_kernel_that_cannot_be_kept_on_disk_still_runs() -> None:
    # numba finds no place for the machine code of a function without a source file, as in a read-only image.
    names: dict[str, Any] = {}
    exec("def double(x):\n    return 2 * x\n", names)  # noqa: S102
    function: Callable[[int], int] = names["double"]
    assert compiled(function)(21) == 42
