"""Dead letters against a real server: what a group gives up, put back, forgotten; and the commands for it."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from beamstream import Address, Consumer, Frame, Producer
from beamstream.cli.root import run
from beamstream.consumer.group import MAX_WHY_BYTES
from beamstream.errors import GroupNotFoundError, MessageNotFoundError, StreamFinishedError
from beamstream.groups import (
    group_info,
    list_dead_letters,
    parse_target,
    purge_dead_letters,
    reinject_dead_letters,
    seek_group,
)
from beamstream.groups.listing import server_time_s
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server

ADDRESS = Address("bt", "det", "run")
N_MESSAGES = 30
BAD = (7, 11)


@pytest.fixture
def finished(broker: str) -> str:
    """A finished stream of small messages."""
    with Producer(ADDRESS, broker=broker) as producer:
        for message_id in range(1, N_MESSAGES + 1):
            producer.send(message_id, b"%d" % message_id)
        producer.finish()
    return broker


def work_through(broker: str, *, fails: Callable[[Frame], bool]) -> list[int]:
    """Read the stream to its end as a handler that fails on some messages; returns what was handled."""
    handled = []
    with Consumer(ADDRESS, broker=broker, group="g", max_attempts=3, redelivery_delays_s=[0]) as consumer:
        while True:
            try:
                frame = consumer.next(30)
            except StreamFinishedError:
                return handled
            if fails(frame):
                consumer.negative_acknowledge(frame, why=f"Traceback\nValueError: {frame.n_deliveries}")
            else:
                consumer.acknowledge(frame)
                handled.append(frame.message_id)


@pytest.fixture
def with_letters(finished: str) -> str:
    """A group that gave two messages up and finished the others."""
    handled = work_through(finished, fails=lambda frame: frame.message_id in BAD)
    assert sorted(handled) == [n for n in range(1, N_MESSAGES + 1) if n not in BAD]
    return finished


def test_a_letter_says_what_was_given_up_when_by_whom_and_why(with_letters: str) -> None:
    server = Server(with_letters)
    letters = list_dead_letters(server, ADDRESS, "g")
    assert [(letter.message_id, letter.entry_id, letter.n_deliveries, letter.why) for letter in letters] == [
        (7, "7-0", 3, "Traceback\nValueError: 3"),
        (11, "11-0", 3, "Traceback\nValueError: 3"),
    ]
    assert all(0 <= server_time_s(server) - letter.time_s < 60 and letter.member for letter in letters)
    info = group_info(server, ADDRESS, "g")
    assert (info.n_dead, info.n_pending, info.lag_messages) == (2, 0, 0), "they do not hold the group up"


def test_a_reinjected_message_is_delivered_again_with_all_its_attempts(with_letters: str) -> None:
    server = Server(with_letters)
    assert reinject_dead_letters(server, ADDRESS, "g", [7]) == [7]
    deliveries = []

    def note(frame: Frame) -> bool:
        deliveries.append((frame.message_id, frame.n_deliveries))
        return frame.n_deliveries < 3

    assert work_through(with_letters, fails=note) == [7]
    assert deliveries == [(7, 1), (7, 2), (7, 3)]
    assert [letter.message_id for letter in list_dead_letters(server, ADDRESS, "g")] == [11]
    assert group_info(server, ADDRESS, "g").n_dead == 1


def test_a_purged_letter_is_forgotten_but_stays_counted(with_letters: str) -> None:
    server = Server(with_letters)
    assert purge_dead_letters(server, ADDRESS, "g") == list(BAD)
    assert list_dead_letters(server, ADDRESS, "g") == []
    assert group_info(server, ADDRESS, "g").n_dead == 2
    assert work_through(with_letters, fails=lambda _: True) == []


def test_a_message_that_comes_again_because_of_a_seek_is_no_dead_letter_any_more(with_letters: str) -> None:
    server = Server(with_letters)
    seek_group(server, ADDRESS, "g", parse_target("10", 0), force=True)
    assert [letter.message_id for letter in list_dead_letters(server, ADDRESS, "g")] == [7]
    assert sorted(work_through(with_letters, fails=lambda _: False)) == list(range(10, N_MESSAGES + 1))


def test_a_letter_whose_message_has_left_the_index_stays_a_letter(with_letters: str) -> None:
    server = Server(with_letters)
    server.call("XDEL", StreamKeys(ADDRESS).index, "7-0")
    assert reinject_dead_letters(server, ADDRESS, "g") == [11]
    assert [letter.message_id for letter in list_dead_letters(server, ADDRESS, "g")] == [7]


def test_only_the_end_of_a_long_traceback_is_kept(finished: str) -> None:
    with Consumer(ADDRESS, broker=finished, group="g", max_attempts=1) as consumer:
        consumer.negative_acknowledge(consumer.next(10), why="ä" * MAX_WHY_BYTES + "the error")
    (letter,) = list_dead_letters(Server(finished), ADDRESS, "g")
    assert len(letter.why.encode()) <= MAX_WHY_BYTES + 2
    assert letter.why.endswith("the error")


def test_what_is_no_dead_letter_and_what_is_no_group_is_said(with_letters: str) -> None:
    server = Server(with_letters)
    with pytest.raises(MessageNotFoundError, match="no dead letter of group g"):
        reinject_dead_letters(server, ADDRESS, "g", [7, 8])
    assert len(list_dead_letters(server, ADDRESS, "g")) == 2, "nothing was done by halves"
    with pytest.raises(GroupNotFoundError, match="there are g"):
        list_dead_letters(server, ADDRESS, "h")


def test_the_commands_list_reinject_and_purge(with_letters: str, capsys: pytest.CaptureFixture[str]) -> None:
    def stream(*arguments: str) -> tuple[int, str]:
        status = run(["--broker", with_letters, "dead-letters", *arguments[:1], str(ADDRESS), *arguments[1:]])
        return status, capsys.readouterr().out

    status, text = stream("ls", "--group", "g")
    assert status == 0
    assert "ValueError: 3" in text
    assert "Traceback" not in text
    status, text = stream("ls", "--group", "g", "--json")
    assert [letter["message_id"] for letter in json.loads(text)] == list(BAD)
    status, text = stream("reinject", "--group", "g", "--id", "7", "--json")
    assert (status, json.loads(text)) == (0, {"group": "g", "reinjected": 1})
    status, text = stream("purge", "--group", "g", "--all", "--json")
    assert (status, json.loads(text)) == (0, {"group": "g", "purged": 1})
    assert stream("ls", "--group", "g") == (0, "no dead letters\n")
    assert stream("purge", "--group", "g")[0] == 2, "neither --id nor --all"
    assert stream("ls", "--group", "nobody")[0] == 1
