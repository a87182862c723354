"""Amounts of memory as people write them."""

from __future__ import annotations

import pytest

from beamstream.errors import SizeError
from beamstream.sizes import format_bytes, parse_bytes


@pytest.mark.parametrize(
    ("text", "n_bytes"),
    [
        ("1", 1),
        ("1048576", 1024**2),
        ("512B", 512),
        ("2kB", 2000),
        ("2KiB", 2048),
        ("512MiB", 512 * 1024**2),
        ("1.5GiB", 3 * 1024**3 // 2),
        ("4 GiB", 4 * 1024**3),
        ("4gib", 4 * 1024**3),
        ("1GB", 10**9),
        ("4G", 4 * 1024**3),
        (" 1TiB ", 1024**4),
    ],
)
def test_an_amount_is_read_as_it_is_written(text: str, n_bytes: int) -> None:
    assert parse_bytes(text) == n_bytes


@pytest.mark.parametrize("text", ["", "GiB", "-1GiB", "1,5GiB", "4GiBs", "4 Gi B", "0", "0.2B", "1e9", "nan"])
def test_what_is_no_amount_is_refused_by_name(text: str) -> None:
    with pytest.raises(SizeError) as caught:
        parse_bytes(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.00 KiB"),
        (3 * 1024**3 // 2, "1.50 GiB"),
        (5 * 1024**4, "5.00 TiB"),
    ],
)
def test_an_amount_is_written_for_people(n_bytes: int, text: str) -> None:
    assert format_bytes(n_bytes) == text
