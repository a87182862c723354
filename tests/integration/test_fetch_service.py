"""The fetch service's socket against everything that is not a well-behaved reader: it says so, and goes on."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import xxhash
import zmq

from beamstream import Address
from beamstream.dataset import Stored
from beamstream.errors import FetchRefusedError, FetchUnavailableError
from beamstream.fetch import (
    MAX_ITEMS,
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    TICKET_BYTES,
    ItemStatus,
    Reply,
    ReplyStatus,
    Request,
    decode_reply,
    encode_request,
    parse_endpoint,
)
from beamstream.fetch.connection import FetchConnection
from beamstream.fetch.tier import FetchTier
from beamstream.frame import Header
from beamstream.protocol import StreamKeys
from beamstream.protocol.entry import encode_header
from beamstream.segments import StreamWriter, record_of_entry, stream_folder
from beamstream.testing.ports import free_port
from beamstream.testing.waiting import wait_until
from beamstream_broker.errors import FetchEndpointError
from beamstream_broker.fetching import FetchService
from beamstream_broker.fetching.allowance import READER_LIMIT_BYTES
from beamstream_broker.fetching.endpoint import LOOPBACK, parse_fetch

ADDRESS = Address("bt", "det", "run")
CREATED_NS = 1_700_000_000_000_000_000
N_MESSAGES = 12
PAYLOAD_BYTES = 8 << 20


def payload(message_id: int) -> bytes:
    return message_id.to_bytes(8, "big") * (PAYLOAD_BYTES // 8)


WANTED = [Stored((n, xxhash.xxh3_64_intdigest(payload(n))), None, 0) for n in range(1, N_MESSAGES + 1)]
PAYLOADS = [payload(n) for n in range(1, N_MESSAGES + 1)]


def write_stream(root: Path, address: Address, created_ns: int, n_messages: int) -> Path:
    folder = stream_folder(root, address)
    with StreamWriter(folder, address) as writer:
        writer.set_state({b"created_ns": b"%d" % created_ns})
        for (number, checksum), _, _ in WANTED[:n_messages]:
            header = encode_header(Header(payload_bytes=PAYLOAD_BYTES, checksum=checksum, timestamp_ns=number))
            fields = {b"h": header, b"b": b"%d" % (number * PAYLOAD_BYTES), b"n": b"%d" % number}
            writer.append_all([record_of_entry(b"%d-0" % number, fields, payload(number))])
    return folder


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("spill")
    write_stream(root, ADDRESS, CREATED_NS, N_MESSAGES)
    return root


@pytest.fixture
def service(root: Path) -> Iterator[FetchService]:
    where = parse_fetch(LOOPBACK)
    assert where is not None
    service = FetchService(root, where)
    yield service
    service.close()


@pytest.fixture
def stranger(service: FetchService) -> Iterator[zmq.Socket[bytes]]:
    """A socket that sends what it likes."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        dealer.rcvhwm = 1
        dealer.connect(service.address)
        yield dealer


def request(service: FetchService, **changes: object) -> Request:
    fields: dict[str, object] = {
        "request_id": 7,
        "ticket": parse_endpoint(service.endpoint)[1],
        "address": ADDRESS,
        "created_ns": CREATED_NS,
        "wanted": WANTED[:1],
    }
    return Request(**(fields | changes))  # type: ignore[arg-type]


def ask(dealer: zmq.Socket[bytes], *parts: bytes) -> Reply:
    dealer.send_multipart(parts)
    assert dealer.poll(30_000), "no answer"
    return decode_reply(dealer.recv_multipart())


def fetch(service: FetchService, wanted: list[Stored] = WANTED) -> list[object]:
    """Fetch as a consumer does."""
    tier = FetchTier(StreamKeys(ADDRESS), threading.Event())
    try:
        return [None if one is None else bytes(one) for one in tier.fetch(service.endpoint, CREATED_NS, wanted)]
    finally:
        tier.close()


def goes_on(service: FetchService) -> None:
    assert fetch(service, WANTED[:2]) == [payload(1), payload(2)]


