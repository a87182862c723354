"""The bridge's own server on one side, the conformance suite and the broker's loop on the other."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Iterator

import msgpack
import numpy as np
import pytest
import zmq

import beamstream_karabo
from beamstream import codecs
from beamstream.errors import UsageError
from beamstream.service import Event, Produced, StreamClosed, StreamOpened
from beamstream.stop import Stop
from beamstream.testing import SourceConformance
from beamstream_karabo import (
    HELD_TRAINS,
    MAX_AHEAD,
    BridgeSocket,
    KaraboSource,
    Runs,
    TrainError,
    check_run,
    parse_train,
)

karabo_bridge = pytest.importorskip("karabo_bridge")
from karabo_bridge.serializer import serialize  # noqa: E402
from karabo_bridge.server import ServerInThread  # noqa: E402

FIRST = 10_000_000_000
DETECTOR, MOTOR = "SPB_DET_AGIPD1M-1/DET/0CH0:xtdf", "SPB/MOTOR/X"
TIMES = {"timestamp.sec": "1585926035", "timestamp.frac": "709842200000000000"}


def train(train_id: int) -> tuple[dict, dict]:
    """Return data and metadata of a train, as `ServerInThread.feed` takes them."""
    image = np.full((2, 4, 3), (train_id - FIRST) % 1000, "<u2")
    data = {
        DETECTOR: {"image.data": image, "image.pulseId": np.arange(3, dtype="u8"), "passport": ["a", "b"]},
        MOTOR: {"position": 1.5, "moving": False},
    }
    return data, {source: {"source": source, "timestamp.tid": train_id, **TIMES} for source in data}


def parts_of(train_id: int) -> list[bytes]:
    return [bytes(part) for part in serialize(*train(train_id))]


def hostile_trains() -> dict[str, list[bytes]]:
    """Return messages that have to be refused, by what is wrong with them."""
    good = parts_of(FIRST)
    header = msgpack.packb({"source": "s", "content": "msgpack", "metadata": {"timestamp.tid": FIRST}})

    def one(content: bytes, **fields: object) -> list[bytes]:
        return [header, b"\x80", msgpack.packb({"source": "s", "content": "array", "path": "k"} | fields), content]

    def from_train(train_id: object) -> list[bytes]:
        return [msgpack.packb({"source": "s", "content": "msgpack", "metadata": {"timestamp.tid": train_id}}), b"\x80"]

    return {
        "nothing": [b""],
        "an error of the server": [b"Error: bad request hello"],
        "protocol 1.0": [msgpack.packb({"s": {"metadata": {"timestamp.tid": FIRST}}})],
        "a part too few": good[:-1],
        "header and content swapped": good[::-1],
        "ten thousand parts": [header, b"\x80"] * 5000,
        "an array before its source": good[-2:],
        "no msgpack": [b"\xc1", b"\x80"],
        "msgpack that breaks off": [header[:-3], b"\x80"],
        "msgpack with more behind it": [header + b"\x80", b"\x80"],
        "msgpack nested without end": [header, b"\x91" * 100_000],
        "a map of 2^32": [header, b"\xdf\xff\xff\xff\xff"],
        "a list of 2^32": [header, b"\x81\xa1k\xdd\xff\xff\xff\xff"],
        "bytes of 2^32": [header, b"\x81\xa1k\xc6\xff\xff\xff\xff"],
        "text that is none": [header, b"\x81\xa1k\xa2\xff\xfe"],
        "a list as properties": [header, b"\x93\x01\x02\x03"],
        "a map as key": [header, b"\x81\x80\x01"],
        "five megabytes of properties": [header, msgpack.packb({"k": bytes(5 << 20)})],
        "a header of a megabyte": [msgpack.packb({"source": "s" * 2**20}), b"\x80"],
        "a source of numbers": [msgpack.packb({"source": 7, "content": "msgpack"}), b"\x80"],
        "content of no kind": [msgpack.packb({"source": "s", "content": "pickle"}), b"\x80"],
        "no train id": from_train(None),
        "a train id of text": from_train("7"),
        "a train id below nothing": from_train(-1),
        "a train id of 2^63": from_train(2**63),
        "a train id true": from_train(True),
        "an array of objects": one(bytes(8), dtype="O", shape=[1]),
        "an array of records": one(bytes(8), dtype="i4,i4", shape=[1]),
        "an array of long doubles": one(bytes(16), dtype="g", shape=[1]),
        "an array without type": one(bytes(8), shape=[1]),
        "an array without shape": one(bytes(8), dtype="u1"),
        "an array of 2^62 elements": one(bytes(8), dtype="u1", shape=[2**31, 2**31]),
        "an array with negative axes": one(bytes(8), dtype="u1", shape=[-2, -4]),
        "an array with an axis of NaN": one(bytes(8), dtype="u1", shape=[float("nan")]),
        "an array of a hundred axes": one(bytes(1), dtype="u1", shape=[1] * 100),
        "an array of too few bytes": one(bytes(7), dtype="u1", shape=[8]),
        "an array of no name": one(bytes(8), dtype="u1", shape=[8], path=""),
        "floating numbers": [struct.pack(">d", 1.0)] * 2,
    }


class TestKaraboSource(SourceConformance):
    """With the server of the karabo-bridge package, and its good trains; the hostile ones come from a plain socket."""

    settle_s = 0.2
    server: ServerInThread | None = None
    kinds = ("REP", "REQ")

    @pytest.fixture(autouse=True)
    def _end_server(self) -> Iterator[None]:
        self.next_train = itertools.count(FIRST)
        yield
        self.stop_server()

    def stop_server(self) -> None:
        if self.server is not None:
            self.server.stop()

    def make_source(self) -> KaraboSource:
        self.stop_server()
        self.server = ServerInThread("tcp://127.0.0.1:*", sock=self.kinds[0])
        self.server.start()
        return KaraboSource(self.server.endpoint, self.kinds[1])

    def feed(self) -> None:
        for train_id in itertools.islice(self.next_train, 4):
            self.server.feed(*train(train_id), timeout=10)


class TestPushedTrains(TestKaraboSource):
    kinds = ("PUSH", "PULL")


class TestHostileTrains(SourceConformance):
    settle_s = 0.2

    @pytest.fixture(autouse=True)
    def _context(self) -> Iterator[None]:
        self.next_train = itertools.count(FIRST)
        self.socket = None
        with zmq.Context() as self.context:
            yield
            self.socket.close()

    def make_source(self) -> KaraboSource:
        if self.socket is not None:
            self.socket.close()
        self.socket = self.context.socket(zmq.PUSH)
        self.socket.linger, self.socket.sndhwm, self.socket.sndtimeo = 0, 0, 10_000
        return KaraboSource(f"tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}", "PULL")

    def feed(self) -> None:
        for train_id in itertools.islice(self.next_train, 3):
            self.socket.send_multipart(parts_of(train_id))

    def feed_hostile(self) -> None:
        for parts in hostile_trains().values():
            self.socket.send_multipart(parts)


# --- bytes in, items out ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", hostile_trains())
def test_what_cannot_be_meant_is_refused(name: str) -> None:
    with pytest.raises(TrainError):
        parse_train(hostile_trains()[name])


def test_a_train_becomes_its_arrays_and_properties_untouched() -> None:
    data, metadata = train(FIRST + 7)
    parts = serialize(data, metadata)
    items = {(item.source, item.key): item for item in parse_train([bytes(part) for part in parts])}
    assert set(items) == {(DETECTOR, ""), (DETECTOR, "image.data"), (DETECTOR, "image.pulseId"), (MOTOR, "")}
    image = items[DETECTOR, "image.data"]
    assert (image.shape, image.dtype, image.train_id) == ((2, 4, 3), "<u2", FIRST + 7)
    assert image.timestamp_ns == 1585926035_709842200
    assert np.array_equal(
        codecs.decode(image.payload, "none", image.shape, np.dtype(image.dtype)), np.full((2, 4, 3), 7)
    )
    assert items[MOTOR, ""].metadata == {"position": 1.5, "moving": False, "train_id": FIRST + 7}
    assert msgpack.unpackb(items[DETECTOR, ""].payload) == {"passport": ["a", "b"]}


def test_a_single_value_has_one_axis_and_an_empty_array_is_counted() -> None:
    data = {"s": {"value": np.array(5, "u4"), "none": np.zeros((0, 3))}}
    runs = Runs()
    events = list(runs.take(parse_train([bytes(p) for p in serialize(data, {"s": {"timestamp.tid": 1}})])))
    assert [(one.shape, one.dtype) for one in events if isinstance(one, Produced)] == [((1,), "<u4")]
    assert runs.counts["arrays_empty"] == 1


# --- items in, events out --------------------------------------------------------------------------------------------


def told(runs: Runs, *train_ids: int) -> list[tuple]:
    """Return what the detector's images become."""
    events = [event for train_id in train_ids for event in runs.take(parse_train(parts_of(train_id)))]
    return [row(event) for event in [*events, *runs.end()]]


