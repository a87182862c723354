"""Where commands have payloads put, and what they say where shared memory cannot be had."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from beamstream import Address, Consumer, Frame, Producer
from beamstream.cli.root import run
from beamstream.errors import NothingNewError, SharedMemoryUnavailableError
from beamstream.presence import Presence, announce, read_presence, withdraw
from beamstream.producer import Tier
from beamstream.protocol import StreamKeys, fields_of, unlocate_header
from beamstream.protocol.client import Server
from beamstream.service import (
    Event,
    Output,
    Produced,
    Result,
    Results,
    StreamClosed,
    StreamOpened,
    StreamStart,
    Upkeep,
    derived_address,
    run_processor,
    run_source,
)
from beamstream.stop import StopFlag
from beamstream.streams import delete_stream, list_sources, list_streams

ADDRESS = Address("bt", "det", "run")
IMAGE = np.arange(200 * 100, dtype="<u2").reshape(200, 100)
"""Large enough to have no room in an index entry."""

NOBODY = "redis://127.0.0.1:1"


class Images:
    """A source of three messages."""

    name = "images"

    def events(self, stop: StopFlag) -> Iterator[Event | None]:
        yield StreamOpened(stream="run", metadata={})
        for message_id in (1, 2, 3):
            yield Produced(stream="run", message_id=message_id, payload=bytes(IMAGE + message_id), dtype="<u2",
                           shape=IMAGE.shape)  # fmt: skip
        yield StreamClosed(stream="run", last_id=3)

    def counters(self) -> Mapping[str, int]:
        return {}

    def close(self) -> None:
        pass


class Negative:
    """A processor."""

    name = "negative"

    def open(self, stream: StreamStart) -> Mapping[str, Output]:
        return {"negative": Output(address=derived_address(stream.address, "negative"))}

    def process(self, frame: Frame) -> Results:
        return {"negative": Result(array=~frame.array(), codec="none")}

    def status(self) -> Mapping[str, int | float | str]:
        return {}


@pytest.fixture(scope="module")
def whole_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URL of `stream broker run` in a process of its own."""
    folder = tmp_path_factory.mktemp("b")
    command = [sys.executable, "-m", "beamstream.cli", "broker", "run", "--memory", "64MiB", "--port", "0", "--json"]
    with (folder / "broker.log").open("w") as log:
        process = subprocess.Popen([*command, "--spill", str(folder)], stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (folder / "broker.log").read_text()
        yield json.loads(line)["url"]
        process.terminate()
        process.communicate(timeout=60)


@pytest.fixture
def url(whole_broker: str) -> str:
    """URL of that broker, without streams."""
    server = Server(whole_broker)
    for source in list_sources(server):
        for address in list_streams(server, source):
            delete_stream(server, address)
    server.close()
    return whole_broker


def n_shared(url: str, address: Address) -> int:
    """Return how many messages say that their payload lies in shared memory."""
    entries = Server(url).call("XRANGE", StreamKeys(address).index, "-", "+")
    headers = [fields[b"h"] for fields in (fields_of(flat) for _, flat in entries) if b"h" in fields]
    return sum(unlocate_header(header) != header for header in headers)


@pytest.mark.parametrize(("tier", "n"), [("auto", 3), ("shared", 3), ("memory", 0)])
def test_payloads_of_a_source_and_of_what_is_made_of_it_lie_where_the_upkeep_says(url: str, tier: Tier, n: int) -> None:
    upkeep = Upkeep(tier=tier)
    assert run_source(Images(), ADDRESS.source_address, broker=url, upkeep=upkeep) == 0
    assert n_shared(url, ADDRESS) == n
    assert run_processor(Negative, str(ADDRESS), broker=url, upkeep=upkeep) == 0
    assert n_shared(url, Address("bt", "det-negative", "run")) == n


def test_services_that_need_shared_memory_say_at_once_that_there_is_none(broker: str) -> None:
    upkeep = Upkeep(tier="shared")
    with pytest.raises(SharedMemoryUnavailableError, match="no broker looks after"):
        run_source(Images(), ADDRESS.source_address, broker=broker, upkeep=upkeep)
    with pytest.raises(SharedMemoryUnavailableError, match="no broker looks after"):
        run_processor(Negative, str(ADDRESS), broker=broker, upkeep=upkeep)
    assert list_sources(Server(broker)) == []


def test_readers_wait_for_a_broker_that_is_not_seen_and_skip_nothing(url: str) -> None:
    with Producer(ADDRESS, broker=url, tier="shared") as producer:
        for message_id in (1, 2, 3):
            producer.send_array(message_id, IMAGE + message_id, codec="none")
        producer.finish()
    server = Server(url)
    presence = read_presence(server)
    assert presence is not None
    os.kill(presence.pid, signal.SIGSTOP)  # as one that is busy with a slow disk
    try:
        withdraw(server)
        consumer = Consumer(ADDRESS, broker=url)
        with pytest.raises(NothingNewError):
            consumer.next(0.5)
    finally:
        os.kill(presence.pid, signal.SIGCONT)
    assert [frame.message_id for frame in consumer] == [1, 2, 3]
    assert consumer.counts.n_skipped == 0
    consumer.close()


@pytest.mark.parametrize(
    "command",
    [
        ["produce", "eiger", "tcp://127.0.0.1:1", "--to", "bt/det"],
        ["produce", "cbf", ".", "--to", "bt/det"],
        ["produce", "replay", "run.nxs", "--to", "bt/det"],
        ["consume", "bin", "bt/det"],
        ["consume", "peaks", "bt/det"],
        ["consume", "integrate", "bt/det"],
        ["consume", "statistics", "bt/det-peaks"],
    ],
)
def test_a_tier_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    assert run([*command, "--broker", NOBODY, "--tier", "tape"]) == 2
    assert "tier 'tape' is none of auto, memory, shared" in capsys.readouterr().err


def test_the_tier_may_stand_in_the_configuration(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text('[consume.bin]\ntier = "tape"\n')
    assert run(["--config", str(tmp_path / "settings.toml"), "consume", "bin", "bt/det", "--broker", NOBODY]) == 2
    assert "tier 'tape'" in capsys.readouterr().err


# --- stream doctor --------------------------------------------------------------------------------------------------


def doctor(capsys: pytest.CaptureFixture[str], url: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """Return the status, and by what was looked at the verdict and the text."""
    status = run(["doctor", "--broker", url, "--json"])
    return status, {one["about"]: (one["verdict"], one["text"]) for one in json.loads(capsys.readouterr().out)}


def test_doctor_says_that_shared_memory_is_used_and_how_much_of_it(
    capsys: pytest.CaptureFixture[str], url: str
) -> None:
    with Producer(ADDRESS, broker=url, tier="shared") as producer:
        producer.send_array(1, IMAGE).result(60)
        status, found = doctor(capsys, url)
    assert status == 0
    assert {about: verdict for about, (verdict, _) in found.items()} == dict.fromkeys(
        ("server", "broker", "disk", "shared_memory"), "good"
    )
    assert found["shared_memory"][1].startswith("used by producers and readers here")
    assert " MB are taken" in found["shared_memory"][1]
    assert run(["doctor", "--broker", url]) == 0
    assert "good  shared memory  used by" in capsys.readouterr().out


def test_doctor_says_that_nobody_looks_after_a_server(capsys: pytest.CaptureFixture[str], broker: str) -> None:
    status, found = doctor(capsys, broker)
    assert status == 1
    assert found["broker"][0] == "bad"
    assert "start 'stream broker run' on this host" in found["shared_memory"][1]


def test_doctor_says_why_a_broker_has_no_shared_memory(capsys: pytest.CaptureFixture[str], broker: str) -> None:
    command = [sys.executable, "-m", "beamstream.cli", "broker", "run", "--broker", broker]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "looking after" in process.stdout.readline()
        _, found = doctor(capsys, broker)
        process.terminate()
    assert "its server is not its own; start it with --shared-memory SIZE" in found["shared_memory"][1]


def somebody(host: str, **fields: str) -> Presence:
    return Presence(host=host, pid=os.getpid(), folder="", flaw="", **fields)


ELSEWHERE = f"unix:@beamstream-{32 * '0'}#{32 * '1'}"
"""An endpoint that nobody has."""


@pytest.mark.parametrize(
    ("presence", "why"),
    [
        (somebody("daq1", shared_flaw="it runs with --shared-memory off"), "it runs with --shared-memory off"),
        (somebody("daq1", shared=ELSEWHERE), "the broker runs on daq1, and this is "),
        (somebody(os.uname().nodename, shared=ELSEWHERE), "--network host"),
    ],
)
def test_doctor_says_why_shared_memory_is_not_used(
    capsys: pytest.CaptureFixture[str], broker: str, presence: Presence, why: str
) -> None:
    announce(Server(broker), presence)
    status, found = doctor(capsys, broker)
    assert status == 0
    assert found["shared_memory"][0] == "note"
    assert why in found["shared_memory"][1]
    assert 32 * "1" not in str(found), "the ticket is nobody's business"
