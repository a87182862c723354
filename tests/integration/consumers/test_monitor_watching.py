"""What the monitor watches, on a real server: pictures and documents on its board, and what answers viewers."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt
import pytest

from beamstream import Address, Producer
from beamstream.address import SourceAddress
from beamstream.errors import MessageNotFoundError, UsageError
from beamstream.parameters.store import ParameterStore
from beamstream.protocol.client import Server
from beamstream.service import run_handler, run_processor
from beamstream_broker.embedded import EmbeddedServer
from beamstream_broker.service import BrokerService
from beamstream_consumers.geometry import parse_text
from beamstream_consumers.geometry.assembly import assemble_pixels
from beamstream_consumers.monitor.board import Board, Change, NewDocument
from beamstream_consumers.monitor.errors import NoPictureError, UnknownSourceError
from beamstream_consumers.monitor.pictures.picture import Kind, Picture
from beamstream_consumers.monitor.watching import Watching
from beamstream_consumers.peaks import PeakProcessor, PeakSettings
from beamstream_consumers.peaks.settings import HitRule
from beamstream_consumers.write import WriteHandler

SOURCE = SourceAddress("11012345", "eiger")
NAME = str(SOURCE)
RUN, NEXT_RUN = SOURCE.stream("run_001"), SOURCE.stream("run_002")
PATIENCE_S = 20.0
SHAPE = (100, 200)

TWO_PANELS = """
clen = 0.1
photon_energy = 12398.4198
res = 10000
a/min_fs = 0
a/max_fs = 199
a/min_ss = 0
a/max_ss = 49
a/fs = -1.0x
a/ss = -1.0y
a/corner_x = 100
a/corner_y = 60
b/min_fs = 0
b/max_fs = 199
b/min_ss = 50
b/max_ss = 99
b/fs = -1.0x
b/ss = -1.0y
b/corner_x = 90
b/corner_y = -5
"""
"""Two halves with a gap of 15 pixels between them, the lower one 10 pixels to the side, 0.1 mm pixels."""


def image_of(message_id: int) -> npt.NDArray[np.uint16]:
    """Draw a frame with 12 spots where the id is odd, and none where it is even."""
    image = np.random.default_rng(message_id).poisson(2.0, SHAPE).astype("<u2")
    for number in range(12 * (message_id % 2)):
        slow, fast = 14 + 40 * (number // 6), 14 + 30 * (number % 6)
        image[slow : slow + 2, fast : fast + 2] = 300
    image[0, 0] = 65535
    return image


class Page:
    """A board, who watches, and everything that came."""

    def __init__(self, broker: str | None, what: Any, **options: Any) -> None:
        self.board = Board()
        self.shown: list[tuple[Kind, Picture]] = []
        self.documents: list[dict[str, Any]] = []
        self.board.subscribe(self._take)
        self.watching = Watching(self.board, broker, what, **options)
        self.watching.start()

    def _take(self, change: Change) -> None:
        if isinstance(change, NewDocument):
            self.documents.append(dict(change.document))
        elif (picture := self.board.picture(change.source, change.kind)) is not None:
            self.shown.append((change.kind, picture))

    def wait(self, what: Callable[[], Any], *kinds: Kind) -> Any:
        """Want pictures of these kinds until there is what is waited for."""
        until_s = time.monotonic() + PATIENCE_S
        while not (found := what()):
            assert time.monotonic() < until_s, "waited for too long"
            for kind in kinds:
                self.watching.wanted(self.watching.sources[0], kind)
            threading.Event().wait(0.01)
        return found

    def picture(self, kind: Kind, message_id: int | None = None, **about: Any) -> Picture:
        """Wait for a picture, of one message if it is named, and with what is said of it."""

        def found() -> Picture | None:
            picture = self.board.picture(self.watching.sources[0], kind)
            if picture is None or message_id not in (None, picture.message_id):
                return None
            return picture if all(getattr(picture.about, name) == value for name, value in about.items()) else None

        return self.wait(found, kind)  # type: ignore[no-any-return]

    def document(self, kind: str, **fields: Any) -> dict[str, Any]:
        """Wait for the newest document of a type to have these fields."""

        def found() -> dict[str, Any] | None:
            for document in reversed([one for one in self.documents if one["t"] == kind]):
                return document if all(document.get(name) == value for name, value in fields.items()) else None
            return None

        return self.wait(found)  # type: ignore[no-any-return]

    def numbers(self, **fields: Any) -> dict[str, Any]:
        """Wait for numbers of the source that have these fields."""

        def found() -> dict[str, Any] | None:
            for document in reversed([one for one in self.documents if one["t"] == "numbers"]):
                numbers: dict[str, Any] = document["sources"][self.watching.sources[0]]
                return numbers if all(numbers[name] == value for name, value in fields.items()) else None
            return None

        return self.wait(found)  # type: ignore[no-any-return]

    def buffer(self, *, n_spilled: int) -> dict[str, Any] | None:
        """Return numbers of a buffer that has moved as many messages to disk."""
        told = (one["buffer"] for one in self.documents if one["t"] == "numbers")
        return next((buffer for buffer in told if (buffer["n_spilled"] or 0) >= n_spilled), None)

    def lost(self) -> dict[str, Any] | None:
        """Return numbers of a time when the server was lost."""
        told = (one for one in self.documents if one["t"] == "numbers" and not one["buffer"]["reachable"])
        return next(told, None)

    def log(self) -> str:
        """Return all texts of the log."""
        return "\n".join(entry["text"] for one in self.documents if one["t"] == "log" for entry in one["entries"])


@pytest.fixture
def watch() -> Iterator[Callable[..., Page]]:
    pages: list[Page] = []

    def start(broker: str | None, what: Any = (SOURCE,), **options: Any) -> Page:
        pages.append(Page(broker, what, **options))
        return pages[-1]

    yield start
    for page in pages:
        page.watching.stop()


def send(producer: Producer, *ids: int) -> None:
    for message_id in ids:
        producer.send_array(message_id, image_of(message_id))
    producer.flush()


def produce(broker: str, n_frames: int, address: Address = RUN) -> None:
    with Producer(address, broker=broker, n_expected=n_frames) as producer:
        send(producer, *range(1, n_frames + 1))
        producer.finish(n_frames)


# --- frames ------------------------------------------------------------------------------------------------------


def test_the_newest_frame_is_shown_at_the_pace_of_its_producer_and_a_source_may_come_later(broker, watch):
    page = watch(broker)
    assert page.numbers(life="waiting")["stream"] is None
    with Producer(RUN, broker=broker) as producer:
        for message_id in range(1, 6):
            send(producer, message_id)
            picture = page.picture("frame", message_id)
            np.testing.assert_array_equal(picture.image, image_of(message_id))
            assert (picture.stream, picture.flag, picture.mask) == ("run_001", 65535, None)
            assert message_id > 1 or page.numbers(n_received=1)  # from here on there is a rate
        good = image_of(5)[image_of(5) < 65535]
        said = picture.about
        assert (said.hit, said.n_peaks, said.peaks, said.radial) == (None, None, None, None)
        assert said.numbers["total"] == good.sum()
        assert (said.numbers["n_good"], said.numbers["n_flagged"]) == (good.size, 1)
        assert said.percentiles["95"] == np.percentile(good, 95, method="inverted_cdf")
        assert page.numbers(n_received=5)["life"] == "live"
        document = page.document("run", stream="run_001", shape=[100, 200])
        assert (document["dtype"], document["kinds"], document["geometry"]) == ("<u2", ["frame", "sum", "max"], None)
        producer.finish(5)
    assert page.numbers(life="finished")["state"] == "complete"
    (history,) = [one for one in page.board.documents() if one["t"] == "history"]
    assert len(history["time_s"]) == len(history["rate_hz"]) == len(history["age_s"]) == len(history["hit_rate"]) > 1
    assert max(filter(None, history["rate_hz"])) > 0
    assert not [one for one in page.documents if one["t"] == "history"], "only those who come later need it"


def test_the_next_run_appears_by_itself_and_the_one_before_has_its_receipt(broker, watch):
    page = watch(broker)
    with Producer(RUN, broker=broker, n_expected=3) as producer:
        send(producer, 1, 2, 3)
        page.picture("frame", 3)
        producer.finish(3)
    receipt = page.document("receipt", stream="run_001")["receipt"]
    assert (receipt["state"], receipt["received"], receipt["clean"]) == ("complete", 3, True)
    with Producer(NEXT_RUN, broker=broker) as producer:
        send(producer, 1)
        page.wait(lambda: page.board.picture(NAME, "frame") and page.picture("frame", 1).stream == "run_002", "frame")
        assert page.document("run", stream="run_002")["streams"] == ["run_002", "run_001"]
        producer.finish(1)
    assert "run_001 has ended: complete" in page.log()
    assert "run_002 has begun" in page.log()


def test_a_stream_that_is_named_stays(broker, watch):
    produce(broker, 2)
    produce(broker, 1, NEXT_RUN)
    page = watch(broker, (RUN,))
    assert page.picture("frame", 2).source == str(RUN)


def test_a_frame_is_shown_with_its_peaks_and_a_hit_with_its_own(broker, watch):
    produce(broker, 6)
    assert run_processor(PeakProcessor, str(RUN), broker=broker) == 0
    page = watch(broker)
    frame = page.picture("frame", 6, hit=False)
    assert frame.about.n_peaks == 0
    hit = page.picture("hit", 5)
    np.testing.assert_array_equal(hit.image, image_of(5))
    assert (hit.about.hit, hit.about.n_peaks) == (True, 12)
    places = {(14 + 30 * (n % 6) + 1.0, 14 + 40 * (n // 6) + 1.0) for n in range(12)}
    assert hit.about.peaks is not None
    assert {(round(float(x), 1), round(float(y), 1)) for x, y, _ in hit.about.peaks} == places
    hits = page.wait(lambda: page.documents and page.numbers(life="finished")["hits"])
    assert (hits["n_frames"], hits["n_hits"], hits["n_peaks"], hits["hit_rate"], hits["lag"]) == (6, 3, 36, 0.5, 0)
    counts = page.document("histograms", stream="run_001")["peaks_per_frame"]["counts"]
    assert (counts[0], counts[12]) == (3, 3)
    document = page.document("run", peaks=f"{NAME}-peaks")
    assert document["kinds"] == ["frame", "sum", "max", "hit", "hits-sum", "hits-max"]
    groups = [group for one in page.documents if one["t"] == "numbers" for group in one["groups"]]
    assert {(group["source"], group["name"], group["lag_messages"]) for group in groups} == {(NAME, "peaks", 0)}


def test_powders_are_the_sum_and_the_maximum_of_what_was_seen_and_can_begin_anew(broker, watch):
    page = watch(broker, allow_control=True)
    with Producer(RUN, broker=broker) as producer:
        for message_id in range(1, 5):
            send(producer, message_id)
            page.picture("frame", message_id)
        images = np.stack([image_of(message_id) for message_id in range(1, 5)]).astype(np.uint32)
        for kind, expected in (("sum", images.sum(axis=0)), ("max", images.max(axis=0))):
            powder = page.picture(kind)
            assert (powder.n_frames, powder.message_id, powder.image.dtype) == (4, 4, np.uint32)
            expected[0, 0] = powder.flag
            np.testing.assert_array_equal(powder.image, expected)
        page.watching.control.reset_powder(NAME)
        send(producer, 5)
        page.wait(lambda: page.picture("sum").n_frames == 1, "sum", "frame")
        np.testing.assert_array_equal(page.picture("sum").image[1:], image_of(5)[1:])
        producer.finish(5)


def test_panels_are_shown_where_they_are_with_their_peaks(broker, watch):
    geometry = parse_text(TWO_PANELS, "two panels", SHAPE)
    settings = PeakSettings(hits=HitRule(geometry=TWO_PANELS))
    produce(broker, 3)
    assert run_processor(lambda: PeakProcessor(settings), str(RUN), broker=broker) == 0
    page = watch(broker, geometry=TWO_PANELS)
    picture = page.picture("frame", 3, n_peaks=12)
    assembly = assemble_pixels(geometry)
    expected = assembly.assemble(image_of(3), empty=65535)
    assert picture.shape == (115, 210)
    np.testing.assert_array_equal(picture.image, expected)
    assert picture.about.numbers["n_flagged"] == 1, "the gap is no pixel"
    assert picture.about.peaks is not None
    for x, y, _ in picture.about.peaks:
        assert picture.image[int(y), int(x)] == 300
    assert picture.about.radial is not None
    document = page.document("run", assembled=True)["geometry"]
    assert (document["beam"], document["pixel_m"], document["distance_m"]) == ([100.0, 60.0], [1e-4, 1e-4], 0.1)
    assert document["wavelength_a"] == pytest.approx(1.0)

    follows = watch(broker)  # without a geometry of its own
    assert follows.wait(lambda: follows.picture("frame", 3).shape == (115, 210), "frame")

    exact = page.watching.archive.pixel(picture, 15, 80)
    assert exact.raw == {"fs": 5, "ss": 65, "panel": "b"}
    assert exact.value == image_of(3)[65, 5]
    radius_m = np.hypot(15.5 - 100, 80.5 - 60) * 1e-4
    assert exact.resolution_a == pytest.approx(1 / (2 * np.sin(np.arctan(radius_m / 0.1) / 2)), rel=1e-5)
    assert page.watching.archive.pixel(picture, 15, 55).why == "outside", "between the panels"
    assert page.watching.archive.pixel(picture, 0, 0).why == "no value"
    assert page.watching.archive.pixel(picture, 0, 115).why == "outside"


def test_of_datasets_the_first_part_is_shown_and_that_is_said(broker, watch):
    page = watch(broker)
    with Producer(RUN, broker=broker, n_parts=2) as producer:
        for part in (1, 2):
            producer.send_array(1, image_of(part), part=part)
        producer.flush()
        np.testing.assert_array_equal(page.picture("frame", 1).image, image_of(1))
        producer.finish(1)
    assert "2 parts; the first one is shown" in page.log()


# --- any message -------------------------------------------------------------------------------------------------


def test_any_message_of_any_run_is_found_by_its_id_and_so_are_its_neighbours(broker, watch):
    produce(broker, 12)
    assert run_processor(PeakProcessor, str(RUN), broker=broker) == 0
    produce(broker, 1, NEXT_RUN)
    page = watch(broker)
    page.picture("frame", 1)
    archive = page.watching.archive
    picture = archive.picture(NAME, "frame", "run_001", 7)
    np.testing.assert_array_equal(picture.image, image_of(7))
    assert (picture.stream, picture.about.n_peaks) == ("run_001", 12)
    assert archive.picture(NAME, "frame", "run_001", 7) is picture
    ways = [("frame", 7, 1), ("frame", 7, -1), ("frame", 7, 10), ("frame", 12, 1), ("frame", 1, -10), ("frame", 99, -1)]
    assert [archive.neighbour(NAME, kind, "run_001", at, by) for kind, at, by in ways] == [8, 6, 12, 12, 1, 12]
    assert [archive.neighbour(NAME, "hit", "run_001", at, by) for at, by in ((7, 1), (7, -1), (8, -10))] == [9, 5, 1]
    with pytest.raises(MessageNotFoundError):
        archive.picture(NAME, "frame", "run_001", 13)
    with pytest.raises(NoPictureError, match="powders"):
        archive.picture(NAME, "sum", "run_001", 7)
    with pytest.raises(UnknownSourceError, match="11012345/eiger"):
        archive.picture("11012345/other", "frame", "run_001", 7)


# --- what is wrong -----------------------------------------------------------------------------------------------


def test_garbage_is_said_once_and_counted_and_the_frames_after_it_are_shown(broker, watch):
    page = watch(broker)
    peaks = Address("11012345", "eiger-peaks", "run_001")
    with Producer(RUN, broker=broker) as producer, Producer(peaks, broker=broker, patience_s=0.05) as said:
        send(producer, 1)
        page.picture("frame", 1)
        for message_id, n_seen in ((2, 1), (3, 2)):
            producer.send(message_id, b"\xff" * 40, shape=SHAPE, dtype="<u2", codec="bslz4")
            producer.flush()
            page.wait(lambda n=n_seen: page.watching.counts.get("unreadable", 0) >= n, "frame")
        send(producer, 4)
        page.picture("frame", 4)
        said.send(1, b"", metadata={"n_peaks": "many"})
        said.flush()
        send(producer, 5)
        said.send(2, b"", metadata={"n_peaks": 3, "hit": True, "peaks": {"fs": [1e9], "ss": [0], "intensity": [1]}})
        said.flush()
        page.wait(lambda: page.watching.counts.get("peaks_uncounted", 0) >= 2)
        send(producer, 6)
        said.pass_over(3)
        said.send(6, b"", metadata={"n_peaks": 3, "hit": True, "peaks": None})
        said.flush()
        page.picture("frame", 6)
        producer.finish(6)
    assert f"{RUN}, message 2 cannot be shown: bslz4" in page.log()
    assert "message 3 cannot be shown" not in page.log()
    assert page.log().count("peaks cannot be shown: message 6") == 1


def test_a_server_that_is_killed_is_said_and_survived(watch, tmp_path: Path):
    with EmbeddedServer(memory_bytes=64 << 20, socket_path=tmp_path / "s") as server:
        page = watch(server.url)
        with Producer(RUN, broker=server.url) as producer:
            send(producer, 1)
            page.picture("frame", 1)
            page.numbers(n_received=1)
            producer.finish(1)
    lost = page.wait(lambda: page.lost())
    assert lost["sources"][NAME]["stream"] == "run_001", "what was known is still shown"
    assert "the server is lost" in page.log()
    with EmbeddedServer(memory_bytes=64 << 20, socket_path=tmp_path / "s") as server:
        with Producer(NEXT_RUN, broker=server.url) as producer:
            send(producer, 1, 2)
            page.wait(lambda: page.board.picture(NAME, "frame") and page.picture("frame").stream == "run_002", "frame")
            producer.finish(2)
        page.wait(lambda: "the server answers again" in page.log())


# --- files -------------------------------------------------------------------------------------------------------


def test_a_folder_of_cbf_files_is_paged_through_and_added_up(watch, captured_data: Path):
    page = watch(None, captured_data / "cbf_pilatus300k_albis")
    assert page.watching.offline
    first = page.picture("frame", 1)
    source, archive = page.watching.sources[0], page.watching.archive
    assert (first.shape, first.image.dtype, first.about.numbers["n_masked"]) == ((619, 487), np.uint32, 16577)
    ways = ((1, 1, 2), (2, 1, 5), (5, 1, 5), (1, -1, 1))
    assert all(archive.neighbour(source, "frame", first.stream, at, by) == there for at, by, there in ways)
    last = archive.picture(source, "frame", first.stream, 5)
    powder = page.picture("sum", 5)
    assert powder.n_frames == 3
    middle = archive.picture(source, "frame", first.stream, 2)
    good = (first.image != first.flag) & (last.image != last.flag) & (middle.image != middle.flag)
    added = first.image.astype(np.uint64) + middle.image + last.image
    np.testing.assert_array_equal(powder.image[good], added[good])
    assert page.numbers(n_received=3)["n_missing"] == 2
    assert page.document("receipt")["receipt"]["received"] == 3


def test_a_detectors_own_files_are_shown_by_their_master(watch, captured_data: Path, tmp_path: Path):
    folder = captured_data / "hdf5_nexgen_eiger_master"
    shutil.copy(folder / "xrc_209_master.h5", tmp_path)
    blob = (captured_data / "stream_v2_tickit_eiger16m" / "frame_sample_v1.bin").read_bytes()
    with h5py.File(tmp_path / "xrc_209_000001.h5", "w") as file:
        data = file.create_dataset(
            "data", (240, 4362, 4148), "<u2", chunks=(1, 4362, 4148), **hdf5plugin.Bitshuffle(nelems=0, cname="lz4")
        )
        data.id.write_direct_chunk((1, 0, 0), blob)
    page = watch(None, str(tmp_path / "xrc_209_master.h5"))
    said = page.picture("frame", 2).about.numbers  # the first one has no data
    assert (said["n_flagged"] + said["n_masked"], said["total"]) == (1_253_074, 9_876)
    assert page.numbers(life="finished")["newest_id"] == 240
    assert page.document("run")["geometry"]["distance_m"] > 0


def test_a_written_file_and_segments_show_what_the_stream_did_and_the_disk_is_in_the_numbers(watch, tmp_path: Path):
    with EmbeddedServer(memory_bytes=256 << 20) as server:
        service = BrokerService(Server(server.url), tmp_path / "spill")
        service.look()
        with Looking(service):
            with Producer(RUN, broker=server.url, keep="all", n_expected=5) as producer:
                send(producer, 1, 2, 3, 4, 5)
                producer.finish(5)
            assert run_processor(PeakProcessor, str(RUN), broker=server.url) == 0
            hits = Address("11012345", "eiger-hits", "run_001")
            assert run_handler(WriteHandler(tmp_path, "{stream}.nxs"), str(hits), broker=server.url) == 0
            page = watch(server.url)
            buffer = page.wait(lambda: page.buffer(n_spilled=5))
            assert buffer["folder"] == str(tmp_path / "spill")
            assert buffer["disk_free_bytes"] > 0
    for path, source, n_messages in (
        (tmp_path / "spill" / str(RUN), NAME, 5),
        (tmp_path / "run_001.nxs", f"{NAME}-hits", 3),
    ):
        page = watch(None, path)
        assert page.watching.sources == [source]
        picture = page.picture("frame", 1)
        np.testing.assert_array_equal(picture.image, image_of(1))
        assert page.numbers(life="finished")["n_received"] == n_messages
        newest = page.watching.archive.picture(source, "frame", "run_001", 5)
        np.testing.assert_array_equal(newest.image, image_of(5))
    assert picture.about.n_peaks == 12, "hits were written with their peaks"
    assert page.picture("hit", 1).about.hit is True
    assert page.watching.archive.neighbour(source, "hit", "run_001", 1, 1) == 3
    powder = page.picture("hits-sum", 5)
    expected = sum(image_of(message_id).astype(np.uint32) for message_id in (1, 3, 5))
    np.testing.assert_array_equal(powder.image[1:], expected[1:])


class Looking:
    """A broker's loop in a thread."""

    def __init__(self, service: BrokerService) -> None:
        self._service = service
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work)

    def _work(self) -> None:
        while not self._stop.wait(0.02):
            self._service.look()

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._thread.join()