def row(event: Event) -> tuple:
    match event:
        case StreamOpened():
            return "opened", event.stream
        case Produced():
            return event.stream, event.message_id
        case StreamClosed():
            return "closed", event.last_id, event.reason
    raise AssertionError(event)


def test_trains_count_from_the_first_and_all_streams_end_with_the_last() -> None:
    name = f"run_{FIRST}.SPB_DET_AGIPD1M-1_DET_0CH0_xtdf.image.data"
    assert told(Runs(select=["*:image.data"]), FIRST, FIRST + 1, FIRST + 4) == [
        ("opened", name), (name, 1), (name, 2), (name, 5), ("closed", 5, "complete"),
    ]  # fmt: skip


def test_a_train_that_comes_again_is_counted_once() -> None:
    runs = Runs(select=["*:image.data"])
    assert [one[1] for one in told(runs, FIRST, FIRST + 1, FIRST + 1, FIRST)[1:-1]] == [1, 2]
    assert runs.counts["repeated"] == 2


def test_a_single_train_from_far_away_costs_itself_only() -> None:
    runs = Runs(select=["*:image.data"])
    assert [one[1] for one in told(runs, FIRST, 2**51, FIRST + 1, 5, FIRST + 2)[1:-1]] == [1, 2, 3]
    assert runs.counts["trains_implausible"] == 2


