"""Which key a command is about, and which node has it."""

from __future__ import annotations

import pytest

from beamstream.protocol.slots import Node, first_key, read_slots


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("GET", "k"), "k"),
        (("set", b"k", b"v"), b"k"),
        (("EVALSHA", "abc", 2, "k", "other", "argument"), "k"),
        (("EVAL", "return 1", 0), None),
        (("XREADGROUP", "GROUP", "STREAMSX", "m", "COUNT", 5, "STREAMS", "k", ">"), "k"),
        (("XINFO", "GROUPS", "k"), "k"),
        (("XGROUP", "CREATE", "k", "g", "$"), "k"),
        (("INFO", "memory"), None),
        (("SCAN", b"0", "MATCH", "*"), None),
        (("TIME",), None),
    ],
)
def test_the_key_of_a_command_is_found(command, key):
    assert first_key(command) == key


def test_slots_are_read_with_gaps_and_a_node_that_does_not_know_its_address():
    slots = read_slots(
        [
            [0, 99, [b"10.0.0.1", 7000, b"id1", []], [b"10.0.0.9", 7000, b"replica", []]],
            [200, 16383, [b"", 7001, b"id2"]],
            [100, 150, [b"10.0.0.1", 7000, b"id1", []]],
        ],
        "beamline-host",
    )
    first, second = Node("10.0.0.1", 7000), Node("beamline-host", 7001)
    assert slots.nodes == (first, second)
    assert [slots.owner(slot) for slot in (0, 99, 100, 150, 151, 199, 200, 16383)] == [
        *[first] * 4,
        None,
        None,
        second,
        second,
    ]


@pytest.mark.parametrize(("node", "text"), [(Node("::1", 7000), "[::1]:7000"), (Node("host", 1), "host:1")])
def test_a_node_is_written_as_in_a_url(node, text):
    assert str(node) == text
