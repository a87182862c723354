"""The receipt in a file."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from beamstream_consumers.write.receipt import Receipt, read_receipt, write_receipt


@pytest.mark.parametrize("n_expected", [None, 10])
def test_a_receipt_reads_back_as_it_was_written_over_an_earlier_one(tmp_path: Path, n_expected: int | None) -> None:
    last = Receipt(
        n_expected=n_expected, last_id=9, n_received=7, missing=((2, 2), (9, 9)), checksum=2**64 - 1, reason="aborted"
    )
    first = Receipt(n_expected=1, last_id=1, n_received=1, missing=(), checksum=0, reason="open")
    with h5py.File(tmp_path / "receipt.h5", "w") as file:
        write_receipt(file, first)
        write_receipt(file, last)
        assert read_receipt(file) == last
