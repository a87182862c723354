"""Writers are killed at random moments, and the files are complete all the same: every image once, byte for byte.

    python benchmarks/write_faults.py [--rounds 50] [--layout NAME …] [--seed 7] [--folder DIR] [--json]

In each round a producer sends some hundred images to a stream, of which one or two processes write files. They are
killed with -9: in half of the rounds at random moments of wall time, in the other half in the middle of a random one
of their own writes to the disk, of which a random part is done. Who was killed is started again. In the end the files
have to be finished and hold every image's chunk as it was sent, read with h5py alone and as a stream; the receipt in
the file has to be that of the stream on the broker, and nothing may lie beside the files. Ends with status 1 where a
single round fails.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin  # noqa: F401 - the filters
import numpy as np

from beamstream import Address, Consumer, Producer, codecs
from beamstream.metrics import Snapshot
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.service.consuming.patience import Patience
from beamstream.service.consuming.visit import LoopCounts, Visit
from beamstream.service.shell import service_shell
from beamstream.streams import delete_stream
from beamstream_broker.embedded import EmbeddedServer
from beamstream_consumers.write import WriteHandler

LAYOUTS: dict[str, tuple[dict[str, Any], int]] = {
    "one file": ({}, 1),
    "master and data files": ({"images_per_file": 64}, 1),
    "two workers": ({"shared": True}, 2),
    "two workers, data files": ({"shared": True, "images_per_file": 64}, 2),
}
"""Options of the writer, and how many write together."""

N_IMAGES = 400
SHAPE = (37, 53)
PACE_S = 0.001
"""How often an image is sent [s]; a round's images take half a second."""

MEMBER_TIMEOUT_S = 0.3
"""After which silence the messages of a killed writer are given to others [s]."""

MAX_WRITES = 500
"""A writer makes some hundred write calls in a round: it dies in one of the first of them."""

ROUND_TIMEOUT_S = 45.0

MAX_FAILURES = 3
"""How often a writer that failed, and was not killed, is started again as its operator would; each is reported."""

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(
    ["write_faults", "h5py", "hdf5plugin", "beamstream_consumers.write", "beamstream.consumer", "beamstream.service"]
)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is written, and where."""

    url: str
    address: Address
    folder: Path
    options: dict[str, Any]

    @property
    def said(self) -> Path:
        """Where a writer that failed says why."""
        return self.folder.with_name(self.folder.name + ".said")


def image_of(number: int) -> Any:
    """Return an image that no other message has."""
    return np.random.default_rng(number).poisson(2.0, SHAPE).astype("<u2")


def die_in_write(countdown: int, seed: int) -> None:
    """Let this process be killed in the middle of one of its writes."""
    rng, write, left = random.Random(seed), os.pwrite, [countdown]

    def pwrite(descriptor: int, data: Any, offset: int) -> int:
        left[0] -= 1
        if left[0] <= 0:
            view = memoryview(data).cast("B")
            write(descriptor, view[: rng.randint(0, len(view))], offset)
            os.kill(os.getpid(), signal.SIGKILL)
        return write(descriptor, data, offset)

    os.pwrite = pwrite


def note(work: Work, text: str) -> None:
    """Write down why a writer failed."""
    with work.said.open("a") as file:
        file.write(text)


def write(work: Work, dies_after: int, seed: int) -> None:
    """Write as a member of the group until the stream is finished."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.excepthook = lambda failed: note(work, "".join(traceback.format_exception(failed.exc_value)))
    if dies_after:
        die_in_write(dies_after, seed)
    handler = WriteHandler(work.folder, "{stream}.nxs", min_free_bytes=0, **work.options)
    with (
        service_shell("write", lambda: Snapshot(events={}, payload_bytes=0, levels={})) as shell,
        Consumer(
            work.address,
            broker=work.url,
            group="write",
            required=True,
            wait_for_stream=True,
            member_timeout_s=MEMBER_TIMEOUT_S,
            max_attempts=1000,
            redelivery_delays_s=[0.0],
        ) as consumer,
    ):
        try:
            Visit(handler, consumer, work.url, shell, LoopCounts(patience=Patience(handler.name))).run(lambda: False)
        except Exception:
            note(work, traceback.format_exc())
            raise


class Writer:
    """One writer that is started again when it was killed."""

    def __init__(self, work: Work, rng: random.Random, *, dies_in_write: bool) -> None:
        self._work, self._rng = work, rng
        self.n_kills = self.n_failures = 0
        self._start(rng.randint(1, MAX_WRITES) if dies_in_write else 0)

    def _start(self, dies_after: int) -> None:
        self._process = PROCESSES.Process(
            target=write, args=(self._work, dies_after, self._rng.getrandbits(32)), daemon=True
        )
        self._process.start()

    def kill(self) -> None:
        """Kill it, and start another one."""
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
            self._again()

    def _again(self) -> None:
        self.n_kills += self._process.exitcode == -signal.SIGKILL
        self._start(0)

    def wait(self, ends_at: float) -> str:
        """Wait for its end; return what went wrong."""
        while True:
            self._process.join(max(0.0, ends_at - time.monotonic()))
            if self._process.exitcode is None:
                self._process.kill()
                self._process.join()
                return "a writer did not come to the end"
            if self._process.exitcode == 0:
                return ""
            if self._process.exitcode != -signal.SIGKILL:
                self.n_failures += 1
                if self.n_failures > MAX_FAILURES:
                    return f"a writer ended with {self._process.exitcode}"
            self._again()


