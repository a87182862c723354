"""How kernels are compiled: to machine code on first use, kept on disk for the next process, without the GIL.

numba keeps what it compiled in `NUMBA_CACHE_DIR`, else beside the module, else in the user's cache directory.
Where none of these can be written (a read-only image run by a user without a home) it refuses to compile at
all; a kernel then is compiled again by every process, which costs it about a second.

No `fastmath` and no `parallel`: the same input gives the same bits whatever the number of cores.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` with numba, keeping its annotations: numba's own decorator has none."""
    try:
        kernel = numba.njit(nogil=True, cache=True)(function)
    except RuntimeError:  # «no locator available»: there is no directory to keep the machine code in
        kernel = numba.njit(nogil=True)(function)
    return cast("Callable[P, R]", kernel)
