"""Commands as bytes: the same ones that redis-py would send, with large payloads not copied."""

from __future__ import annotations

import hiredis
import pytest

from beamstream.protocol.packing import APART_BYTES, Argument, pack_commands

LARGE = bytes(range(256)) * (APART_BYTES // 256)
SMALL = LARGE[:-1]


@pytest.mark.parametrize(
    "commands",
    [
        [],
        [("PING",)],
        [("SET", "schlüssel", b""), ("GET", b"key\r\n")],
        [("XRANGE", "index", 12, -1.5)],
        [("SET", "a", SMALL), ("SET", "b", LARGE), ("SET", "c", SMALL)],
        [("MSET", "a", LARGE, "b", LARGE), ("PING",)],
    ],
)
def test_the_bytes_are_those_that_hiredis_makes(commands: list[tuple[Argument, ...]]) -> None:
    expected = b"".join(hiredis.pack_command(command) for command in commands)
    assert b"".join(pack_commands(commands)) == expected


@pytest.mark.parametrize("payload", [LARGE, bytearray(LARGE), memoryview(LARGE), memoryview(LARGE).cast("H")])
def test_a_large_payload_is_sent_from_where_it_lies(payload: bytes | bytearray | memoryview) -> None:
    pieces = list(pack_commands([("SET", "key", payload)]))
    owner = payload.obj if isinstance(payload, memoryview) else payload
    assert [piece.obj for piece in pieces if isinstance(piece, memoryview)] == [owner]
    assert b"".join(pieces) == hiredis.pack_command(("SET", "key", bytes(payload)))
