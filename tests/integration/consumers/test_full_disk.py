"""The writer on a disk that is really full: frames wait outside the file, and all are in it once there is room."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WRITER = """
import json, sys
from pathlib import Path
import numpy as np
import xxhash
from beamstream import Address, Frame, Header, codecs
from beamstream.service import StreamEnd, StreamStart
from beamstream_consumers.write.errors import DiskFullError
from beamstream_consumers.write.handler import WriteHandler

N = 60
place = Path(sys.argv[1])
ballast = place / "ballast"
ballast.write_bytes(bytes(int(sys.argv[2])))
address = Address("bt", "det", "run")
handler = WriteHandler(place, verify=True, min_free_bytes=0)
n_full = 0

def insist(call, *arguments):
    global n_full
    while True:
        try:
            return call(*arguments)
        except DiskFullError:
            n_full += 1
            assert ballast.exists(), "still full"
            ballast.unlink()

insist(handler.open, StreamStart(address=address, metadata={}, n_expected=N, broker=""))
noise = np.random.default_rng(0).integers(0, 60000, (500, 500), "<u2")
for message_id in range(1, N + 1):
    payload = codecs.encode(noise + np.uint16(message_id), "bslz4")
    header = Header(payload_bytes=len(payload), checksum=xxhash.xxh3_64_intdigest(payload), timestamp_ns=1,
                    codec="bslz4", shape=noise.shape, dtype="<u2")
    insist(handler.handle, Frame(address=address, message_id=message_id, header=header, payload=payload))
    if message_id % 3 == 0:
        insist(handler.commit)
report = insist(handler.close, StreamEnd(last_id=N, n_expected=N, reason="complete", next_stream=None))
blocks = Path(report["path"]).stat()
print(json.dumps({**report, "n_full": n_full, "unused_bytes": blocks.st_blocks * 512 - blocks.st_size}))
"""

MOUNT = 'mount -t tmpfs -o size=100m none "$0" && exec "$@"'


def write_in_100_mb(place: Path, ballast_bytes: int) -> dict:
    """Write 60 frames, 29 MB, to a file system of 100 MB of its own, with a file in it that can be deleted."""
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody have a file system of his own")
    result = subprocess.run(
        ["unshare", "-rm", "sh", "-c", MOUNT, str(place), sys.executable, "-c", WRITER, str(place), str(ballast_bytes)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.mark.parametrize("free_mb", [0, 1, 17, 20, 30, 40])
def test_a_full_disk_costs_no_frame_wherever_it_is_met(tmp_path, free_mb):
    report = write_in_100_mb(tmp_path, (100 - free_mb) * 2**20 - 65536)
    assert (report["n_full"] > 0) == (free_mb < 25)  # the file has 29 MB
    assert (report["n_written"], report["n_verified"], report["n_missing"]) == (60, 60, 0)


def test_nothing_stays_allocated_behind_a_finished_file(tmp_path):
    report = write_in_100_mb(tmp_path, 0)
    assert report["n_full"] == 0
    assert report["unused_bytes"] < 2**20
