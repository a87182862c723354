"""A detector that nobody here wrote: the EIGER simulator of `tickit-devices`, driven by its REST API as clients do.

It wants other versions than we do (cbor2 before 6), so uv gives it an environment of its own. Without uv or a
network these tests skip at a desk and fail in CI.

It does what no detector does, and it must not matter: `hash` is Python's `hash()`; all series have one
`series_unique_id`; disarm sends a second end, which may reach the next connector; with header detail "all", v1
calls the flat field `flatfield-1.0` and v2 sends tables as base64 of half their size.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

import pytest

from beamstream import Consumer, Frame
from beamstream.protocol.client import Server
from beamstream.receipt import Receipt, make_receipt
from beamstream.streams import delete_stream
from beamstream_broker.embedded import EmbeddedServer
from beamstream_producers.eiger.api import StreamApi

REQUIREMENTS = ("tickit-devices==0.4.1", "tickit==0.4.3", "cbor2>=5.6,<6", "pydantic<3")
PYTHONS = ">=3.11,<3.14"
"""What tickit runs on: its aiozmq 1.0.0 imports a child watcher that asyncio of 3.14 no longer has."""

DRIVER = Path(__file__).with_name("tickit_detector.py")
INSTALL_TIMEOUT_S = 100  # 20 MB where uv's cache is empty
TIMEOUT_S = 60

DETECTOR_API = "/detector/api/1.8.0"
STREAM_API = "/stream/api/1.8.0"
N_IMAGES, N_TRIGGERS = 2, 2
FRAME_TIME_S = 0.01

FORMATS = ("legacy", "cbor")
DETAILS = ("basic", "all")
SHAPE = (4362, 4148)
MASKED_SUM_MAX = {"legacy": (1253074, 9876, 6416), "cbor": (1253075, 13712, 6504)}
"""Pixels of 65535, sum and largest of the others, of the two captured images that tickit sends again and again."""

DETECTOR = {
    "legacy": {
        "description": "Simulated Eiger X 16M Detector",
        "serial_number": "EIGERSIM001",
        "frame_time": FRAME_TIME_S,
        "bit_depth_image": 16,
        "threshold_energy": 4020.5,
    },
    "cbor": {
        "description": "Dectris EIGER2 Si 16M",
        "serial_number": "E-32-0117",
        "frame_time": 0.004317572232502031,
        "saturation_value": 21517,
        "threshold_energy": 6750.149914699146,
    },
}
"""What it says of itself: tickit's configuration in v1, the captured start in v2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """Where tickit's detector listens: its REST API, and its stream in each format."""

    rest: str
    endpoints: Mapping[str, str]

    def put(self, path: str, value: object = None) -> None:
        """Give a command, or set a value."""
        body = None if value is None else json.dumps({"value": value})
        connection = http.client.HTTPConnection(urlsplit(self.rest).netloc, timeout=TIMEOUT_S)
        try:
            connection.request("PUT", path, body)
            answer = connection.getresponse()
            assert answer.status == 200, (path, answer.read())
        finally:
            connection.close()

    def command(self, name: str) -> None:
        self.put(f"{DETECTOR_API}/command/{name}")

    def arm(self, format_: str, header_detail: str = "basic") -> None:
        """Make it ready for N_TRIGGERS triggers of N_IMAGES each."""
        self.command("initialize")
        for name, value in {"mode": "enabled", "format": format_, "header_detail": header_detail}.items():
            self.put(f"{STREAM_API}/config/{name}", value)
        settings = {"trigger_mode": "ints", "nimages": N_IMAGES, "ntrigger": N_TRIGGERS, "frame_time": FRAME_TIME_S}
        for name, value in settings.items():
            self.put(f"{DETECTOR_API}/config/{name}", value)
        self.command("arm")


def unavailable(reason: str) -> NoReturn:
    """Skip at a desk, fail in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def uv() -> str:
    """The uv that runs these tests, or one on the path."""
    found = os.environ.get("UV") or shutil.which("uv")
    if found is None:
        unavailable("no uv to give tickit-devices an environment of its own")
    return found


