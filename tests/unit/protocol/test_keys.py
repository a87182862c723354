"""Keys: the very texts of version 1."""

from __future__ import annotations

from beamstream import Address, SourceAddress
from beamstream.protocol import StreamKeys
from beamstream.protocol.keys import SOURCES, streams_of

KEYS = StreamKeys(Address("11012345", "eiger", "run_042"))


def test_the_keys_of_version_1_stay_as_they_are() -> None:
    assert KEYS.index == "bs1:{11012345/eiger/run_042}:index"
    assert KEYS.state == "bs1:{11012345/eiger/run_042}:state"
    assert KEYS.held == "bs1:{11012345/eiger/run_042}:held"
    assert KEYS.late == "bs1:{11012345/eiger/run_042}:late"
    assert KEYS.meta == "bs1:{11012345/eiger/run_042}:meta"
    assert KEYS.group("write") == "bs1:{11012345/eiger/run_042}:group:write"
    assert KEYS.dead("write") == "bs1:{11012345/eiger/run_042}:dead:write"
    assert KEYS.payload(7, 0xAB) == "bs1:p:11012345/eiger/run_042:7:00000000000000ab"
    assert SOURCES == "bs1:sources"
    assert streams_of(SourceAddress("11012345", "eiger")) == "bs1:{11012345/eiger}:streams"


def test_payload_keys_carry_no_hash_tag() -> None:
    assert "{" not in KEYS.payload(1, 1)
