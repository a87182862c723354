"""The receipt in the file: what was expected, what is here, what is missing, and one checksum over all of it.

The checksum is `beamstream.receipt.chain` over the messages in the file: whoever saw the same messages, in whatever
order, comes to the same number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a file says about its own completeness.

    Attributes
    ----------
    n_expected : int or None
        How many messages the producer had promised.
    last_id : int
        The id the stream was finished with; while it is open, the highest that was written.
    n_received : int
        How many different messages are in the file.
    missing : tuple of (int, int)
        Ids that are not in the file, as ranges with both ends included.
    checksum : int
        Checksum chain over the messages in the file.
    reason : str
        ``complete``, ``incomplete`` or ``aborted`` as the producer said; ``open`` before the end.
    """

    n_expected: int | None
    last_id: int
    n_received: int
    missing: tuple[tuple[int, int], ...]
    checksum: int
    reason: str

    @property
    def n_missing(self) -> int:
        """How many ids are missing."""
        return sum(last - first + 1 for first, last in self.missing)


def write_receipt(group: h5py.Group, receipt: Receipt) -> None:
    """Write the receipt into `group`, over an earlier one."""
    _put(group, "expected", -1 if receipt.n_expected is None else receipt.n_expected)
    _put(group, "last_id", receipt.last_id)
    _put(group, "received", receipt.n_received)
    _put(group, "written", receipt.n_received)
    _put(group, "missing", np.array(receipt.missing, dtype="i8").reshape(-1, 2))
    _put(group, "checksum", np.uint64(receipt.checksum))
    _put(group, "reason", receipt.reason)


def read_receipt(group: h5py.Group) -> Receipt:
    """Read the receipt that `write_receipt` left."""
    n_expected = int(group["expected"][()])
    ranges: Sequence[Sequence[int]] = group["missing"][()].tolist()
    return Receipt(
        n_expected=None if n_expected < 0 else n_expected,
        last_id=int(group["last_id"][()]),
        n_received=int(group["received"][()]),
        missing=tuple((first, last) for first, last in ranges),
        checksum=int(group["checksum"][()]),
        reason=group["reason"].asstr()[()],
    )


def _put(group: h5py.Group, name: str, value: Any) -> None:
    """Set a field, whatever stands there."""
    if name in group:
        del group[name]
    group[name] = value
