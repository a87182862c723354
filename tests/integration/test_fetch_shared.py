"""What the fetch service gives from shared memory: the bytes that were asked for or none, and no producer held up."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator

import pytest
import xxhash
import zmq

from beamstream import Address
from beamstream.dataset import Stored
from beamstream.fetch import ItemStatus, Reply, ReplyStatus, Request, decode_reply, encode_request, parse_endpoint
from beamstream.fetch.tier import FetchTier
from beamstream.location import Location
from beamstream.protocol import StreamKeys
from beamstream.shared.segment import HEAD_BYTES
from beamstream.testing.waiting import wait_until
from beamstream_broker.fetching import FetchService, fetch_service
from beamstream_broker.fetching.allowance import PINNED_SHARE, READER_LIMIT_REPLIES
from beamstream_broker.fetching.endpoint import LOOPBACK, parse_fetch
from beamstream_broker.sharing import Pool
from beamstream_broker.sharing.pool import Segment

ADDRESS = Address("bt", "det", "run")
MEMORY_BYTES = 128 << 20
PAYLOAD_BYTES = 2 << 20
N_SEGMENTS = 7
"""Of a little more than 8 MiB, four payloads; producers may have half of the memory."""


def payload(number: int, n_bytes: int = PAYLOAD_BYTES) -> bytes:
    return number.to_bytes(8, "big") * (n_bytes // 8)


@pytest.fixture
def pool() -> Iterator[Pool]:
    pool = Pool(MEMORY_BYTES)
    yield pool
    pool.close()


@pytest.fixture
def service(pool: Pool) -> Iterator[FetchService]:
    with fetch_service(None, parse_fetch(LOOPBACK), pool) as service:
        assert service is not None
        yield service


@pytest.fixture
def stranger(service: FetchService) -> Iterator[zmq.Socket[bytes]]:
    """A socket that sends what it likes, and takes nothing before it is asked to."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.rcvhwm = 1
        dealer.connect(service.address)
        yield dealer


def put(pool: Pool, numbers: range, n_bytes: int = PAYLOAD_BYTES) -> tuple[Segment, list[Stored]]:
    """Fill a segment with payloads."""
    segment, lock = pool.lend(ADDRESS, "life", PAYLOAD_BYTES, (), 0.0)
    stored = []
    for place, number in enumerate(numbers):
        offset = HEAD_BYTES + place * n_bytes
        segment.pages[offset : offset + n_bytes] = memoryview(payload(number, n_bytes))
        checksum = xxhash.xxh3_64_intdigest(payload(number, n_bytes))
        stored.append(Stored((number, checksum), Location(segment.number, segment.epoch, offset), n_bytes))
    os.close(lock)
    pool.take_back(segment.number, 0)
    return segment, stored


def ask(service: FetchService, dealer: zmq.Socket[bytes], wanted: list[Stored], request_id: int = 7) -> None:
    ticket = parse_endpoint(service.endpoint)[1]
    request = Request(request_id=request_id, ticket=ticket, address=ADDRESS, created_ns=1, wanted=wanted)
    dealer.send(encode_request(request))


def answer(dealer: zmq.Socket[bytes]) -> Reply:
    assert dealer.poll(30_000), "no answer"
    return decode_reply(dealer.recv_multipart())


def n_lent_again(pool: Pool, segments: list[Segment]) -> int:
    """Say that nothing in segments is wanted any more, and overwrite as many as can be."""
    pool.free(segments)
    for n in range(len(segments)):
        free = [one for one in segments if one.state.name == "FREE"]
        reused = pool.counts.n_reused
        segment, lock = pool.lend(ADDRESS, "other", PAYLOAD_BYTES, (), 0.0)
        os.close(lock)
        if pool.counts.n_reused == reused:
            assert segment not in free
            return n
        segment.pages[HEAD_BYTES:] = 0xEE
    return len(segments)


def test_payloads_come_from_shared_memory_and_let_it_go_again(pool: Pool, service: FetchService) -> None:
    segments, stored = zip(*(put(pool, range(4 * n, 4 * n + 4)) for n in range(3)), strict=True)
    wanted = [one for of_segment in stored for one in of_segment]
    tier = FetchTier(StreamKeys(ADDRESS), threading.Event())
    found = tier.fetch(service.endpoint, 1, wanted)
    wait_until(lambda: service.queued_bytes == 0)
    tier.close()
    assert n_lent_again(pool, list(segments)) == len(segments)
    assert [bytes(one or b"") for one in found] == [payload(n) for n in range(12)]
    assert (service.counts.n_shared, service.counts.n_copied) == (12, 0)


