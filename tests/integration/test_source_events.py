"""What a source may say beside its messages: where it goes on, what is safe, what it leaves open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from beamstream import Address
from beamstream.protocol import StreamKeys
from beamstream.protocol.client import Server
from beamstream.service import Event, Produced, StreamClosed, StreamLeft, StreamOpened, run_source
from beamstream.state import StreamState, read_state
from beamstream.stop import StopFlag

STREAM = Address("bt", "det", "run")


class Resuming:
    """Sends ids up to `until`, those only that are not there; ends the stream with the fifth."""

    name = "resuming"

    def __init__(self, until: int) -> None:
        self.until = until
        self.opened: StreamState | None = None
        self.sent: list[int] = []
        self.safe: list[int] = []

    def events(self, stop: StopFlag) -> Iterator[Event | None]:
        yield StreamOpened(stream="run", metadata={"until": self.until}, on_open=self.note)
        assert self.opened is not None, "before the next event is asked for"
        for message_id in range(self.opened.next_id, self.until + 1):
            self.sent.append(message_id)
            payload = b"p" * message_id
            yield Produced(
                stream="run",
                message_id=message_id,
                payload=payload,
                on_sent=lambda message_id=message_id: self.safe.append(message_id),
            )
        yield StreamClosed(stream="run", last_id=5) if self.until == 5 else StreamLeft(stream="run")

    def note(self, address: Address, state: StreamState) -> None:
        assert address == STREAM
        self.opened = state

    def counters(self) -> Mapping[str, int]:
        return {"taken": len(self.sent)}

    def close(self) -> None:
        pass


@pytest.fixture
def client(broker: str) -> Server:
    return Server(broker)


def state_of(client: Server) -> StreamState:
    state = read_state(client, StreamKeys(STREAM))
    assert state is not None
    return state


def test_a_source_leaves_its_stream_open_and_the_next_goes_on_where_it_stopped(broker: str, client: Server) -> None:
    first = Resuming(3)
    assert run_source(first, STREAM.source_address, broker=broker) == 0
    assert not state_of(client).finished
    second = Resuming(5)
    assert run_source(second, STREAM.source_address, broker=broker) == 0
    assert (first.sent, second.sent) == ([1, 2, 3], [4, 5])
    assert state_of(client).finished
    assert state_of(client).n_duplicate == 0


def test_what_is_safe_is_said_and_what_failed_is_not(broker: str) -> None:
    source = Resuming(5)
    assert run_source(source, STREAM.source_address, broker=broker) == 0
    assert sorted(source.safe) == [1, 2, 3, 4, 5]
    beyond = Resuming(7)  # the stream has ended with 5
    assert run_source(beyond, STREAM.source_address, broker=broker) == 1
    assert (beyond.sent, beyond.safe) == ([6, 7], [])