def test_more_than_one_reply_holds_comes_in_several(service: FetchService) -> None:
    assert N_MESSAGES * PAYLOAD_BYTES > 2 * MAX_REPLY_BYTES
    assert fetch(service) == PAYLOADS
    wait_until(lambda: service.queued_bytes == 0)


def test_what_is_not_there_is_said_to_be_absent(service: FetchService) -> None:
    assert fetch(service, [Stored((99, 1), None, 0), WANTED[0]]) == [None, payload(1)]
    assert service.counts.n_absent == 1


def test_another_payload_than_the_wanted_one_is_not_given(service: FetchService, stranger: zmq.Socket[bytes]) -> None:
    reply = ask(stranger, encode_request(request(service, wanted=[Stored((1, 1), None, 0)])))
    assert reply.items == [(ItemStatus.DAMAGED, None)]
    assert "XXH3" in reply.reason


def test_a_reply_that_would_be_too_long_leaves_the_rest_for_later(
    service: FetchService, stranger: zmq.Socket[bytes]
) -> None:
    reply = ask(stranger, encode_request(request(service, wanted=WANTED)))
    n_here = MAX_REPLY_BYTES // PAYLOAD_BYTES
    assert [status for status, _ in reply.items] == [ItemStatus.HERE] * n_here + [ItemStatus.LATER] * (
        N_MESSAGES - n_here
    )


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"ticket": bytes(TICKET_BYTES)}, ReplyStatus.WRONG_TICKET),
        ({"created_ns": CREATED_NS + 1}, ReplyStatus.UNKNOWN_STREAM),
        ({"address": Address("bt", "det", "other")}, ReplyStatus.UNKNOWN_STREAM),
        ({"address": Address("bt", "det", "run_2")}, ReplyStatus.UNKNOWN_STREAM),
    ],
)
def test_requests_for_what_is_not_theirs_are_refused(
    service: FetchService, stranger: zmq.Socket[bytes], changes: dict[str, object], status: ReplyStatus
) -> None:
    reply = ask(stranger, encode_request(request(service, **changes)))
    assert (reply.request_id, reply.status, reply.items) == (7, status, [])
    assert service.counts.n_refused == 1
    goes_on(service)


def hostile(service: FetchService) -> Iterator[tuple[bytes, ...]]:
    good = encode_request(request(service))
    begin = len(good) - 38 - len(str(ADDRESS))
    yield (b"",)
    yield (b"", good)
    yield (good, good)
    yield (b"GET / HTTP/1.1\r\n\r\n",)
    yield (os.urandom(MAX_REQUEST_BYTES),)
    yield (good[:3] + b"\x09" + good[4:],)
    for path in (b"../../../a", b"/etc/pass/", b"bt/det/..\0", b"bt/../run/", b"bt/det/\xff\xff\xff"):
        yield (good[:begin] + path + good[begin + 10 :],)
    for n_items in (0, 2, MAX_ITEMS + 1, 65535):
        yield (good[: begin - 2] + struct.pack(">H", n_items) + good[begin:],)
    yield (good[: begin - 4] + b"\xff\xff" + good[begin - 2 :],)


def test_requests_that_make_no_sense_are_answered_counted_and_survived(
    service: FetchService, stranger: zmq.Socket[bytes]
) -> None:
    corpus = list(hostile(service))
    for parts in corpus:
        assert ask(stranger, *parts).status in (ReplyStatus.MALFORMED, ReplyStatus.UNKNOWN_VERSION)
    assert service.counts.n_refused == len(corpus)
    goes_on(service)


def test_a_request_beyond_the_limit_ends_the_connection_before_it_is_held(service: FetchService) -> None:
    with zmq.Context() as context, context.socket(zmq.DEALER) as dealer:
        dealer.linger = 0
        monitor = dealer.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        dealer.connect(service.address)
        dealer.send(bytes(MAX_REQUEST_BYTES + 1))
        assert monitor.poll(30_000), "the connection stayed"
        dealer.disable_monitor()
        monitor.close(0)
    assert service.counts.n_requests == service.counts.n_refused == 0
    goes_on(service)


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n" * 10, b"\xff" + bytes(8) + b"\x7f\x03\x00" + bytes(99)])
def test_a_connection_that_speaks_no_zeromq_is_counted_and_survived(service: FetchService, garbage: bytes) -> None:
    _, _, port = service.address.rpartition(":")
    with socket.create_connection(("127.0.0.1", int(port))) as connection:
        connection.sendall(garbage)
        with contextlib.suppress(OSError):  # it may be closed already
            connection.shutdown(socket.SHUT_WR)
        wait_until(lambda: service.counts.n_garbage > 0)
    goes_on(service)


