"""Files of a detector's file writer, in each of their layouts and with everything that is wrong with them in life."""

from __future__ import annotations

import logging
import struct
from collections.abc import Callable
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import pytest

from beamstream import Consumer, Frame, codecs
from beamstream.errors import MessageNotFoundError, UsageError
from beamstream.offline import ChannelError, NoRecordingError, RecordingFormatError, path_receipt

from .conftest import FRAME_TIME_S, SHAPE, START_NS, image_of, write_header, write_images

Make = Callable[..., Path]


def read(where: Path | str) -> tuple[list[Frame], list[tuple[int, int]]]:
    with Consumer(where) as consumer:
        frames = list(consumer)
        assert consumer.counts.n_corrupt == 0
        return frames, [(gap.first_id, gap.last_id) for gap in consumer.take_gaps()]


def check_pixels(frames: list[Frame]) -> None:
    for frame in frames:
        assert np.array_equal(frame.array(), image_of(frame.message_id)), frame.message_id


def test_a_master_gives_all_images_of_its_data_files_in_order(make_legacy: Make) -> None:
    frames, gaps = read(str(make_legacy()))
    assert [frame.message_id for frame in frames] == list(range(1, 12))
    assert gaps == []
    check_pixels(frames)


def test_times_follow_from_the_start_and_the_frame_time(make_legacy: Make) -> None:
    frames, _ = read(make_legacy())
    step_ns = round(float(np.float32(FRAME_TIME_S)) * 1e9)
    assert frames[0].header.timestamp_ns == START_NS
    steps = np.diff([frame.header.timestamp_ns for frame in frames])
    assert np.all(np.abs(steps - step_ns) <= 1)
    assert [frame.metadata["image_id"] for frame in frames] == list(range(11))


@pytest.mark.parametrize("codec", ["bslz4", "lz4", "none"])
def test_chunks_are_passed_on_untouched(make_legacy: Make, codec: str) -> None:
    frames, _ = read(make_legacy(codec=codec))
    assert {frame.header.codec for frame in frames} == {codec}
    assert [frame.payload for frame in frames] == [
        bytes(codecs.encode(image_of(number), codec)) for number in range(1, 12)
    ]


def test_data_files_are_taken_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    """As texts data_10 comes before data_9; names need not have six digits."""
    with h5py.File(tmp_path / "run_master.h5", "w") as file:
        write_header(file, 12)
        for number in range(1, 13):
            write_images(tmp_path / f"part_{number}.h5", [number], image_nr=False)
            file[f"entry/data/data_{number}"] = h5py.ExternalLink(f"part_{number}.h5", "entry/data/data")
    frames, _ = read(tmp_path / "run_master.h5")
    assert len(frames) == 12
    check_pixels(frames)


@pytest.mark.parametrize("image_nr", [True, False])
def test_a_missing_data_file_is_a_stated_gap_and_named(
    make_legacy: Make, image_nr: bool, caplog: pytest.LogCaptureFixture
) -> None:
    master = make_legacy((4, 4, 4, 2), image_nr=image_nr)
    (master.parent / "run_042_data_000002.h5").unlink()
    with caplog.at_level(logging.WARNING):
        frames, gaps = read(master)
    assert [frame.message_id for frame in frames] == [1, 2, 3, 4, *range(9, 15)]
    check_pixels(frames)
    assert gaps == [(5, 8)]
    assert "run_042_data_000002.h5 is missing" in caplog.text
    receipt = path_receipt(master)
    assert (receipt.state, receipt.missing, receipt.expected) == ("incomplete", [(5, 8)], 14)


def test_the_master_of_an_aborted_series_links_to_files_that_never_came(make_legacy: Make) -> None:
    master = make_legacy((4, 4, 4), n_images=11)
    for number in (2, 3):
        (master.parent / f"run_042_data_{number:06d}.h5").unlink()
    frames, gaps = read(master)
    assert len(frames) == 4
    assert gaps == [(5, 11)]  # not more than were promised