@pytest.fixture(scope="module")
def python_of_tickit(uv: str) -> list[str]:
    """The command that runs Python with tickit, with everything installed."""
    python = sys.executable
    if sys.version_info >= (3, 14):
        search = [uv, "python", "find", "--no-python-downloads", PYTHONS]
        found = subprocess.run(search, capture_output=True, text=True, check=False)
        if found.returncode:
            pytest.skip(f"tickit-devices needs Python {PYTHONS}, and uv finds none here")
        python = found.stdout.strip()
    # the resolution is named because ours may be tested on its oldest dependencies
    command = [uv, "run", "--quiet", "--no-project", "--isolated", "--resolution", "highest", "--python", python]
    command += [argument for requirement in REQUIREMENTS for argument in ("--with", requirement)]
    command.append("python")
    try:
        installed = subprocess.run(
            [*command, "-c", ""], capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        unavailable(f"tickit-devices was not installed within {INSTALL_TIMEOUT_S} s")
    if installed.returncode:
        unavailable(f"tickit-devices cannot be installed: {installed.stderr}")
    return command


@pytest.fixture(scope="module")
def detector(python_of_tickit: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Detector]:
    """A running detector; it ends with its standard input."""
    log = tmp_path_factory.mktemp("tickit") / "log"
    with (
        log.open("w") as stderr,
        subprocess.Popen(
            [*python_of_tickit, str(DRIVER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True
        ) as process,
    ):
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert said, log.read_text()
            endpoints = json.loads(said)
            yield Detector(rest=endpoints.pop("rest"), endpoints=endpoints)
            process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()  # does nothing to one that has ended
    assert process.returncode == 0, log.read_text()


@contextmanager
def connector(detector: Detector, format_: str, stream: str, broker: str) -> Iterator[Callable[[], str]]:
    """`stream produce eiger` for one series, connected; yields what waits for its good end and returns its log."""
    command = [sys.executable, "-m", "beamstream.cli", "produce", "eiger", detector.endpoints[format_]]
    command += ["--to", "bt/tickit", "--stream-template", stream, "--broker", broker]
    command += ["--series", "1", "--api", detector.rest]
    with subprocess.Popen(command, stderr=subprocess.PIPE, encoding="utf-8") as process:
        stderr = process.stderr
        assert stderr is not None
        log = []

        def ended() -> str:
            log.append(stderr.read())
            assert process.wait(TIMEOUT_S) == 0, "".join(log)
            return "".join(log)

        try:
            for line in stderr:
                log.append(line)
                if "connected to" in line:
                    break
            else:
                pytest.fail("".join(log))
            yield ended
        finally:
            process.kill()


def consume(stream: str, broker: str) -> Consumer:
    """Wait for the stream: tickit packs a header and images that come before it was sent into one message."""
    return Consumer(f"bt/tickit/{stream}", broker=broker, group="g", wait_for_stream=True, timeout_s=TIMEOUT_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Acquired:
    """What became of a series."""

    format_: str
    header_detail: str
    frames: list[Frame]
    metadata: Mapping[str, Any]
    n_expected: int | None
    receipt: Receipt
    log: str

    @property
    def detector(self) -> Mapping[str, Any]:
        return self.metadata["entry"]["instrument"]["detector"]


@pytest.fixture(scope="module", params=[(f, d) for f in FORMATS for d in DETAILS], ids="-".join)
def acquired(request: pytest.FixtureRequest, detector: Detector, server: EmbeddedServer) -> Acquired:
    """A whole series on its way from the detector to a consumer."""
    format_, header_detail = request.param
    stream, broker = f"{format_}_{header_detail}", server.url
    with connector(detector, format_, stream, broker) as ended:
        detector.arm(format_, header_detail)
        with consume(stream, broker) as consumer:
            for _ in range(N_TRIGGERS):
                detector.command("trigger")
            detector.command("disarm")
            frames, metadata, n_expected = list(consumer), consumer.metadata, consumer.n_expected
        log = ended()
    receipt = make_receipt(Server(broker), consumer.address)
    delete_stream(Server(broker), consumer.address)
    return Acquired(
        format_=format_,
        header_detail=header_detail,
        frames=frames,
        metadata=metadata,
        n_expected=n_expected,
        receipt=receipt,
        log=log,
    )


def test_every_image_of_every_trigger_arrives_in_order(acquired: Acquired) -> None:
    assert acquired.n_expected == N_TRIGGERS * N_IMAGES
    ids = [(frame.message_id, frame.metadata["image_id"]) for frame in acquired.frames]
    assert ids == [(1, 0), (2, 1), (3, 2), (4, 3)]


def test_the_receipt_is_clean(acquired: Acquired) -> None:
    receipt = acquired.receipt
    assert (receipt.state, receipt.received, receipt.duplicated, receipt.clean) == ("complete", 4, 0, True)


def test_every_message_that_arrived_is_accounted_for(
    acquired: Acquired, account: Callable[[str], Counter[str]]
) -> None:
    counted = account(acquired.log)
    assert (counted["series"], counted["images"], counted["sent"]) == (1, N_TRIGGERS * N_IMAGES, N_TRIGGERS * N_IMAGES)
    # a disarm sends a second end, and the one before may have sent one that nobody took
    extra = counted["end repeated"] + counted["end without header"]
    assert counted["received"] == 1 + N_TRIGGERS * N_IMAGES + counted["ends"] + extra
    assert counted["rejected"] == counted["dropped"] == counted["failed"] == 0


def test_the_pixels_are_those_of_the_captured_image(acquired: Acquired) -> None:
    first, *others = acquired.frames
    image = first.array()
    assert (image.shape, image.dtype.str, first.header.codec) == (SHAPE, "<u2", "bslz4")
    good = image[image != 0xFFFF]
    assert (image.size - good.size, int(good.sum()), int(good.max())) == MASKED_SUM_MAX[acquired.format_]
    assert all(bytes(frame.payload) == bytes(first.payload) for frame in others)


def test_the_metadata_are_what_the_detector_says_of_itself(acquired: Acquired) -> None:
    said = DETECTOR[acquired.format_]
    assert {name: acquired.detector.get(name) for name in said} == said


def test_a_table_that_cannot_be_read_is_left_out_and_named_in_the_log(acquired: Acquired) -> None:
    whole_mask = (acquired.format_, acquired.header_detail) == ("legacy", "all")
    assert {"pixel_mask", "flatfield"} & acquired.detector.keys() == ({"pixel_mask"} if whole_mask else set())
    assert not whole_mask or acquired.detector["pixel_mask"].shape == SHAPE
    assert ("left out" in acquired.log) == (acquired.header_detail == "all")


def test_the_connector_finds_nothing_wrong_with_the_detector(acquired: Acquired) -> None:
    said = [line for line in acquired.log.splitlines() if " INFO " not in line]
    assert [line for line in said if "end of series" not in line and "left out" not in line] == []


def test_an_aborted_series_ends_and_says_what_never_came(detector: Detector, broker: str) -> None:
    with connector(detector, "cbor", "aborted", broker) as ended:
        detector.arm("cbor")
        with consume("aborted", broker) as consumer:
            detector.command("trigger")
            detector.command("abort")
            assert [frame.message_id for frame in consumer] == [1, 2]
        ended()
    receipt = make_receipt(Server(broker), consumer.address)
    assert (receipt.state, receipt.missing) == ("aborted", [(3, 4)])


def test_the_api_tells_whether_the_stream_is_on(detector: Detector) -> None:
    api = StreamApi(detector.rest)
    detector.put(f"{STREAM_API}/config/mode", "disabled")
    (problem,) = api.stream_problems(detector.endpoints["cbor"])
    assert "'disabled'" in problem
    detector.put(f"{STREAM_API}/config/mode", "enabled")
    assert api.stream_problems(detector.endpoints["cbor"]) == []
    assert api.n_dropped() == 0