def test_a_reader_that_takes_nothing_holds_no_more_than_its_share_and_nobody_up(
    service: FetchService, stranger: zmq.Socket[bytes]
) -> None:
    seen = []
    for number in range(60):
        stranger.send(encode_request(request(service, request_id=number, wanted=[WANTED[number % N_MESSAGES]])))
    wait_until(lambda: seen.append(service.queued_bytes) or service.counts.n_busy > 10)  # type: ignore[func-returns-value]
    assert 0 < max(seen) <= READER_LIMIT_BYTES
    assert fetch(service) == PAYLOADS
    stranger.close(0)
    wait_until(lambda: service.queued_bytes == 0)


def test_a_folder_that_is_a_link_to_somewhere_else_is_not_served(
    service: FetchService, stranger: zmq.Socket[bytes], root: Path, tmp_path: Path
) -> None:
    secret = Address("bt", "det", "secret")
    elsewhere = write_stream(tmp_path, secret, CREATED_NS, 1)
    link = stream_folder(root, secret)
    link.symlink_to(elsewhere)
    assert ask(stranger, encode_request(request(service, address=secret))).status is ReplyStatus.UNKNOWN_STREAM
    link.unlink()


def test_a_stream_whose_name_came_again_is_told_from_the_first_one(
    service: FetchService, stranger: zmq.Socket[bytes], root: Path
) -> None:
    again = Address("bt", "det", "again")
    write_stream(root, again, 1, 1)
    second = stream_folder(root, again).with_name("again_2")
    write_stream(root / "x", again, 2, 2)
    stream_folder(root / "x", again).rename(second)
    wanted = [WANTED[1]]
    first = ask(stranger, encode_request(request(service, address=again, created_ns=1, wanted=wanted)))
    later = ask(stranger, encode_request(request(service, address=again, created_ns=2, wanted=wanted)))
    assert [status for status, _ in first.items] == [ItemStatus.ABSENT]
    assert [(status, bytes(data or b"")) for status, data in later.items] == [(ItemStatus.HERE, payload(2))]


def test_readers_are_told_at_once_when_nobody_listens_or_the_wrong_one(service: FetchService, root: Path) -> None:
    port = free_port()
    tier = FetchTier(StreamKeys(ADDRESS), threading.Event())
    with pytest.raises(FetchUnavailableError, match="refused"):
        tier.fetch(f"tcp://127.0.0.1:{port}#{'0' * 32}", CREATED_NS, WANTED)
    with pytest.raises(FetchUnavailableError, match="another broker"):
        tier.fetch(f"{service.address}#{'0' * 32}", CREATED_NS, WANTED)
    with pytest.raises(FetchUnavailableError, match="nobody serves"):
        tier.fetch("", CREATED_NS, WANTED)


def test_a_reader_of_a_later_version_is_refused_and_not_kept_waiting() -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        port = router.bind_to_random_port("tcp://127.0.0.1")
        connection = FetchConnection(f"tcp://127.0.0.1:{port}", bytes(TICKET_BYTES), threading.Event())

        def refuse() -> None:
            reader, _ = router.recv_multipart()
            router.send_multipart([reader, b"bsf\x02" + bytes(7) + b"\x01\x01\x00\x03\x00\x00old"])

        thread = threading.Thread(target=refuse)
        thread.start()
        with pytest.raises(FetchRefusedError, match="old"):
            connection.ask(ADDRESS, CREATED_NS, [WANTED])
        thread.join()
        connection.close()


def test_a_port_that_is_taken_is_named(service: FetchService, root: Path) -> None:
    where = parse_fetch(service.address)
    assert where is not None
    with pytest.raises(FetchEndpointError, match=service.address):
        FetchService(root, where)