def test_wrong_places_never_give_other_bytes(pool: Pool, service: FetchService, stranger: zmq.Socket[bytes]) -> None:
    segment, (stored, _) = put(pool, range(2))
    number, epoch, offset = segment.number, segment.epoch, HEAD_BYTES
    places = [
        (Location(number, epoch + 1, offset), PAYLOAD_BYTES),
        (Location(number + 1, epoch, offset), PAYLOAD_BYTES),
        (Location(2**64 - 1, 2**32 - 1, offset), PAYLOAD_BYTES),
        (Location(number, epoch, 1), PAYLOAD_BYTES),
        (Location(number, epoch, offset), 2**32 - 1),
        (Location(number, epoch, 2**32 - 1), 2**32 - 1),
        (Location(number, epoch, segment.size_bytes), 1),
        (Location(number, epoch, segment.size_bytes - 1), 2),
    ]
    ask(service, stranger, [Stored(stored.payload_id, *place) for place in places])
    assert answer(stranger).items == [(ItemStatus.ABSENT, None)] * len(places)
    lies = [(Location(number, epoch, offset + 8), PAYLOAD_BYTES), (Location(number, epoch, offset), 0)]
    ask(service, stranger, [Stored(stored.payload_id, *place) for place in lies])
    reply = answer(stranger)
    assert reply.items == [(ItemStatus.DAMAGED, None)] * len(lies)
    assert "shared memory" in reply.reason
    ask(service, stranger, [stored])
    assert [bytes(part or b"") for _, part in answer(stranger).items] == [payload(0)]


def test_what_was_used_again_is_absent(pool: Pool, service: FetchService, stranger: zmq.Socket[bytes]) -> None:
    segment, stored = put(pool, range(1))
    assert n_lent_again(pool, [segment]) == 1
    ask(service, stranger, stored)
    assert answer(stranger).items == [(ItemStatus.ABSENT, None)]


def test_what_is_neither_in_memory_nor_on_disk_is_of_an_unknown_stream(
    service: FetchService, stranger: zmq.Socket[bytes]
) -> None:
    ask(service, stranger, [Stored((1, 1), None, 0)])
    assert answer(stranger).status is ReplyStatus.UNKNOWN_STREAM


def test_a_slow_reader_keeps_no_more_than_a_part_of_the_memory_from_its_producers(
    pool: Pool, service: FetchService, stranger: zmq.Socket[bytes]
) -> None:
    filled = [put(pool, range(n, n + 1)) for n in range(N_SEGMENTS)]
    segments = [segment for segment, _ in filled]
    n_held = int(PINNED_SHARE * MEMORY_BYTES) // segments[0].size_bytes
    ask(service, stranger, [one for _, stored in filled for one in stored])
    wait_until(lambda: service.counts.n_requests == 1)
    assert (service.counts.n_shared, service.counts.n_copied) == (N_SEGMENTS, N_SEGMENTS - n_held)
    assert n_lent_again(pool, segments) >= N_SEGMENTS - n_held > 0
    items = answer(stranger).items
    assert [bytes(part or b"") for _, part in items] == [payload(n) for n in range(N_SEGMENTS)]


def test_a_small_last_payload_does_not_hide_the_large_ones_before_it(
    pool: Pool, service: FetchService, stranger: zmq.Socket[bytes]
) -> None:
    _, large = put(pool, range(4))
    _, small = put(pool, range(4, 5), n_bytes=16 << 10)
    for request_id in range(2 * READER_LIMIT_REPLIES):
        ask(service, stranger, large + small, request_id)
    wait_until(lambda: service.counts.n_busy > 0)
    assert service.queued_bytes > 4 * PAYLOAD_BYTES
    expected = [*(payload(n) for n in range(4)), payload(4, 16 << 10)]
    for _ in range(2 * READER_LIMIT_REPLIES):
        for (status, part), right in zip(answer(stranger).items, expected, strict=False):
            assert (status is ItemStatus.HERE and bytes(part or b"") == right) or status is ItemStatus.LATER
    wait_until(lambda: service.queued_bytes == 0)