def test_a_link_that_is_missing_itself_leaves_room_for_its_images(make_legacy: Make) -> None:
    master = make_legacy((4, 4, 4), image_nr=False)
    with h5py.File(master, "a") as file:
        del file["entry/data/data_000002"]
    frames, gaps = read(master)
    assert [frame.message_id for frame in frames] == [1, 2, 3, 4, 9, 10, 11, 12]
    assert gaps == [(5, 8)]


def test_image_numbers_that_contradict_one_another_are_not_believed(
    make_legacy: Make, caplog: pytest.LogCaptureFixture
) -> None:
    master = make_legacy((4, 4))
    for number in (1, 2):
        with h5py.File(master.parent / f"run_042_data_{number:06d}.h5", "a") as file:
            file["entry/data/data"].attrs["image_nr_low"] = np.int32(1)  # int32 on an EIGER1
    frames, _ = read(master)
    check_pixels(frames)
    assert [frame.message_id for frame in frames] == list(range(1, 9))
    assert "image_nr_low 1, which cannot be" in caplog.text


def test_images_may_be_in_the_master_itself(tmp_path: Path) -> None:
    """nimages_per_file = 0."""
    with h5py.File(tmp_path / "run_master.h5", "w") as file:
        write_header(file, 5)
    write_images(tmp_path / "run_master.h5", range(1, 6))
    frames, _ = read(tmp_path / "run_master.h5")
    assert len(frames) == 5
    check_pixels(frames)


@pytest.mark.parametrize("name", ["entry/data/data", "data"])
def test_a_data_file_by_itself_has_the_numbers_of_its_images(tmp_path: Path, name: str) -> None:
    write_images(tmp_path / "run_data_000003.h5", range(9, 13), name=name)
    frames, gaps = read(tmp_path / "run_data_000003.h5")
    assert [frame.message_id for frame in frames] == [9, 10, 11, 12]
    check_pixels(frames)
    assert gaps == [(1, 8)]


def test_files_that_were_moved_together_are_found(make_legacy: Make, tmp_path: Path) -> None:
    master = make_legacy((4, 3))
    with h5py.File(master, "a") as file:
        del file["entry/data/data_000001"]
        link = h5py.ExternalLink("/detector/buffer/run_042_data_000001.h5", "entry/data/data")
        file["entry/data/data_000001"] = link
    frames, _ = read(master)
    assert len(frames) == 7


# --- how images are stored -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        {"chunks": (1, *SHAPE), "compression": "gzip"},
        {"chunks": (1, *SHAPE), "compression": "gzip", "shuffle": True, "fletcher32": True},
        {"chunks": (1, *SHAPE), **hdf5plugin.Bitshuffle(nelems=0, cname="zstd")},
        {"chunks": (1, *SHAPE), **hdf5plugin.Bitshuffle(nelems=0, cname="none")},
        {"chunks": (3, *SHAPE), **hdf5plugin.Bitshuffle(nelems=0, cname="lz4")},
        {"chunks": (3, 10, 20), **hdf5plugin.LZ4(nbytes=0)},
        {"chunks": None},
    ],
    ids=["gzip", "shuffle+gzip", "bszstd", "bitshuffle", "several in a chunk", "tiles", "no chunks"],
)
def test_images_stored_otherwise_are_unpacked_and_packed_anew_which_is_said_once(
    make_legacy: Make, how: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        frames, _ = read(make_legacy(**how))
    assert {frame.header.codec for frame in frames} == {"bslz4"}
    assert len(frames) == 11
    check_pixels(frames)
    assert caplog.text.count("packed as bslz4") == 1


def test_what_is_packed_anew_is_the_same_each_time_and_counted(make_legacy: Make) -> None:
    master = make_legacy(chunks=(2, *SHAPE), compression="gzip")
    frames, _ = read(master)
    receipt = path_receipt(master)
    assert receipt.payload_bytes == sum(frame.header.payload_bytes for frame in frames)
    assert path_receipt(master, verify=True) == receipt


def test_the_receipt_of_what_is_passed_on_counts_its_bytes(make_legacy: Make) -> None:
    master = make_legacy()
    frames, _ = read(master)
    assert path_receipt(master).payload_bytes == sum(frame.header.payload_bytes for frame in frames)


def test_images_that_were_never_stored_are_no_images(tmp_path: Path) -> None:
    """They read as fill values, which look like data."""
    with h5py.File(tmp_path / "run.h5", "w") as file:
        data = file.create_dataset("entry/data/data", (9, *SHAPE), "<u2", chunks=(1, *SHAPE), fillvalue=7)
        for number in (2, 3, 7):
            data[number - 1] = image_of(number)
        contiguous = h5py.File(tmp_path / "empty.h5", "w")
        contiguous.create_dataset("entry/data/data", (9, *SHAPE), "<u2")
        contiguous.close()
    frames, gaps = read(tmp_path / "run.h5")
    assert [frame.message_id for frame in frames] == [2, 3, 7]
    assert gaps == [(1, 1), (4, 6), (8, 9)]
    assert read(tmp_path / "empty.h5")[0] == []


def test_a_chunk_that_a_filter_left_alone_is_uncompressed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "run.h5", "w") as file:
        data = file.create_dataset(
            "entry/data/data", (1, *SHAPE), "<u2", chunks=(1, *SHAPE), **hdf5plugin.Bitshuffle(nelems=0, cname="lz4")
        )
        data.id.write_direct_chunk((0, 0, 0), image_of(1).tobytes(), filter_mask=1)
    frames, _ = read(tmp_path / "run.h5")
    assert frames[0].header.codec == "none"
    check_pixels(frames)


