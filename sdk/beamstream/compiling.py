"""How kernels are compiled: to machine code on first use, kept on disk for the next process, without the GIL.

numba keeps what it compiled in `NUMBA_CACHE_DIR`, else beside the module, else in the user's cache directory. Where
none of them can be written (a read-only image run by a user without a home) nothing is kept; a kernel then is compiled
again by every process, which costs it about a second.

Several processes share that folder: the workers of a group all start at once. numba's own cache is not made for it: two
processes that keep something at the same time take the same file for different types, and the index names a file
before it is written, so that a third process runs what an older version left there. Here one process at a time reads
or writes, and the index is written last.

No `fastmath` and no `parallel`: the same input gives the same bits whatever the number of cores.

Importing this module imports numba (0.6 s); do it where pixels are wanted, not before.

References
----------
https://github.com/numba/numba/issues/10128
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile

P = ParamSpec("P")
R = TypeVar("R")

LOCK_NAME = "beamstream-kernels.lock"


def compiled(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` with numba when it is first called; to a type checker it stays what it was."""
    kernel: Any = numba.njit(nogil=True)(function)
    with contextlib.suppress(RuntimeError):  # numba found no folder that can be written
        kernel._cache = SharedCache(function)  # noqa: SLF001 - where `njit(cache=True)` puts its own
    return cast("Callable[P, R]", kernel)


class SharedCache(FunctionCache):
    """numba's cache of one function, in files that several processes may use."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        self._cache_file = SharedFiles(
            cache_path=self._impl.locator.get_cache_path(),
            filename_base=self._impl.filename_base,
            source_stamp=self._impl.locator.get_source_stamp(),
        )


class SharedFiles(IndexDataCacheFile):
    """The index of what was compiled of one function, and a file for each of its types."""

    def load(self, key: Any) -> Any:
        """Return what was kept under `key`, or None."""
        try:
            with self._alone():
                return super().load(key)
        except FileNotFoundError:  # not even the folder is there
            return None

    def save(self, key: Any, data: Any) -> None:
        """Keep `data` under `key`; whoever is killed in the middle leaves the index as it was."""
        with self._alone():
            names = self._load_index()
            name = names.get(key) or self._free_name(names.values())
            self._save_data(name, data)
            if key not in names:
                self._save_index({**names, key: name})

    def _free_name(self, taken: Collection[str]) -> str:
        names: Iterator[str] = map(self._data_name, itertools.count(1))
        return next(name for name in names if name not in taken)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        descriptor = os.open(Path(self._cache_path) / LOCK_NAME, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)
