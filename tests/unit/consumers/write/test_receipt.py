"""The receipt in a file."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beamstream.receipt import chain, missing_ranges
from beamstream_consumers.write.receipt import Receipt, chain_over, missing_among, read_receipt, write_receipt


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


@given(st.dictionaries(st.integers(1, 200), st.integers(0, 2**64 - 1), max_size=40), st.integers(0, 220))
def test_arrays_make_the_receipt_that_the_broker_makes_of_messages(held: dict[int, int], last_id: int) -> None:
    ids = np.array(list(held), dtype=np.int64)
    assert chain_over(ids, np.array(list(held.values()), dtype=np.uint64)) == chain(held.items())
    declined = [(3, 5), (150, 160)]
    missing = missing_among(np.sort(ids), last_id, declined=declined)
    assert list(missing) == missing_ranges(held, last_id, declined=declined)