@pytest.mark.parametrize("again", [FIRST - 500, FIRST + 1 + 2 * MAX_AHEAD])
def test_two_trains_from_elsewhere_begin_a_new_run_and_none_is_lost(again: int) -> None:
    rows = told(Runs(select=["*:image.data"], run="r{first_train}"), FIRST, FIRST + 1, again, again + 1, again + 2)
    old, new = (f"r{first}.SPB_DET_AGIPD1M-1_DET_0CH0_xtdf.image.data" for first in (FIRST, again))
    assert rows == [
        ("opened", old), (old, 1), (old, 2), ("closed", 2, "complete"),
        ("opened", new), (new, 1), (new, 2), (new, 3), ("closed", 3, "complete"),
    ]  # fmt: skip


@pytest.mark.parametrize("later", [3, 10 * MAX_AHEAD])
def test_a_connector_that_is_told_the_first_train_goes_on_in_the_same_streams(later: int) -> None:
    runs = Runs(first_train=FIRST, select=["*:image.data"], n_trains=10)
    opened, message = runs.take(parse_train(parts_of(FIRST + later)))
    assert isinstance(opened, StreamOpened)
    assert (opened.new, opened.n_expected, message.message_id) == (False, 10, later + 1)
    assert told(runs, FIRST + later + 1)[0][1] == later + 2


