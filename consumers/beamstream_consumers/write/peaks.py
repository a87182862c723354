"""Lists of peaks as CXI files have them: what CrystFEL reads with ``--peaks=cxi``.

A message says them as a mapping ``peaks`` of lists of equal length. Positions are pixels of the stored image, from 0,
the middle of the first pixel at 0; fast axis ``fs``, slow axis ``ss``.

References
----------
CXI files, https://raw.githubusercontent.com/cxidb/CXI/master/cxi_file_format.pdf
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from .column_kinds import ListColumn, NumberColumn, as_list
from .errors import NodeError
from .nexus import check_name

PEAKS = "peaks"
"""What messages call their peaks."""

RESULT = "result_1"
COUNT = "nPeaks"
KEY = "key"
"""Attribute: what the messages call the list."""

CXI_NAMES = {
    "fs": "peakXPosRaw",
    "ss": "peakYPosRaw",
    "intensity": "peakTotalIntensity",
    "max_intensity": "peakMaximumValue",
    "snr": "peakSNR",
    "n_pixels": "peakNPixels",
}
"""What CXI calls a list; others keep their own name behind ``peak_``."""

MAX_LISTS = 32
"""Most lists that describe peaks."""


class PeakLists:
    """The group ``result_1`` of an entry, made with the first peaks.

    Parameters
    ----------
    entry : h5py.Group
        Where it is, or will be.
    """

    def __init__(self, entry: h5py.Group) -> None:
        self._entry = entry
        self._lists: dict[str, ListColumn] = {}
        self._rows: dict[str, dict[int, Any]] = {}
        self._counts: dict[int, int] = {}
        group = entry.get(RESULT)
        if isinstance(group, h5py.Group) and COUNT in group:
            self._lists = {
                str(node.attrs[KEY]): ListColumn(node, group[COUNT]) for node in group.values() if KEY in node.attrs
            }

    def put(self, row: int, peaks: Mapping[str, Any]) -> None:
        """Take one message's peaks.

        Raises
        ------
        NodeError
            If they are no lists of numbers of equal length.
        """
        lists = {
            key: as_list(value, key) for key, value in peaks.items() if isinstance(value, list | tuple | np.ndarray)
        }
        if len({len(values) for values in lists.values()}) > 1:
            raise NodeError(PEAKS, "its lists are of different lengths")
        for key, values in lists.items():
            self._rows.setdefault(key, {})[row] = self._list(key, values.dtype).exact(values, key)
        self._counts[row] = len(next(iter(lists.values()), ()))

    def _list(self, key: str, dtype: np.dtype[Any]) -> ListColumn:
        if key not in self._lists:
            if len(self._lists) >= MAX_LISTS:
                raise NodeError(PEAKS, f"there are {MAX_LISTS} lists already")
            group = self._group()
            name = CXI_NAMES.get(key, f"peak_{check_name(key)}")
            kind = np.dtype("<i8" if dtype.kind != "f" and key == "n_pixels" else "<f8")
            column = ListColumn.create(group, name, kind, COUNT, fill=0)
            column.dataset.attrs[KEY] = key
            self._lists[key] = column
        return self._lists[key]

    def _group(self) -> h5py.Group:
        group = self._entry.require_group(RESULT)
        if "NX_class" not in group.attrs:
            group.attrs["NX_class"] = "NXcollection"
        if COUNT not in group:
            NumberColumn.create(group, COUNT, np.dtype("<i8"))
        return group

    def write(self, n_rows: int) -> None:
        """Write what was collected."""
        for key, rows in self._rows.items():
            self._lists[key].write(rows, n_rows)
        if self._counts:
            NumberColumn(self._group()[COUNT]).write(self._counts, n_rows)
        self._rows.clear()
        self._counts.clear()

    def resize(self, n_rows: int) -> None:
        """Let all lists end with row `n_rows`."""
        for column in self._lists.values():
            column.resize(n_rows)
        group = self._entry.get(RESULT)
        if isinstance(group, h5py.Group) and COUNT in group:
            NumberColumn(group[COUNT]).resize(n_rows)
