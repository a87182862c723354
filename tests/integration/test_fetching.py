"""Readers that do not see the broker's files get the bytes from its fetch service, whatever happens to it.

The folder that the broker announces is `/proc/self/cwd/spill/…`: its own one for itself, and none for every process
with another working directory. So nobody here needs another host, a mount or rights to be one that sees no files.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from beamstream import Address, Consumer, Producer
from beamstream.errors import FetchUnavailableError, NothingNewError
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.receipt import make_receipt
from beamstream.retry import LONGEST_PAUSE_S
from beamstream.testing.waiting import wait_until
from beamstream_broker.embedded import EmbeddedServer
from beamstream_broker.testing import BrokerProcess

ADDRESS = Address("bt", "det", "run")
PAYLOAD_BYTES = 256 << 10
MEMORY_BYTES = 48 << 20
N_MESSAGES = 400
"""100 MiB of payloads, twice what the server may hold."""

MINE = "/proc/self/cwd/spill"


def payload(message_id: int) -> bytes:
    return message_id.to_bytes(8, "big") * (PAYLOAD_BYTES // 8)


@pytest.fixture
def small() -> Iterator[EmbeddedServer]:
    with EmbeddedServer(memory_bytes=MEMORY_BYTES) as server:
        yield server


@pytest.fixture
def service(small: EmbeddedServer, tmp_path: Path) -> Iterator[BrokerProcess]:
    broker = BrokerProcess(tmp_path, "--spill", MINE, attach=small.url)
    yield broker
    broker.kill()


def fill(url: str, n_messages: int = N_MESSAGES) -> None:
    with Producer(ADDRESS, broker=url, n_expected=n_messages) as producer:
        for message_id in range(1, n_messages + 1):
            producer.send(message_id, payload(message_id))
        producer.finish()
        assert producer.counts.n_failed == 0


def last_spilled(url: str, broker: BrokerProcess) -> int:
    """Return the last id that has left memory."""
    assert not Path(MINE).exists(), "the test sees the files and would show nothing"
    assert broker.metric("dropped") == 0
    return n_gone(url)


def n_gone(url: str) -> int:
    return int(Server(url).call("HGET", StreamKeys(ADDRESS).state, "released")) - 1


def test_a_reader_that_sees_no_files_gets_everything_in_order(service: BrokerProcess) -> None:
    service.start()
    fill(service.url)
    n_released = last_spilled(service.url, service)
    assert n_released > N_MESSAGES // 4
    with Consumer(ADDRESS, broker=service.url, group="far", required=True) as consumer:
        frames = [(frame.message_id, frame.payload == payload(frame.message_id)) for frame in consumer]
        assert (consumer.counts.n_skipped, consumer.counts.n_corrupt) == (0, 0)
        assert consumer.read(1).payload == payload(1)
    assert frames == [(message_id, True) for message_id in range(1, N_MESSAGES + 1)]
    assert service.metric("fetch_served") > n_released
    assert service.metric("fetch_bytes") == service.metric("fetch_served") * PAYLOAD_BYTES
    assert make_receipt(Server(service.url), ADDRESS).clean


def test_a_broker_that_is_killed_and_started_again_is_found_again(service: BrokerProcess) -> None:
    service.start()
    fill(service.url)
    last_spilled(service.url, service)
    with Consumer(ADDRESS, broker=service.url, group="far", required=True, prefetch_messages=4) as consumer:

        def start_again() -> None:
            wait_until(lambda: consumer.counts.n_reconnects > 2)
            service.start()

        starter = threading.Thread(target=start_again)
        got = []
        for frame in consumer:
            assert frame.payload == payload(frame.message_id)
            got.append(frame.message_id)
            if frame.message_id == 20:
                service.kill()
                starter.start()
        starter.join()
        assert consumer.counts.n_skipped == 0
    assert got == list(range(1, N_MESSAGES + 1))


def test_what_cannot_be_had_now_is_an_error_and_not_skipped(service: BrokerProcess) -> None:
    service.start()
    fill(service.url)
    last = last_spilled(service.url, service)
    service.kill()
    with Consumer(ADDRESS, broker=service.url, group="far", required=True, retry_timeout_s=0.5) as consumer:
        with pytest.raises(FetchUnavailableError, match="stream broker run") as caught:
            consumer.next()
        assert 0.5 <= caught.value.waited_s < 0.5 + 10 * LONGEST_PAUSE_S
        with pytest.raises(FetchUnavailableError):
            consumer.read(last)
        assert consumer.counts.n_skipped == 0
    service.start()
    with Consumer(ADDRESS, broker=service.url, group="far", required=True) as consumer:
        assert sorted(frame.message_id for frame in consumer) == list(range(1, N_MESSAGES + 1))


def test_a_reader_that_is_closed_while_it_waits_for_the_service_ends_at_once(service: BrokerProcess) -> None:
    service.start()
    fill(service.url)
    service.kill()
    consumer = Consumer(ADDRESS, broker=service.url, group="far", retry_timeout_s=None)
    with pytest.raises(NothingNewError):
        consumer.next(timeout_s=0.5)
    consumer.close()


def test_without_the_service_readers_that_see_no_files_are_told(service: BrokerProcess) -> None:
    service.start("--fetch", "off")
    fill(service.url)
    assert Server(service.url).call("HGET", StreamKeys(ADDRESS).state, "spill_fetch") == b""
    with (
        Consumer(ADDRESS, broker=service.url, group="far", retry_timeout_s=0.2) as consumer,
        pytest.raises(FetchUnavailableError, match="nobody serves the files of bt/det/run"),
    ):
        consumer.next()


def test_what_the_service_says_is_gone_is_skipped_and_counted(service: BrokerProcess) -> None:
    service.start()
    fill(service.url)
    assert not Path(MINE).exists()
    service.kill()
    n_released = n_gone(service.url)
    shutil.rmtree(service.folder / "spill" / "bt" / "det" / "run")
    service.start()
    with Consumer(ADDRESS, broker=service.url, group="far") as consumer:
        ids = [frame.message_id for frame in consumer]
        assert consumer.counts.n_skipped == n_released
    assert ids == list(range(n_released + 1, N_MESSAGES + 1))
