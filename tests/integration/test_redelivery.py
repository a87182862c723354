"""Redelivery against a real server: not early, in order of what is due, counted right, whoever is killed."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from beamstream import Address, Consumer, Frame, Producer
from beamstream.consumer.feed import SERVER_TICK_S
from beamstream.consumer.group import GroupMember
from beamstream.errors import NothingNewError, StreamFinishedError, UsageError
from beamstream.groups import change_group, group_info, list_dead_letters
from beamstream.groups.listing import server_time_s
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server

ADDRESS = Address("bt", "det", "run")
KEYS = StreamKeys(ADDRESS)
N_MESSAGES = 20


@pytest.fixture
def finished(broker: str) -> str:
    """A finished stream of small messages."""
    with Producer(ADDRESS, broker=broker) as producer:
        for message_id in range(1, N_MESSAGES + 1):
            producer.send(message_id, b"%d" % message_id)
        producer.finish()
    return broker


def drain(consumer: Consumer, *, timeout_s: float = 0.3) -> list[Frame]:
    """Take and acknowledge what is there now."""
    frames = []
    while True:
        try:
            frames.append(consumer.next(timeout_s))
        except (NothingNewError, StreamFinishedError):
            return frames
        consumer.acknowledge(frames[-1])


def test_a_loop_that_gives_a_message_back_and_goes_on_gets_it_again(finished: str) -> None:
    seen: list[int] = []
    with Consumer(ADDRESS, broker=finished, group="g") as consumer:
        for frame in consumer:
            seen.append(frame.message_id)
            if seen.count(frame.message_id) < 3 and frame.message_id in (3, N_MESSAGES):
                consumer.negative_acknowledge(frame, 0)
        consumer.flush()
        assert sorted(seen) == sorted([*range(1, N_MESSAGES + 1), 3, 3, N_MESSAGES, N_MESSAGES])
        assert group_info(Server(finished), ADDRESS, "g").n_pending == 0


def test_a_message_never_comes_before_it_is_due_and_the_earlier_one_comes_first(finished: str) -> None:
    server = Server(finished)
    delays_s = {1: 0.9, 2: 0.3, 3: 0.6}
    with Consumer(ADDRESS, broker=finished, group="g") as consumer:
        given_back_s = {}
        for message_id, delay_s in delays_s.items():
            frame = consumer.next(10)
            given_back_s[message_id] = server_time_s(server)
            consumer.negative_acknowledge(frame, delay_s)
        assert [frame.message_id for frame in drain(consumer, timeout_s=0.1)][:1] == [4]
        again = []
        for _ in delays_s:
            frame = consumer.next(10)
            waited_s = server_time_s(server) - given_back_s[frame.message_id]
            assert waited_s >= delays_s[frame.message_id] - 0.001, "the server counts in whole milliseconds"
            assert frame.n_deliveries == 2
            consumer.acknowledge(frame)
            again.append(frame.message_id)
    assert again == [2, 3, 1]


def test_a_delay_longer_than_the_member_timeout_is_kept(finished: str) -> None:
    server = Server(finished)
    with (
        Consumer(ADDRESS, broker=finished, group="g", member_timeout_s=0.2) as one,
        Consumer(ADDRESS, broker=finished, group="g", member_timeout_s=0.2) as two,
    ):
        frame = one.next(10)
        given_back_s = server_time_s(server)
        one.negative_acknowledge(frame, 1.5)
        again = []
        while not again:
            again = [f for consumer in (one, two) for f in drain(consumer, timeout_s=0.05) if f.n_deliveries > 1]
        assert [f.message_id for f in again] == [frame.message_id]
        assert server_time_s(server) - given_back_s >= 1.499
        info = group_info(server, ADDRESS, "g")
    assert (info.n_delayed, info.n_redelivered) == (0, 1)


def test_the_delays_of_the_group_follow_one_another_and_can_be_changed(finished: str) -> None:
    server = Server(finished)
    with Consumer(
        ADDRESS, broker=finished, group="g", start=N_MESSAGES, max_attempts=9, redelivery_delays_s=[0.05, 0.4]
    ) as consumer:
        for delay_s in (0.05, 0.4, 0.4, 0.2):
            if delay_s == 0.2:
                change_group(server, ADDRESS, "g", delays_s=[0.2])
            frame = consumer.next(10)
            before_s = server_time_s(server)
            consumer.negative_acknowledge(frame)
            after_s = server_time_s(server)
            due_s = int(server.call("ZSCORE", KEYS.delayed("g"), frame.entry_id)) / 1000
            assert before_s - 0.001 <= due_s - delay_s <= after_s
    with Consumer(ADDRESS, broker=finished, group="g", max_attempts=1, redelivery_delays_s=[7]):
        info = group_info(server, ADDRESS, "g")
    assert (info.max_attempts, list(info.delays_s)) == (9, [0.2]), "a later member does not change the group"


def test_a_group_that_waits_for_a_due_time_asks_the_server_some_ten_times_a_second(finished: str) -> None:
    server = Server(finished)
    with Consumer(ADDRESS, broker=finished, group="g", start=N_MESSAGES) as consumer:
        consumer.negative_acknowledge(consumer.next(10), 1.5)
        server.call("CONFIG", "RESETSTAT")
        begun_s = server_time_s(server)
        consumer.acknowledge(consumer.next(10))
        elapsed_s = server_time_s(server) - begun_s
        stats = server.call("INFO", "commandstats").decode()
    n_scripts = int(stats.partition("cmdstat_evalsha:calls=")[2].partition(",")[0])
    # A look at most every 0.08 s, one at the due time, and the handing out.
    assert n_scripts <= elapsed_s / 0.08 + 4
    assert elapsed_s > SERVER_TICK_S


GIVES_BACK = """
import sys
from beamstream import Consumer
with Consumer(sys.argv[1], broker=sys.argv[2], group="g", prefetch_messages=1) as consumer:
    consumer.negative_acknowledge(consumer.next(10), 0.5)
    print("given back", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_member_had_given_back_comes_when_it_is_due(finished: str) -> None:
    child = _start(GIVES_BACK, finished)
    assert child.stdout is not None
    assert child.stdout.readline() == "given back\n"
    _kill(child)
    with Consumer(ADDRESS, broker=finished, group="g", member_timeout_s=0.5) as consumer:
        frames = list(consumer)
    deliveries = {frame.message_id: frame.n_deliveries for frame in frames}
    assert sorted(frame.message_id for frame in frames) == list(range(1, N_MESSAGES + 1))
    assert deliveries[1] == 2


def test_what_is_lost_from_the_delayed_ones_is_found_by_the_claim_of_silent_messages(finished: str) -> None:
    with Consumer(ADDRESS, broker=finished, group="g", member_timeout_s=0.3) as consumer:
        consumer.negative_acknowledge(consumer.next(10), 3600)
        Server(finished).call("DEL", KEYS.delayed("g"))
        assert sorted(frame.message_id for frame in consumer) == list(range(1, N_MESSAGES + 1))


def test_the_end_that_a_killed_member_had_read_and_not_yet_settled_ends_the_stream_for_others(finished: str) -> None:
    server = Server(finished)
    killed = GroupMember(server, KEYS, "g", "killed")
    killed.join("0-0", required=False)
    assert len(killed.read(N_MESSAGES + 1, 0)) == N_MESSAGES + 1
    with Consumer(ADDRESS, broker=finished, group="g", member_timeout_s=0.3) as consumer:
        assert sorted(frame.message_id for frame in consumer) == list(range(1, N_MESSAGES + 1))
    assert group_info(server, ADDRESS, "g").n_pending == 0


POISONED = """
import os, signal, sys
from beamstream import Consumer
with Consumer(sys.argv[1], broker=sys.argv[2], group="g", member_timeout_s=0.3, max_attempts=3) as consumer:
    for frame in consumer:
        if frame.message_id == 5:
            consumer.flush()
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_message_that_kills_its_members_is_given_up_and_those_fetched_with_it_are_not(finished: str) -> None:
    for _ in range(3):
        child = _start(POISONED, finished)
        assert child.wait(60) < 0
        _kill(child)
        # The successor is to find all of it silent for long enough: the poisoned one was touched last, and comes first.
        _wait_for_silence(finished, 300, N_MESSAGES - 4)
    with Consumer(ADDRESS, broker=finished, group="g", member_timeout_s=0.3) as consumer:
        rest = sorted(frame.message_id for frame in consumer)
        assert consumer.counts.n_dead == 1
    letters = list_dead_letters(Server(finished), ADDRESS, "g")
    assert [(letter.message_id, letter.n_deliveries) for letter in letters] == [(5, 3)]
    assert rest == list(range(6, N_MESSAGES + 1)), "fetched ahead three times, handed out never"


def _wait_for_silence(url: str, for_ms: int, n_messages: int) -> None:
    """Wait until nobody has touched so many pending messages for so long."""
    server, give_up = Server(url), time.monotonic() + 30
    silent: list[Any] = []
    while len(silent) < n_messages:
        assert time.monotonic() < give_up, silent
        time.sleep(0.02)
        silent = server.call("XPENDING", KEYS.index, "g", "IDLE", for_ms, "-", "+", 100)


def test_what_was_fetched_ahead_and_never_handed_out_does_not_count_as_delivered(finished: str) -> None:
    for _ in range(3):
        with Consumer(ADDRESS, broker=finished, group="g") as consumer:
            consumer.acknowledge(consumer.next(10))
    with Consumer(ADDRESS, broker=finished, group="g") as consumer:
        assert {frame.n_deliveries for frame in consumer} == {1}


def test_two_members_never_get_the_same_due_message(finished: str) -> None:
    got: list[list[int]] = [[], []]
    both_read = threading.Barrier(2)

    def read(member: int) -> None:
        with Consumer(ADDRESS, broker=finished, group="g", prefetch_messages=1) as consumer:
            frame = consumer.next(10)
            both_read.wait(30)
            consumer.negative_acknowledge(frame, 0.2)
            while (frame := _next_or_none(consumer)) is not None:
                if frame.n_deliveries == 1:
                    consumer.negative_acknowledge(frame, 0.1)
                else:
                    consumer.acknowledge(frame)
                    got[member].append(frame.message_id)

    threads = [threading.Thread(target=read, args=(member,)) for member in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(got[0] + got[1]) == list(range(1, N_MESSAGES + 1))


def _next_or_none(consumer: Consumer) -> Frame | None:
    try:
        return consumer.next(30)
    except StreamFinishedError:
        return None


def test_a_member_that_was_silent_for_too_long_takes_nothing_back_from_the_one_that_has_it(finished: str) -> None:
    server = Server(finished)
    with (
        Consumer(ADDRESS, broker=finished, group="g", prefetch_messages=1, start=N_MESSAGES) as silent,
        Consumer(ADDRESS, broker=finished, group="g", start=N_MESSAGES) as other,
    ):
        frame = silent.next(10)
        # As if it had been silent for longer than the timeout.
        server.call("XCLAIM", KEYS.index, "g", silent.member, 0, frame.entry_id, "IDLE", 60_000, "JUSTID")
        taken = other.next(10)
        assert (taken.message_id, taken.n_deliveries) == (frame.message_id, 2)
        assert silent._member is not None
        silent._member.touch()
        silent.negative_acknowledge(frame, 0)
        owner = server.call("XPENDING", KEYS.index, "g", "-", "+", 1)[0][1].decode()
        assert owner == other.member
        assert silent._member.held() == set()


@pytest.mark.parametrize("delay_s", [-1, float("nan"), 1e9])
def test_a_delay_that_is_none_is_misuse(finished: str, delay_s: float) -> None:
    with Consumer(ADDRESS, broker=finished, group="g") as consumer:
        frame = consumer.next(10)
        with pytest.raises(UsageError, match="delay"):
            consumer.negative_acknowledge(frame, delay_s)


def _start(program: str, broker: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, str(ADDRESS), broker],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def _kill(child: subprocess.Popen[str]) -> None:
    child.kill()
    child.wait()
    for pipe in (child.stdin, child.stdout):
        assert pipe is not None
        pipe.close()
