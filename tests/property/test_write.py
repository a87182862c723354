"""The writer against a model: messages in any order and number, with commits and restarts anywhere."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from beamstream import Address, Frame, Header, codecs
from beamstream.receipt import chain, missing_ranges
from beamstream.service import StreamEnd, StreamStart
from beamstream_consumers.write import WriteHandler
from beamstream_consumers.write.nexus import write_tree

ADDRESS = Address("bt", "eiger", "run")
START = StreamStart(address=ADDRESS, metadata={}, n_expected=None, broker="")

names = st.text(max_size=5)
leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.complex_numbers()
trees = st.recursive(
    st.dictionaries(names, leaves | st.lists(leaves, max_size=3), max_size=4),
    lambda children: st.dictionaries(names, children | leaves, max_size=3),
    max_leaves=12,
)


def image_of(message_id: int) -> Any:
    return np.full((3, 2), message_id, dtype="<u2")


def frame_of(message_id: int) -> Frame:
    payload = bytes(codecs.encode(image_of(message_id), "bslz4"))
    header = Header(
        payload_bytes=len(payload),
        checksum=xxhash.xxh3_64_intdigest(payload),
        timestamp_ns=message_id,
        codec="bslz4",
        shape=(3, 2),
        dtype="<u2",
        metadata={"twice": 2 * message_id},
    )
    return Frame(address=ADDRESS, message_id=message_id, header=header, payload=payload)


@settings(max_examples=40)
@given(
    steps=st.lists(st.integers(1, 20) | st.sampled_from(["commit", "restart"]), max_size=40),
    beyond=st.integers(0, 5),
)
def test_every_message_has_its_place_whatever_happened(steps: list[Any], beyond: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        handler = WriteHandler(Path(folder), "run.nxs", min_free_bytes=0)
        handler.open(START)
        ids = {step for step in steps if isinstance(step, int)}
        for step in steps:
            if step == "commit":
                handler.commit()
            elif step == "restart":
                handler.commit()
                handler.close(None)
                handler = WriteHandler(Path(folder), "run.nxs", min_free_bytes=0)
                handler.open(START)
            else:
                handler.handle(frame_of(step))
        last_id = max(ids, default=0) + beyond
        report = handler.close(StreamEnd(last_id=last_id, n_expected=None, reason="complete", next_stream=None))
        assert report is not None
        assert report["n_written"] == len(ids)
        assert report["checksum"] == f"{chain((i, frame_of(i).header.checksum) for i in ids):016x}"
        with h5py.File(Path(folder) / "run.nxs") as file:
            missing = [tuple(pair) for pair in file["entry/beamstream/missing"][()].tolist()]
            assert missing == missing_ranges(ids, last_id)
            if ids:
                expected = [image_of(i if i in ids else 65535) for i in range(1, last_id + 1)]
                assert np.array_equal(file["entry/data/data"][()], np.stack(expected))
                twice = file["entry/beamstream/messages/twice"][()].tolist()
                assert twice == [2 * i if i in ids else 0 for i in range(1, last_id + 1)]


@settings(max_examples=60)
@given(tree=trees)
def test_no_tree_keeps_a_file_from_being_written(tree: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder, h5py.File(Path(folder) / "tree.h5", "w") as file:
        rejected = write_tree(file.create_group("entry"), tree)
        file["entry/what comes after"] = 1
        assert all(error.reason for error in rejected)
