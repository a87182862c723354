"""Addresses: what is one, what is not, and how broker URLs stand in front."""

from __future__ import annotations

from pathlib import Path

import pytest

from beamstream import Address, SourceAddress
from beamstream.address import MAX_NAME_LENGTH, is_path, locate_stream, parse_where, split_url
from beamstream.errors import AddressError, UsageError


def test_an_address_reads_as_it_is_written() -> None:
    address = Address.parse("11012345/eiger/lysozyme_run_042")
    assert (address.beamtime, address.source, address.name) == ("11012345", "eiger", "lysozyme_run_042")
    assert str(address) == "11012345/eiger/lysozyme_run_042"
    assert address.source_address.stream("lysozyme_run_042") == address


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "1 part"),
        ("a/b", "2 part"),
        ("a/b/c/d", "4 part"),
        ("a//c", "data source is empty"),
        ("a/b/", "stream is empty"),
        ("a/b/../c", "4 part"),
        ("a/../c", "may hold"),
        ("a/b/.hidden", "may hold"),
        ("a/b/-flag", "may hold"),
        ("a/b/x y", "may hold"),
        ("a/b/{x}", "may hold"),
        ("a/b/x\n", "may hold"),
        ("a/b/ü", "may hold"),
        (f"a/b/{'x' * (MAX_NAME_LENGTH + 1)}", "limit is 128"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(AddressError, match=reason) as caught:
        Address.parse(text)
    assert caught.value.text == text


def test_two_parts_name_a_data_source() -> None:
    assert parse_where("11012345/eiger") == SourceAddress("11012345", "eiger")


@pytest.mark.parametrize(
    ("text", "url", "address"),
    [
        ("a/b/c", None, "a/b/c"),
        ("redis://host:1234/a/b/c", "redis://host:1234", "a/b/c"),
        ("rediss://user:word@host/a/b/c?db=2", "rediss://user:word@host?db=2", "a/b/c"),
        ("unix:///run/valkey.sock#a/b/c", "unix:///run/valkey.sock", "a/b/c"),
        ("unix:///run/valkey.sock?db=1", "unix:///run/valkey.sock?db=1", ""),
    ],
)
def test_a_broker_url_may_stand_in_front(text: str, url: str | None, address: str) -> None:
    assert split_url(text) == (url, address)


def test_an_unknown_scheme_is_named() -> None:
    with pytest.raises(UsageError, match="unknown scheme 'http'"):
        split_url("http://host/a/b/c")


def test_the_url_of_an_address_beats_the_given_broker() -> None:
    assert locate_stream("redis://one/a/b/c", "redis://two") == (Address("a", "b", "c"), "redis://one")
    assert locate_stream("a/b/c", "redis://two") == (Address("a", "b", "c"), "redis://two")


@pytest.mark.parametrize(
    "where", ["./cbf/run_042", "../run", "/data/run", "~/run", "cbf/run_042/", "a/b/c/", Path("a/b/c")]
)
def test_what_begins_or_ends_like_a_path_is_one(where):
    assert is_path(where)


@pytest.mark.parametrize("where", ["a/b/c", "redis://host/a/b/c/", "a/b", "a.b/c/d"])
def test_an_address_is_no_path(where, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert not is_path(where)