# --- operators ---------------------------------------------------------------------------------------------------


def test_parameters_are_tried_on_a_frame_and_then_hold_for_later_ones(broker, watch):
    produce(broker, 3)
    assert run_processor(PeakProcessor, str(RUN), broker=broker) == 0
    page = watch(broker, allow_control=True)
    page.picture("frame", 3, n_peaks=12)
    control = page.watching.control
    said = control.parameters(NAME)
    threshold = next(one for one in said["parameters"] if one["name"] == "adc_threshold")
    assert (said["group"], said["version"], threshold["kind"]) == ("peaks", 1, "float")
    before = control.preview(NAME, "frame", "run_001", 3, {})
    assert (before["n_peaks"], before["hit"]) == (12, True)
    assert sorted(map(tuple, before["peaks"]))[0][:2] == (15.0, 15.0)
    assert control.preview(NAME, "frame", "run_001", 3, {"adc_threshold": 1000.0})["n_peaks"] == 0
    assert control.parameters(NAME)["version"] == 1, "a trial changes nothing"
    with pytest.raises(UsageError, match="min_res"):
        control.apply(NAME, {"min_res": "near"})
    with pytest.raises(UsageError, match="mask"):
        control.apply(NAME, {"mask": [1]})
    assert control.apply(NAME, {"adc_threshold": 1000})["version"] == 2
    produce(broker, 1, NEXT_RUN)
    assert run_processor(PeakProcessor, str(NEXT_RUN), broker=broker) == 0
    page.wait(lambda: page.board.picture(NAME, "frame") and page.picture("frame").stream == "run_002", "frame")
    assert page.picture("frame", 1, n_peaks=0).about.hit is False