def test_trains_before_the_first_are_counted_and_left_out() -> None:
    runs = Runs(first_train=FIRST + 2, select=["*:image.data"])
    assert [one[1] for one in told(runs, FIRST, FIRST + 1, FIRST + 2, FIRST + 3)[1:-1]] == [1, 2]
    assert runs.counts["trains_before_first"] == 2


def test_a_new_run_never_goes_into_the_streams_of_the_one_before() -> None:
    runs = Runs(run="r", first_train=FIRST, select=["*:image.data"])
    trains = [FIRST, FIRST + 3 * MAX_AHEAD, FIRST + 3 * MAX_AHEAD + 1]
    events = [event for train_id in trains for event in runs.take(parse_train(parts_of(train_id)))]
    assert [event.new for event in events if isinstance(event, StreamOpened)] == [False, True]


def test_there_is_an_end_of_streams_and_of_names() -> None:
    data = {"s" * 200: {f"k{n}": np.zeros(1) for n in range(200)}}
    runs = Runs()
    parts = [bytes(p) for p in serialize(data, {"s" * 200: {"timestamp.tid": 1}})]
    names = {event.stream for event in runs.take(parse_train(parts)) if isinstance(event, StreamOpened)}
    assert (len(names), runs.counts["streams_too_many"]) == (128, 72)
    assert max(map(len, names)) == 128


@pytest.mark.parametrize("text", ["{train}", "{", "../{first_train}", "", "a/b", "{first_train.x}", "x" * 41])
def test_a_run_that_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--run"):
        check_run(text)


# --- the socket ------------------------------------------------------------------------------------------------------


def images_from(events: Iterator[Event | None], n: int) -> list[int]:
    """Return the ids of the next images."""
    ids = (event.message_id for event in events if isinstance(event, Produced) and event.stream.endswith("image.data"))
    return list(itertools.islice(ids, n))


def test_a_bridge_that_is_started_again_is_asked_again() -> None:
    with ServerInThread("tcp://127.0.0.1:*") as server:
        endpoint = server.endpoint
        source = KaraboSource(endpoint)
        events = source.events(Stop())
        server.feed(*train(FIRST))
        assert images_from(events, 1) == [1]
        assert next(event for event in events if event is None) is None  # asked, and no answer
    with ServerInThread(endpoint) as server:
        server.feed(*train(FIRST + 1))
        server.feed(*train(FIRST + 2))
        assert images_from(events, 2) == [2, 3]
    source.close()


def test_all_subscribers_of_a_bridge_get_its_trains() -> None:
    with ServerInThread("tcp://127.0.0.1:*", sock="PUB") as server:
        sources = [KaraboSource(server.endpoint, "SUB", Runs(first_train=FIRST)) for _ in range(2)]
        events = [source.events(Stop()) for source in sources]
        seen: list[list[int]] = [[], []]
        for train_id in itertools.count(FIRST):  # a subscription takes a moment
            server.feed(*train(train_id))
            for own, ids in zip(events, seen, strict=True):
                ids += images_from(itertools.takewhile(lambda event: event is not None, own), HELD_TRAINS)
            if all(len(ids) > 5 for ids in seen):
                break
        for source in sources:
            source.close()
    assert all(ids == sorted(set(ids)) for ids in seen)


def test_a_bridge_that_says_nothing_is_named(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(beamstream_karabo, "QUIET_S", 0.1)
    source = KaraboSource("tcp://127.0.0.1:1")
    events = source.events(Stop())
    while not caplog.records:
        assert next(events) is None
    source.close()
    assert "nothing came from tcp://127.0.0.1:1" in caplog.text


@pytest.mark.parametrize(("endpoint", "kind"), [("bridge:1234", "REQ"), ("tcp://127.0.0.1:1", "PAIR")])
def test_an_endpoint_or_a_socket_that_is_none_is_refused(endpoint: str, kind: str) -> None:
    with pytest.raises(UsageError):
        BridgeSocket(endpoint, kind)
