"""What replies may hold: for one reader, for all, and the payload that is larger than every limit."""

from __future__ import annotations

from dataclasses import dataclass

from beamstream.fetch import MAX_REPLY_BYTES
from beamstream_broker.fetching.allowance import LIMIT_BYTES, READER_LIMIT_BYTES, READER_LIMIT_REPLIES, Allowance


@dataclass
class Sent:
    done: bool = False


def test_one_reader_that_takes_nothing_gets_so_much_and_no_more() -> None:
    allowance, n = Allowance(), 0
    while (room := allowance.room(b"slow")).left_bytes > 0:
        assert room.take(room.left_bytes)
        allowance.add(b"slow", Sent(), room)
        n += 1
    assert n == 2
    assert allowance.queued_bytes == READER_LIMIT_BYTES
    assert allowance.room(b"other").left_bytes == MAX_REPLY_BYTES


def test_all_readers_together_get_so_much_and_no_more() -> None:
    allowance = Allowance()
    for number in range(100):
        room = allowance.room(b"%d" % number)
        if room.left_bytes > 0 and room.take(room.left_bytes):
            allowance.add(b"%d" % number, Sent(), room)
    assert allowance.queued_bytes == LIMIT_BYTES


def test_many_small_replies_are_counted_too() -> None:
    allowance = Allowance()
    for _ in range(READER_LIMIT_REPLIES):
        room = allowance.room(b"slow")
        assert room.take(1)
        allowance.add(b"slow", Sent(), room)
    assert allowance.room(b"slow").left_bytes == 0


def test_what_was_taken_makes_room_again() -> None:
    allowance, sent = Allowance(), Sent()
    for _ in range(2):
        room = allowance.room(b"reader")
        assert room.take(MAX_REPLY_BYTES)
        allowance.add(b"reader", sent, room)
    assert allowance.room(b"reader").left_bytes == 0
    sent.done = True
    allowance.settle()
    assert allowance.room(b"reader").left_bytes == MAX_REPLY_BYTES
    assert allowance.queued_bytes == 0


def test_a_payload_beyond_every_limit_goes_alone() -> None:
    allowance, sent = Allowance(), Sent()
    room = allowance.room(b"reader")
    assert room.take(2 * LIMIT_BYTES)
    assert not room.take(1)
    allowance.add(b"reader", sent, room)
    assert not allowance.room(b"other").take(1)


def test_replies_hold_a_part_of_shared_memory_and_no_more_and_no_segment_counts_twice() -> None:
    allowance, sent = Allowance(), Sent()
    first = allowance.room(b"one", 400)
    assert first.pin(1, 60)
    assert first.pin(1, 60)
    assert not first.pin(2, 60)
    allowance.add(b"one", sent, first)
    second = allowance.room(b"two", 400)
    assert second.pin(1, 60)
    assert not second.pin(2, 60)
    assert second.pin(3, 40)
    sent.done = True
    allowance.settle()
    assert allowance.room(b"two", 400).pin(2, 100)


def test_without_shared_memory_nothing_is_held() -> None:
    assert not Allowance().room(b"reader").pin(1, 1)