@pytest.mark.parametrize("libver", ["earliest", "v108", "v110", "latest"])
def test_files_of_old_and_new_libraries_are_read(tmp_path: Path, libver: str) -> None:
    with h5py.File(tmp_path / "run.h5", "w", libver=libver, userblock_size=512):
        pass
    write_images(tmp_path / "run.h5", range(1, 4))
    check_pixels(read(tmp_path / "run.h5")[0])


@pytest.mark.parametrize("dtype", ["u1", "<u4", ">u2", "<i4", "<f4"])
def test_pixels_of_every_type_come_as_they_are(tmp_path: Path, dtype: str) -> None:
    with h5py.File(tmp_path / "run.h5", "w") as file:
        data = file.create_dataset("entry/data/data", (1, *SHAPE), dtype, chunks=(1, *SHAPE))
        data[0] = image_of(1)
    frames, _ = read(tmp_path / "run.h5")
    assert np.dtype(frames[0].header.dtype or "") == np.dtype(dtype)
    check_pixels(frames)


# --- the newer layout ----------------------------------------------------------------------------------------------


def test_a_virtual_dataset_gives_the_chunks_of_its_sources(make_v2024: Make) -> None:
    master = make_v2024()
    frames, gaps = read(master)
    assert [frame.payload for frame in frames] == [
        bytes(codecs.encode(image_of(number), "bslz4")) for number in range(1, 7)
    ]
    assert gaps == []
    assert path_receipt(master).clean


def test_another_channel_is_named_behind_the_path(make_v2024: Make) -> None:
    master = make_v2024()
    frames, _ = read(f"{master}#threshold_2")
    for frame in frames:
        assert np.array_equal(frame.array(), image_of(frame.message_id) + 100)
    with Consumer(f"{master}#threshold_2") as consumer:
        detector = consumer.metadata["entry"]["instrument"]["detector"]
    assert detector["threshold_energy"] == 12_000.0
    assert detector["threshold_energy@units"] == "eV"
    assert np.all(detector["pixel_mask"] == 2)
    assert "threshold_1_channel" not in detector
    with pytest.raises(ChannelError, match="threshold_1, threshold_2"):
        Consumer(f"{master}#threshold_3")


def test_a_channel_is_refused_where_there_are_none(make_legacy: Make) -> None:
    with pytest.raises(ChannelError, match="no channels"):
        Consumer(f"{make_legacy()}#threshold_1")


def test_a_missing_source_of_a_virtual_dataset_is_a_gap_and_no_fill_value(
    make_v2024: Make, caplog: pytest.LogCaptureFixture
) -> None:
    master = make_v2024()
    (master.parent / "new_data_000001.h5").unlink()
    frames, gaps = read(master)
    assert [frame.message_id for frame in frames] == [4, 5, 6]
    check_pixels(frames)
    assert gaps == [(1, 3)]
    assert "new_data_000001.h5 is missing" in caplog.text


