"""The simulated detector on real sockets: what a receiver gets, what a REST client is told, what is dropped."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from contextlib import contextmanager

import numpy as np
import pytest
import zmq

from beamstream import codecs
from beamstream_producers.formats.simplon import End, Image, Start, decode, image_times, tick_rate_hz
from beamstream_producers.sim import SimulatedEiger, SimulatedEigerOptions
from beamstream_producers.sim.acquisition import CommandRefusedError, State
from beamstream_producers.sim.sending.sockets import PortError

TIMEOUT_S = 20.0
CHANNEL = "threshold_1"


def options(**changes):
    return SimulatedEigerOptions(
        **{"size": "500k", "n_images": 6, "rate_hz": 0, "wait": True, "drain_s": 1.0} | changes
    )


@contextmanager
def receiver(endpoint):
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.linger = 0
        socket.rcvtimeo = round(TIMEOUT_S * 1e3)
        socket.connect(endpoint)
        yield lambda: decode(socket.recv_multipart())


@contextmanager
def connected(**changes):
    with SimulatedEiger(options(**changes)) as detector, receiver(detector.endpoint) as receive:
        assert detector.wait_for_receiver(TIMEOUT_S)
        yield detector, receive


def receive_series(receive):
    messages = [receive()]
    while not isinstance(messages[-1], End):
        messages.append(receive())
    return messages[0], messages[1:-1], messages[-1]


def pixels_of(image):
    pixels = image.channels[CHANNEL]
    return codecs.decode(pixels.payload, pixels.codec, pixels.shape, np.dtype(pixels.dtype))


# --- what is streamed


@pytest.mark.parametrize(
    ("stream_format", "compression", "bit_depth"),
    [
        ("legacy", "bslz4", 16),
        ("legacy", "lz4", 32),
        ("legacy", "none", 8),
        ("cbor", "bslz4", 32),
        ("cbor", "lz4", 16),
        ("cbor", "none", 16),
    ],
)
def test_a_series_holds_the_very_frames_that_truth_says(stream_format, compression, bit_depth):
    with connected(stream_format=stream_format, compression=compression, bit_depth=bit_depth) as (detector, receive):
        series_id = detector.arm()
        detector.trigger()
        start, images, end = receive_series(receive)
        assert isinstance(start, Start)
        assert {message.series_id for message in (start, *images, end)} == {series_id}
        assert {message.version for message in (start, *images, end)} == {1 if stream_format == "legacy" else 2}
        assert (start.n_images, start.shape, start.dtype) == (6, (512, 1028), np.dtype(f"<u{bit_depth // 8}").str)
        assert [image.image_id for image in images] == [0, 1, 2, 3, 4, 5]
        for image in images:
            assert np.array_equal(pixels_of(image), detector.frame(image.image_id))
        assert (detector.n_sent, detector.n_dropped, detector.n_lost) == (6, 0, 0)


def test_two_detectors_with_one_seed_send_the_same_pixels_and_another_seed_others():
    payloads = []
    for seed in (5, 5, 6):
        with connected(seed=seed, n_images=2) as (detector, receive):
            detector.arm()
            detector.trigger()
            _, images, _ = receive_series(receive)
            payloads.append([bytes(image.channels[CHANNEL].payload) for image in images])
    assert payloads[0] == payloads[1] != payloads[2]


@pytest.mark.parametrize("stream_format", ["legacy", "cbor"])
def test_times_are_one_frame_time_apart(stream_format):
    with connected(stream_format=stream_format, rate_hz=200.0) as (detector, receive):
        detector.arm()
        detector.trigger()
        start, images, _ = receive_series(receive)
        times = [image_times(image, tick_rate_hz(start)) for image in images]
        begins = np.array([time.start_ns for time in times])
        assert np.abs(np.diff(begins) - 5_000_000).max() <= 20  # one tick of version 2
        assert {time.stop_ns - time.start_ns for time in times} <= set(range(4_999_860, 4_999_941))


@pytest.mark.parametrize("stream_format", ["legacy", "cbor"])
def test_a_start_with_all_detail_carries_mask_and_flat_field(stream_format):
    with connected(stream_format=stream_format, header_detail="all", n_images=1) as (detector, receive):
        detector.arm()
        arrays = receive().arrays
        suffix = "" if stream_format == "legacy" else f"/{CHANNEL}"
        assert np.array_equal(arrays[f"pixel_mask{suffix}"], detector.mask)
        assert (arrays[f"flatfield{suffix}"] == 1).all()
        assert arrays["countrate_table"].shape[0] == 1001


@pytest.mark.parametrize("stream_format", ["legacy", "cbor"])
@pytest.mark.parametrize("detail", ["basic", "none"])
def test_a_start_with_less_detail_carries_no_arrays(stream_format, detail):
    with connected(stream_format=stream_format, header_detail=detail, n_images=1) as (detector, receive):
        detector.arm()
        start = receive()
        assert not start.arrays
        assert bool(start.config) == (stream_format == "cbor" or detail == "basic")


@pytest.mark.parametrize(("stream_format", "appendix"), [("legacy", b"lysozyme"), ("cbor", "lysozyme")])
def test_appendices_come_with_the_start_and_every_image(stream_format, appendix):
    with connected(stream_format=stream_format, n_images=2) as (detector, receive):
        detector.change("stream", {"header_appendix": "lysozyme", "image_appendix": "lysozyme"})
        detector.arm()
        detector.trigger()
        start, images, _ = receive_series(receive)
        assert [message.appendix for message in (start, *images)] == [appendix] * 3


def test_several_triggers_fill_one_series():
    with connected(n_images=2, n_triggers=3) as (detector, receive):
        detector.arm()
        for _ in range(3):
            detector.trigger()
        start, images, _ = receive_series(receive)
        assert start.n_images == 6
        assert [image.image_id for image in images] == list(range(6))
        assert detector.state is State.IDLE


def test_a_series_with_external_triggers_runs_by_itself():
    with connected(trigger_mode="exts", n_images=2, n_triggers=2) as (detector, receive):
        detector.arm()
        _, images, _ = receive_series(receive)
        assert len(images) == 4
        assert detector.wait_for_end(TIMEOUT_S)
        with pytest.raises(CommandRefusedError):
            detector.trigger()


def test_a_disabled_stream_stays_silent_while_the_detector_works():
    with connected(n_images=2) as (detector, receive):
        detector.change("stream", {"mode": "disabled"})
        assert detector.arm() == 1
        detector.trigger()
        detector.change("stream", {"mode": "enabled"})
        assert detector.arm() == 2
        assert receive().series_id == 2


# --- how a series ends early, and what is lost


def test_an_abort_half_way_ends_the_series_and_leaves_the_next_one_whole():
    with connected(n_images=100_000, rate_hz=500.0) as (detector, receive):
        detector.arm()
        taken = detector.begin_trigger()
        assert isinstance(receive(), Start)
        received = [receive(), receive(), receive()]
        assert detector.abort() == 1
        assert taken.wait(TIMEOUT_S)
        while not isinstance(received[-1], End):
            received.append(receive())
        assert [image.image_id for image in received[:-1]] == list(range(len(received) - 1))
        assert len(received) < 100_000
        detector.change("detector", {"nimages": 2})
        assert detector.arm() == 2
        detector.trigger()
        start, images, end = receive_series(receive)
        assert (start.series_id, len(images), end.series_id) == (2, 2, 2)


@pytest.mark.parametrize("ending", ["disarm", "cancel"])
def test_disarm_and_cancel_send_what_was_taken_and_then_the_end(ending):
    with connected(n_images=100_000, rate_hz=500.0) as (detector, receive):
        detector.arm()
        detector.begin_trigger()
        receive()
        receive()
        getattr(detector, ending)()
        n_received = 1
        while isinstance(receive(), Image):
            n_received += 1
        assert (detector.n_sent, detector.n_dropped) == (n_received, 0)


def test_without_a_receiver_images_are_dropped_and_counted_until_the_next_arm():
    with SimulatedEiger(options(n_images=20, wait=False, buffer_images=4, drain_s=0.05)) as detector:
        detector.arm()
        detector.trigger()
        assert detector.wait_for_end(TIMEOUT_S)
        assert (detector.n_sent, detector.n_dropped) == (0, 20)
        assert detector.n_lost == 2  # start and end
        detector.arm()
        assert detector.n_dropped == 0


def test_images_that_waited_for_a_late_receiver_come_behind_the_start():
    with SimulatedEiger(options(n_images=10, wait=False, buffer_images=4, drain_s=TIMEOUT_S)) as detector:
        detector.arm()
        detector.trigger()
        with receiver(detector.endpoint) as receive:
            start, images, _ = receive_series(receive)
            assert isinstance(start, Start)
            assert [image.image_id for image in images] == [0, 1, 2, 3]
        assert detector.wait_for_end(TIMEOUT_S)
        assert (detector.n_sent, detector.n_dropped) == (4, 6)


def test_told_to_wait_it_falls_behind_and_drops_nothing():
    with SimulatedEiger(options(n_images=10, buffer_images=2)) as detector:
        detector.arm()
        taken = detector.begin_trigger()
        assert not taken.is_set()
        with receiver(detector.endpoint) as receive:
            _, images, _ = receive_series(receive)
            assert [image.image_id for image in images] == list(range(10))
        assert detector.n_dropped == 0


def test_a_detector_that_is_closed_while_it_waits_for_a_receiver_closes():
    detector = SimulatedEiger(options(n_images=10, buffer_images=2, drain_s=0.05))
    detector.arm()
    taken = detector.begin_trigger()
    detector.close()
    assert taken.is_set()
    assert detector.state is State.NA


def test_a_port_that_is_taken_is_named():
    with SimulatedEiger(options()) as detector:
        port = int(detector.endpoints["cbor"].rpartition(":")[2])
        with pytest.raises(PortError, match=str(port)):
            SimulatedEiger(options(cbor_port=port))
        api_port = int(detector.api_url.rpartition(":")[2])
        with pytest.raises(PortError, match=str(api_port)):
            SimulatedEiger(options(api_port=api_port))


# --- the REST interface


def ask(detector, method, path, body=None, **headers):
    """Return the status and the text of an answer."""
    asked = urllib.request.Request(  # noqa: S310 - the detector's own URL
        detector.api_url + path, data=body, method=method, headers=headers
    )
    try:
        with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as response:  # noqa: S310
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def request(detector, method, path, content=None):
    status, text = ask(detector, method, path, None if content is None else json.dumps(content).encode())
    assert status == 200, text
    return json.loads(text) if text else None


def get(detector, path):
    return request(detector, "GET", path)["value"]


def put(detector, path, value):
    return request(detector, "PUT", path, {"value": value})


@pytest.mark.parametrize("version", ["1.6.0", "1.8.0"])
def test_a_client_initializes_configures_arms_triggers_and_disarms(version):
    detector_api, stream_api = f"/detector/api/{version}", f"/stream/api/{version}"
    with SimulatedEiger(options()) as detector, receiver(detector.endpoint) as receive:
        request(detector, "PUT", f"{detector_api}/command/initialize")
        assert get(detector, f"{stream_api}/config/mode") == "disabled"
        assert get(detector, f"{stream_api}/status/state") == "disabled"
        assert put(detector, f"{stream_api}/config/mode", "enabled") == ["mode"]
        assert put(detector, f"{detector_api}/config/nimages", 3) == ["nimages"]
        assert "wavelength" in put(detector, f"{detector_api}/config/photon_energy", 9000)
        assert get(detector, f"{detector_api}/status/state") == "idle"
        assert request(detector, "PUT", f"{detector_api}/command/arm") == {"sequence id": 1}
        assert get(detector, f"{detector_api}/status/state") == "ready"
        assert get(detector, f"{stream_api}/status/state") == "acquire"
        assert request(detector, "PUT", f"{detector_api}/command/trigger") is None
        assert get(detector, f"{detector_api}/status/state") == "idle"
        assert request(detector, "PUT", f"{detector_api}/command/disarm") == {"sequence id": 1}
        assert get(detector, f"{stream_api}/status/dropped") == 0
        start, images, _ = receive_series(receive)
        assert len(images) == 3
        assert start.config["incident_energy"] == 9000
        assert request(detector, "PUT", f"{detector_api}/command/arm") == {"sequence id": 2}


def test_trigger_answers_when_the_images_are_taken():
    with connected(n_images=10, rate_hz=100.0) as (detector, _):
        detector.arm()
        request(detector, "PUT", "/detector/api/1.8.0/command/trigger")
        assert detector.state is State.IDLE
        assert detector.n_sent == 10


def test_changing_the_format_moves_the_stream_to_its_other_port():
    with SimulatedEiger(options(n_images=1)) as detector:
        put(detector, "/stream/api/1.8.0/config/format", "legacy")
        with receiver(detector.endpoints["legacy"]) as receive:
            assert detector.wait_for_receiver(TIMEOUT_S)
            detector.arm()
            assert receive().version == 1


def test_the_mask_can_be_read_as_json():
    with SimulatedEiger(options()) as detector:
        darray = get(detector, "/detector/api/1.8.0/config/pixel_mask")
        mask = np.frombuffer(base64.b64decode(darray["data"]), darray["type"]).reshape(darray["shape"])
        assert np.array_equal(mask, detector.mask)


def test_several_keys_are_set_together_or_not_at_all():
    with SimulatedEiger(options()) as detector:
        path = "/stream/api/1.8.0/config"
        assert request(detector, "PUT", path, {"format": "legacy", "header_detail": "all"}) == [
            "format",
            "header_detail",
        ]
        refused = json.dumps({"format": "cbor", "header_detail": "some"}).encode()
        assert ask(detector, "PUT", path, refused)[0] == 400
        assert get(detector, f"{path}/format") == "legacy"


def test_every_key_that_is_listed_can_be_read():
    with SimulatedEiger(options()) as detector:
        for module, task in (
            ("detector", "config"),
            ("detector", "status"),
            ("stream", "config"),
            ("stream", "status"),
        ):
            keys = request(detector, "GET", f"/{module}/api/1.8.0/{task}")
            assert keys
            for key in keys:
                assert "value_type" in request(detector, "GET", f"/{module}/api/1.8.0/{task}/{key}")
        assert get(detector, "/detector/api/version") == "1.8.0"


BAD_REQUESTS = [
    ("GET", "/", None, 404, ""),
    ("GET", "/detector/api/1.5.0/config/nimages", None, 404, ""),
    ("GET", "/detector/api/1.8.0", None, 404, ""),
    ("GET", "/detector/api/1.8.0/config/nimage", None, 404, "nimage"),
    ("GET", "/detector/api/1.8.0/command/arm", None, 404, ""),
    ("GET", "/detector/api/1.8.0/status/weather", None, 404, "weather"),
    ("GET", "/filewriter/api/1.8.0/status/state", None, 404, ""),
    ("GET", "/detector/api/1.8.0/config/../../../../etc/passwd", None, 404, ""),
    ("PUT", "/detector/api/1.8.0/command/explode", None, 404, "explode"),
    ("PUT", "/detector/api/1.8.0/status/state", b'{"value": "idle"}', 404, ""),
    ("PUT", "/stream/api/1.8.0/command/arm", None, 404, ""),
    ("PUT", "/detector/api/1.8.0/command/trigger", None, 400, "idle"),
    ("PUT", "/detector/api/1.8.0/config/nimages", b"", 400, "JSON"),
    ("PUT", "/detector/api/1.8.0/config/nimages", b"\xff\xfe", 400, "JSON"),
    ("PUT", "/detector/api/1.8.0/config/nimages", b"[" * 100_000, 400, "JSON"),
    ("PUT", "/detector/api/1.8.0/config/nimages", b"10", 400, "object"),
    ("PUT", "/detector/api/1.8.0/config/nimages", b'{"valu": 10}', 400, "value"),
    ("PUT", "/detector/api/1.8.0/config/nimages", b'{"value": "10"}', 400, "nimages"),
    ("PUT", "/detector/api/1.8.0/config/nimages", b'{"value": 0}', 400, "from 1 to"),
    ("PUT", "/detector/api/1.8.0/config/frame_time", b'{"value": NaN}', 400, "frame_time"),
    ("PUT", "/detector/api/1.8.0/config/description", b'{"value": "x"}', 400, "read-only"),
    ("PUT", "/stream/api/1.8.0/config/format", b'{"value": "hdf5"}', 400, "legacy, cbor"),
    ("POST", "/detector/api/1.8.0/command/arm", b"{}", 501, ""),
]


@pytest.fixture(scope="module")
def idle_detector():
    with SimulatedEiger(options()) as detector:
        yield detector


@pytest.mark.parametrize(("method", "path", "body", "status", "said"), BAD_REQUESTS)
def test_a_bad_request_is_refused_in_words_and_changes_nothing(idle_detector, method, path, body, status, said):
    code, text = ask(idle_detector, method, path, body)
    assert code == status
    assert said in text
    assert idle_detector.state is State.IDLE
    assert get(idle_detector, "/detector/api/1.8.0/config/nimages") == 6


def test_a_body_over_the_limit_is_not_even_read(idle_detector):
    path = "/stream/api/1.8.0/config/header_appendix"
    assert ask(idle_detector, "PUT", path, b"", **{"Content-Length": str(1 << 40)})[0] == 413


def test_an_armed_detector_refuses_changes_and_a_second_arm():
    with connected() as (detector, _):
        detector.arm()
        code, text = ask(detector, "PUT", "/detector/api/1.8.0/config/nimages", b'{"value": 2}')
        assert (code, "ready" in text) == (400, True)
        code, text = ask(detector, "PUT", "/detector/api/1.8.0/command/arm")
        assert (code, "ready" in text) == (400, True)
