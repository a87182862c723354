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
import numpy.typing as npt
import xxhash

from beamstream.receipt import missing_ranges

LINKS = 1 << 20
"""Messages whose links of the chain are made at once: 16 MB."""


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


def chain_over(ids: npt.NDArray[Any], checksums: npt.NDArray[np.uint64]) -> int:
    """Compute the checksum chain of `beamstream.receipt.chain` over arrays; ids in any order, each once."""
    order = np.argsort(ids, kind="stable")
    digest = xxhash.xxh3_64()
    for first in range(0, len(order), LINKS):
        some = order[first : first + LINKS]
        links = np.empty((len(some), 2), dtype="<u8")
        links[:, 0], links[:, 1] = ids[some], checksums[some]
        digest.update(links.tobytes())
    return digest.intdigest()


def missing_among(
    ids: npt.NDArray[np.int64], last_id: int, *, declined: Sequence[tuple[int, int]] = ()
) -> tuple[tuple[int, int], ...]:
    """Return the ranges of ids up to `last_id` that are neither in `ids`, which are in order, nor declined."""
    ends = np.flatnonzero(np.diff(ids) != 1)
    firsts = ids[np.concatenate(([0], ends + 1))] if len(ids) else ids
    lasts = ids[np.concatenate((ends, [len(ids) - 1]))] if len(ids) else ids
    present = zip(firsts.tolist(), lasts.tolist(), strict=True)
    return tuple(missing_ranges((), last_id, declined=[*present, *declined]))


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