def test_a_mask_that_is_drawn_is_that_of_the_peak_finder_and_of_the_pictures(broker, watch):
    produce(broker, 3)
    assert run_processor(PeakProcessor, str(RUN), broker=broker) == 0
    page = watch(broker, allow_control=True)
    page.picture("frame", 3)
    left = [[0, 0], [100, 0], [100, 100], [0, 100]]
    drawn = page.watching.control.draw_mask(NAME, [{"polygon": left}])
    assert drawn == {"n_masked": 100 * 100, "version": 2}
    page.wait(lambda: page.picture("frame", 3).mask is not None, "frame")  # at once, although no frame has come
    assert page.picture("frame", 3).about.numbers["n_masked"] == 100 * 100
    assert page.picture("sum").n_frames == 1, "it is the same frame"
    hole = [[10, 10], [20, 10], [20, 20], [10, 20]]
    assert page.watching.control.draw_mask(NAME, [{"polygon": hole, "erase": True}])["n_masked"] == 9_900
    store = ParameterStore(Server(broker), SOURCE, "peaks")
    mask: Any = store.load(store.current())["mask"]
    assert (mask.shape, int(mask.sum()), mask[15, 15], mask[15, 25]) == (SHAPE, 9_900, 0, 1)
    assert page.watching.control.preview(NAME, "frame", "run_001", 3, {"min_hit_peaks": 1})["n_peaks"] < 12
    with Producer(NEXT_RUN, broker=broker) as producer:
        send(producer, 1)
        page.wait(lambda: page.board.picture(NAME, "frame") and page.picture("frame").stream == "run_002", "frame")
        picture = page.picture("frame", 1)
        assert picture.mask is not None
        np.testing.assert_array_equal(picture.mask, mask != 0)
        assert page.watching.archive.pixel(picture, 50, 50).why == "masked"
        producer.finish(1)
    with pytest.raises(UsageError, match="3 to 1000"):
        page.watching.control.draw_mask(NAME, [{"polygon": [[0, 0], [1, 1]]}])