def produce(work: Work) -> None:
    """Send the images."""
    with Producer(work.address, broker=work.url, n_expected=N_IMAGES) as producer:
        for number in range(1, N_IMAGES + 1):
            producer.send_array(number, image_of(number), codec="bslz4", metadata={"x": number})
            time.sleep(PACE_S)
        producer.finish(N_IMAGES)


def judge(work: Work) -> list[str]:
    """Return what is wrong with the files."""
    finals = [work.folder / name for name in ("run.nxs", "run_master.h5")]
    path = next((one for one in finals if one.exists()), None)
    if path is None:
        return [f"there is no finished file, but {sorted(one.name for one in work.folder.iterdir())}"]
    flaws = [f"{one.name} lies there" for one in work.folder.iterdir() if one.suffix not in (".nxs", ".h5")]
    packed = [bytes(codecs.encode(image_of(number), "bslz4")) for number in range(1, N_IMAGES + 1)]
    with h5py.File(path) as file:
        data = file["entry/data"]
        names = sorted(name for name in data if name.startswith("data"))
        images = np.concatenate([data[name][()] for name in names])
        if not np.array_equal(images, [image_of(number) for number in range(1, N_IMAGES + 1)]):
            flaws.append("h5py reads other images")
        if file["entry/beamstream/messages/x"][()].tolist() != list(range(1, N_IMAGES + 1)):
            flaws.append("the columns are others")
        checksum = f"{int(file['entry/beamstream/checksum'][()]):016x}"
    with Consumer(path) as frames:
        there = {frame.message_id: bytes(frame.payload) for frame in frames}
    wrong = [number for number, chunk in enumerate(packed, start=1) if there.get(number) != chunk]
    if wrong or len(there) != N_IMAGES:
        flaws.append(f"{len(there)} images, of which others than were sent: {wrong[:10]}")
    server = Server(work.url)
    receipt = make_receipt(server, work.address)
    server.close()
    if not receipt.clean or receipt.written != N_IMAGES or checksum != receipt.checksum:
        flaws.append(f"the receipt has {receipt.written} written, clean {receipt.clean}, {checksum} {receipt.checksum}")
    return flaws


def run_round(url: str, folder: Path, layout: str, number: int, seed: int) -> dict[str, Any]:
    """Do one round."""
    rng = random.Random(f"{seed} {layout} {number}")
    options, n_writers = LAYOUTS[layout]
    place = folder / f"{layout.replace(' ', '_').replace(',', '')}_{number}"
    place.mkdir()
    work = Work(url=url, address=Address("bt", f"round_{number}", "run"), folder=place, options=options)
    dies_in_write = number % 2 == 1
    writers = [Writer(work, rng, dies_in_write=dies_in_write) for _ in range(n_writers)]
    producer = threading.Thread(target=produce, args=(work,), daemon=True)
    ends_at = time.monotonic() + ROUND_TIMEOUT_S
    producer.start()
    if not dies_in_write:
        for _ in range(rng.randint(1, 3)):
            time.sleep(rng.uniform(0.0, 2.5 * PACE_S * N_IMAGES))
            rng.choice(writers).kill()
    flaws = [said for writer in writers if (said := writer.wait(ends_at))]
    producer.join(ROUND_TIMEOUT_S)
    flaws += judge(work)
    server = Server(url)
    delete_stream(server, work.address)
    server.close()
    return {
        "layout": layout,
        "round": number,
        "n_kills": sum(writer.n_kills for writer in writers),
        "in_write": dies_in_write,
        "failures": work.said.read_text() if work.said.exists() else "",
        "flaws": flaws,
    }


def main(arguments: list[str] | None = None, say: Callable[[str], None] = print) -> int:
    """Do all rounds; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50, help="per layout")
    parser.add_argument("--layout", action="append", choices=list(LAYOUTS), help="only these")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--folder", type=Path, default=None, help="where files are written")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    rounds: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(dir=options.folder) as folder, EmbeddedServer(memory_bytes=256 << 20) as server:
        for layout in options.layout or LAYOUTS:
            for number in range(options.rounds):
                done = run_round(server.url, Path(folder), layout, number, options.seed)
                rounds.append(done)
                if done["flaws"] and not options.json:
                    say(f"{layout}, round {number}: {'; '.join(done['flaws'])}")
                if done["failures"] and not options.json:
                    say(f"{layout}, round {number}: a writer failed and was started again: {done['failures']}")
            of_layout = [one for one in rounds if one["layout"] == layout]
            n_flawed = sum(bool(one["flaws"]) for one in of_layout)
            if not options.json:
                n_kills = sum(one["n_kills"] for one in of_layout)
                say(f"{layout}: {len(of_layout)} rounds, {n_kills} kills, {n_flawed} flawed")
    if options.json:
        say(json.dumps({"rounds": rounds, "n_flawed": sum(bool(one["flaws"]) for one in rounds)}))
    return int(any(one["flaws"] for one in rounds))


if __name__ == "__main__":
    sys.exit(main())