def test_image_ids_are_the_message_ids_where_the_file_has_them(make_v2024: Make) -> None:
    frames, gaps = read(make_v2024(image_ids=[0, 1, 3, 4, 5, 9]))
    assert [frame.message_id for frame in frames] == [1, 2, 4, 5, 6, 10]
    assert gaps == [(3, 3), (7, 9)]
    assert np.array_equal(frames[-1].array(), image_of(6))


def test_a_virtual_dataset_of_parts_of_images_is_read_through_itself(tmp_path: Path) -> None:
    """Two modules, a file each."""
    for name, rows in (("top.h5", slice(0, 15)), ("bottom.h5", slice(15, None))):
        with h5py.File(tmp_path / name, "w") as file:
            file["data"] = np.stack([image_of(number)[rows] for number in (1, 2, 3)])
    layout = h5py.VirtualLayout((3, *SHAPE), "<u2")
    layout[:, :15] = h5py.VirtualSource("top.h5", "data", shape=(3, 15, SHAPE[1]))
    layout[:, 15:] = h5py.VirtualSource("bottom.h5", "data", shape=(3, SHAPE[0] - 15, SHAPE[1]))
    with h5py.File(tmp_path / "whole.h5", "w") as file:
        file.create_group("entry/data").create_virtual_dataset("data", layout)
    frames, _ = read(tmp_path / "whole.h5")
    assert len(frames) == 3
    check_pixels(frames)
    (tmp_path / "bottom.h5").unlink()
    assert read(tmp_path / "whole.h5") == ([], [(1, 3)])


# --- the header ----------------------------------------------------------------------------------------------------


def test_the_header_becomes_the_stream_metadata(make_legacy: Make) -> None:
    with Consumer(make_legacy()) as consumer:
        entry = consumer.metadata["entry"]
    detector = entry["instrument"]["detector"]
    assert entry["@NX_class"] == "NXentry"
    assert entry["definition"] == "NXmx"
    assert detector["description"] == "Dectris EIGER2 Si 4M"
    assert detector["frame_time@units"] == "s"
    assert np.array_equal(detector["pixel_mask"], np.eye(*SHAPE))
    assert detector["flatfield"].dtype == "<f4"
    assert detector["detectorSpecific"]["nimages"] == 11
    assert not [name for name in entry.get("data", {}) if name.startswith("data")]


def test_a_header_that_loops_or_leads_nowhere_is_read_as_far_as_it_goes(make_legacy: Make) -> None:
    master = make_legacy()
    with h5py.File(master, "a") as file:
        detector = file["entry/instrument/detector"]
        detector["myself"] = detector
        detector["up"] = h5py.SoftLink("/entry")
        detector["round"] = h5py.ExternalLink(master.name, "/entry/instrument")
        detector["circle"] = h5py.SoftLink("/entry/instrument/detector/circle")
        detector["nowhere"] = h5py.SoftLink("/nothing/here")
        detector["elsewhere"] = h5py.ExternalLink("absent.h5", "/data")
        detector["record"] = np.zeros(3, dtype=[("a", "<i4"), ("b", "<f8")])
        detector["reference"] = detector.ref
        detector.create_dataset("huge", (10**6, 10**6), "<f8")
        detector.create_dataset("many", (10**9,), "<u2", chunks=(1000,))
    with Consumer(master) as consumer:
        detector = consumer.metadata["entry"]["instrument"]["detector"]
        assert len(list(consumer)) == 11
    left_out = {"myself", "circle", "nowhere", "elsewhere", "record", "reference", "huge", "many"}
    assert not left_out & detector.keys()
    assert detector["description"] == "Dectris EIGER2 Si 4M"


def test_links_between_data_files_that_go_round_end(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "run_master.h5", "w") as file:
        file["entry/data/data_000001"] = h5py.ExternalLink("other.h5", "entry/data/data")
        file["entry/data/data_000002"] = h5py.ExternalLink("run_master.h5", "entry/data/data_000002")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["entry/data/data"] = h5py.ExternalLink("other.h5", "entry/data/data")
    frames, _ = read(tmp_path / "run_master.h5")
    assert frames == []


