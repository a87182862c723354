"""The receipt's arithmetic: missing ranges and the checksum chain."""

from __future__ import annotations

import xxhash

from beamstream.receipt import chain, missing_ranges


def test_missing_ranges_include_both_ends() -> None:
    assert missing_ranges([], 0) == []
    assert missing_ranges([], 3) == [(1, 3)]
    assert missing_ranges([2, 3, 6], 8) == [(1, 1), (4, 5), (7, 8)]
    assert missing_ranges([3, 1, 2], 3) == []


def test_ids_beyond_the_last_are_not_missing_anything() -> None:
    assert missing_ranges([1, 2, 5], 2) == [(3, 4)]


def test_the_chain_does_not_depend_on_the_order_of_arrival() -> None:
    assert chain([(2, 22), (1, 11)]) == chain([(1, 11), (2, 22)])
    assert chain([(1, 22), (2, 11)]) != chain([(1, 11), (2, 22)])


def test_the_chain_is_what_the_page_says_it_is() -> None:
    written = (1).to_bytes(8, "little") + (11).to_bytes(8, "little")
    assert chain([(1, 11)]) == xxhash.xxh3_64_intdigest(written)
