"""Ids without a message: declined and stated ones, in order with the messages, and told from what is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from beamstream import Address, Consumer, Gap, Producer
from beamstream.errors import IdConflictError, MessageNotFoundError, ServerRefusedError, StreamSealedError
from beamstream.groups import list_groups
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.streams import stream_state

ADDRESS = Address("bt", "det", "run")
KEYS = StreamKeys(ADDRESS)
WAIT_S = 30.0


def gap(first_id: int, last_id: int, reason: str = "declined") -> Gap:
    return Gap(first_id=first_id, last_id=last_id, reason=reason)


def publish(server: Server, *messages: tuple[int, bytes, bytes]) -> list[int]:
    arguments: list[Any] = [0, *(part for message in messages for part in message)]
    answer: list[int] = server.script("publish", KEYS.sequence, arguments)
    return answer[4:]


def test_readers_are_told_what_was_declined_in_its_place(broker: str) -> None:
    with Producer(ADDRESS, broker=broker, n_expected=8) as producer:
        futures = [producer.decline(i) for i in (2, 7, 8, 3, 1)]  # whatever the order
        futures += [producer.send(i, b"hit") for i in (6, 4, 5)]
        assert [future.result(WAIT_S) for future in futures] == ["sent"] * 8
        assert (producer.counts.n_sent, producer.counts.n_declined) == (3, 5)
        assert producer.finish() == 8
    with Consumer(ADDRESS, broker=broker, group="g") as consumer:
        assert [frame.message_id for frame in consumer] == [4, 5, 6]
        assert consumer.take_gaps() == [gap(1, 3), gap(7, 8)]
        assert (consumer.counts.n_declined, consumer.counts.n_missing) == (5, 0)
        with pytest.raises(MessageNotFoundError, match="declined"):
            consumer.read(2)


def test_neighbours_that_are_declined_together_are_one_entry(broker: str) -> None:
    server = Server(broker)
    Producer(ADDRESS, broker=broker).close()
    ids = [*range(2, 200), 1, *range(201, 256)]
    assert publish(server, *((i, b"", b"declined") for i in ids)) == [1] * 198 + [0] + [1] * 55
    assert server.call("XLEN", KEYS.index) == 1
    publish(server, (200, b"", b"stated"))
    assert server.call("XLEN", KEYS.index) == 3, "another reason, and what was behind it"
    state = stream_state(server, ADDRESS)
    assert (state.next_id, state.n_declined, state.n_missing, state.n_held) == (256, 254, 1, 0)


def test_a_message_and_its_decline_exclude_each_other(broker: str) -> None:
    with Producer(ADDRESS, broker=broker) as producer:
        producer.send(1, b"hit")
        assert producer.decline(2).result(WAIT_S) == "sent"
        assert producer.decline(2).result(WAIT_S) == "duplicate"
        for refused in (producer.decline(1), producer.send(2, b"hit")):
            with pytest.raises(IdConflictError):
                refused.result(WAIT_S)
        producer.finish()
        assert producer.decline(2).result(WAIT_S) == "duplicate"
        with pytest.raises(StreamSealedError):
            producer.decline(3).result(WAIT_S)
    receipt = make_receipt(Server(broker), ADDRESS)
    assert (receipt.received, receipt.declined, receipt.n_missing, receipt.duplicated) == (1, 1, 0, 2)


def test_what_is_stated_to_be_missing_is_not_waited_for_and_taken_late(broker: str) -> None:
    with Producer(ADDRESS, broker=broker, patience_s=600) as producer:
        producer.send(3, b"c")
        assert producer.pass_over(1).result(WAIT_S) == "sent"
        assert producer.pass_over(2).result(WAIT_S) == "sent"
        assert producer.pass_over(3).result(WAIT_S) == "duplicate", "it is there"
        assert producer.send(1, b"a").result(WAIT_S) == "late"
        assert producer.decline(2).result(WAIT_S) == "duplicate"
        assert producer.pass_over(5).result(WAIT_S) == "sent"
        assert producer.send(5, b"e").result(WAIT_S) == "sent", "it came in time after all"
        producer.send(4, b"d")
        producer.finish()
    with Consumer(ADDRESS, broker=broker) as consumer:
        assert [(frame.message_id, frame.late) for frame in consumer] == [(3, False), (1, True), (4, False), (5, False)]
        assert consumer.take_gaps() == [gap(1, 2, "stated")]
    receipt = make_receipt(Server(broker), ADDRESS)
    assert (receipt.missing, receipt.declined) == ([(2, 2)], 0)


def test_nothing_else_can_be_said_of_an_id_without_a_message(broker: str) -> None:
    Producer(ADDRESS, broker=broker).close()
    with pytest.raises(ServerRefusedError, match="BADREASON"):
        publish(Server(broker), (1, b"", b"patience"))


def test_what_was_declined_is_no_lag(broker: str) -> None:
    with Producer(ADDRESS, broker=broker) as producer, Consumer(ADDRESS, broker=broker, group="g"):
        for i in range(1, 300):
            producer.send(i, b"hit") if i == 7 else producer.decline(i)
        producer.finish()
    info = next(one for one in list_groups(Server(broker), ADDRESS) if one.name == "g")
    assert (info.lag_messages, info.lag_bytes) == (1, 3)


def test_the_newest_message_is_found_below_many_that_were_declined(broker: str) -> None:
    server = Server(broker)
    with Producer(ADDRESS, broker=broker) as producer:
        producer.send(1, b"hit").result(WAIT_S)
        for i in range(2, 102):
            publish(server, (i, b"", b"declined"))
        assert server.call("XLEN", KEYS.index) == 101
        with Consumer(ADDRESS, broker=broker) as consumer:
            assert consumer.newest(WAIT_S).message_id == 1


def test_the_commands_show_it_and_do_not_call_it_missing(broker: str) -> None:
    with Producer(ADDRESS, broker=broker, n_expected=10) as producer:
        for i in range(1, 11):
            producer.send(i, b"hit") if i == 4 else producer.decline(i)
        producer.finish()

    def stream(*arguments: str) -> str:
        command = [sys.executable, "-m", "beamstream.cli", "--broker", broker, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    receipt = json.loads(stream("receipt", str(ADDRESS), "--json"))
    assert (receipt["declined"], receipt["n_missing"], receipt["clean"]) == (9, 0, True)
    assert "declined    9" in stream("receipt", str(ADDRESS))
    row = json.loads(stream("ls", "bt/det", "--json"))
    assert (row[0]["declined"], row[0]["missing"]) == (9, 0)