# --- what is no such file, or a damaged one --------------------------------------------------------------------------


def test_a_truncated_file_is_named(make_legacy: Make, tmp_path: Path) -> None:
    master = make_legacy()
    master.write_bytes(master.read_bytes()[: master.stat().st_size // 2])
    with pytest.raises(RecordingFormatError, match=r"run_042_master\.h5 cannot be read"):
        Consumer(master)


def test_a_truncated_data_file_is_left_out_and_named(make_legacy: Make, caplog: pytest.LogCaptureFixture) -> None:
    master = make_legacy((4, 4, 4))
    part = master.parent / "run_042_data_000002.h5"
    part.write_bytes(part.read_bytes()[:-2000])
    frames, gaps = read(master)
    assert [frame.message_id for frame in frames] == [1, 2, 3, 4, 9, 10, 11, 12]
    assert gaps == [(5, 8)]
    assert "run_042_data_000002.h5 is left out" in caplog.text


def test_a_damaged_chunk_costs_itself(make_legacy: Make) -> None:
    master = make_legacy((4,))
    with h5py.File(master.parent / "run_042_data_000001.h5", "a") as file:
        data = file["entry/data/data"]
        data.id.write_direct_chunk((1, 0, 0), b"\xff" * 400)
        data.id.write_direct_chunk((2, 0, 0), b"\0")
    with Consumer(master) as consumer:
        assert [frame.message_id for frame in consumer] == [1, 4]
        assert consumer.counts.n_corrupt == 2
    assert path_receipt(master).received == 2


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(500), bytes(4096)])
def test_garbage_is_refused_with_the_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "run.h5"
    path.write_bytes(content)
    with pytest.raises((RecordingFormatError, NoRecordingError), match=r"run\.h5"):
        Consumer(path)


def test_a_file_without_images_is_no_recording(captured_data: Path) -> None:
    with pytest.raises(NoRecordingError):
        Consumer(captured_data / "hdf5_nexgen_eiger_master" / "00001.h5")


def test_claimed_sizes_cost_nothing(tmp_path: Path) -> None:
    for name, shape, dtype in [
        ("long.h5", (10**12, *SHAPE), "<u2"),
        ("wide.h5", (1, 10**6, 10**6), "<u2"),
        ("text.h5", (1, *SHAPE), h5py.string_dtype()),
    ]:
        with h5py.File(tmp_path / name, "w") as file:
            file.create_dataset("entry/data/data", shape, dtype, chunks=(1, *SHAPE))
        with pytest.raises(RecordingFormatError, match=name):
            Consumer(tmp_path / name)


def test_a_part_is_refused(make_legacy: Make) -> None:
    with pytest.raises(UsageError, match="have no parts"):
        Consumer(make_legacy(), part=1)


def test_single_messages_are_found_by_their_id(make_legacy: Make) -> None:
    master = make_legacy()
    with Consumer(master) as consumer:
        assert np.array_equal(consumer.read(7).array(), image_of(7))
        assert consumer.newest().message_id == 11
        with pytest.raises(MessageNotFoundError):
            consumer.read(12)
    with Consumer(master, start=5) as consumer:
        assert next(iter(consumer)).message_id == 5


# --- captured ------------------------------------------------------------------------------------------------------


def test_a_captured_master_without_its_files_states_all_of_it(captured_data: Path) -> None:
    master = captured_data / "hdf5_nexgen_eiger_master" / "xrc_209_master.h5"
    frames, gaps = read(master)
    assert (frames, gaps) == ([], [(1, 240)])
    with Consumer(master) as consumer:
        detector = consumer.metadata["entry"]["instrument"]["detector"]
    assert detector["description"] == "Eiger 16M"
    assert detector["x_pixel_size@units"] == "m"
    assert "pixel_mask" not in detector  # a link to a file that is not there


def test_a_captured_master_finds_its_data(captured_data: Path, tmp_path: Path) -> None:
    """Facilities' own masters have links and a virtual dataset over them; the data is at /data."""
    folder = captured_data / "hdf5_nexgen_eiger_master"
    (tmp_path / "xrc_209_master.h5").write_bytes((folder / "xrc_209_master.h5").read_bytes())
    blob = (captured_data / "stream_v2_tickit_eiger16m" / "frame_sample_v1.bin").read_bytes()
    with h5py.File(tmp_path / "xrc_209_000001.h5", "w") as file:
        data = file.create_dataset(
            "data", (240, 4362, 4148), "<u2", chunks=(1, 4362, 4148), **hdf5plugin.Bitshuffle(nelems=0, cname="lz4")
        )
        data.id.write_direct_chunk((1, 0, 0), blob)
    with Consumer(tmp_path / "xrc_209_master.h5") as consumer:
        frame = consumer.read(2)
        assert bytes(frame.payload) == blob
        pixels = frame.array()
        assert int((pixels == 65535).sum()) == 1_253_074
        assert int(pixels[pixels < 65535].sum()) == 9_876
        assert [one.message_id for one in consumer] == [2]


def test_a_chunk_that_claims_more_than_its_file_costs_itself(tmp_path: Path) -> None:
    path = tmp_path / "run.h5"
    with h5py.File(path, "w", libver="earliest"):
        pass
    sizes = {number: len(bytes(codecs.encode(image_of(number), "bslz4"))) for number in range(1, 20)}
    number, size = next((one, size) for one, size in sizes.items() if list(sizes.values()).count(size) == 1)
    write_images(path, list(sizes))
    whole = path.read_bytes()
    said, claimed = (
        struct.pack("<II", size, 0),
        struct.pack("<II", 2**31, 0),
    )  # as the index has it: size, no filter off
    assert whole.count(said) == 1
    path.write_bytes(whole.replace(said, claimed))
    with Consumer(path) as consumer:
        assert [frame.message_id for frame in consumer] == [one for one in sizes if one != number]
        assert consumer.counts.n_corrupt == 1


def test_links_with_strange_numbers_stay_in_order(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "run_master.h5", "w") as file:
        for name, number in (("data_000000", 1), ("data_1", 2), ("data_000001", 3), ("data_7x", 9), ("data_", 9)):
            write_images(tmp_path / f"{name}.h5", [number], image_nr=False)
            file[f"entry/data/{name}"] = h5py.ExternalLink(f"{name}.h5", "entry/data/data")
    frames, _ = read(tmp_path / "run_master.h5")
    assert [frame.message_id for frame in frames] == [1, 2, 3]
    with h5py.File(tmp_path / "run_master.h5", "a") as file:
        file["entry/data/data_999999999"] = h5py.ExternalLink("data_1.h5", "entry/data/data")
    with pytest.raises(RecordingFormatError, match="more than 100000000 images"):
        Consumer(tmp_path / "run_master.h5")


def test_captured_blobs_in_a_data_file_have_their_counts(captured_data: Path, tmp_path: Path) -> None:
    """An EIGER2 1M, stream version 1, plain LZ4: its file writer puts the same block behind a header."""
    parts = [
        path.read_bytes() for path in sorted((captured_data / "stream_v1_eigerstreamreceiver" / "parts").iterdir())
    ]
    blobs = [parts[place + 2] for place, head in enumerate(parts) if b'"dimage-1.0"' in head[:200]][:10]
    shape, dtype = (1062, 1028), np.dtype("<u4")
    with h5py.File(tmp_path / "run_master.h5", "w") as file:
        data = file.create_dataset(
            "entry/data/data", (10, *shape), dtype, chunks=(1, *shape), **hdf5plugin.LZ4(nbytes=0)
        )
        for place, blob in enumerate(blobs):
            chunk = codecs.to_hdf5_chunk(blob, "lz4-block", shape, dtype)
            data.id.write_direct_chunk((place, 0, 0), bytes(chunk.data))
    frames, _ = read(tmp_path / "run_master.h5")
    assert {frame.header.codec for frame in frames} == {"lz4"}
    images = [frame.array() for frame in frames]
    sums = [int(image[image != 0xFFFFFFFF].sum()) for image in images]
    assert sums == [2535, 2585, 2514, 2583, 2516, 2599, 2528, 2592, 2520, 2585]
