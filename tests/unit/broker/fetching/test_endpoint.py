"""What --fetch may be, and under which name it is announced."""

from __future__ import annotations

import socket

import pytest

from beamstream_broker.errors import FetchEndpointError
from beamstream_broker.fetching.endpoint import LOOPBACK, parse_fetch


@pytest.mark.parametrize(
    ("text", "name", "bound", "announced"),
    [
        (LOOPBACK, None, "tcp://127.0.0.1:*", "tcp://127.0.0.1:9"),
        ("tcp://localhost:5557", None, "tcp://127.0.0.1:5557", "tcp://127.0.0.1:9"),
        ("tcp://0.0.0.0:5557", None, "tcp://0.0.0.0:5557", f"tcp://{socket.gethostname()}:9"),
        ("tcp://[::]:5557", "dcu-17", "tcp://[::]:5557", "tcp://dcu-17:9"),
        ("tcp://10.1.2.3:*", None, "tcp://10.1.2.3:*", "tcp://10.1.2.3:9"),
    ],
)
def test_where_it_listens_and_where_others_look(text: str, name: str | None, bound: str, announced: str) -> None:
    where = parse_fetch(text, name)
    assert where is not None
    assert (where.bind_address, where.announced(9)) == (bound, announced)


def test_it_can_be_switched_off() -> None:
    assert parse_fetch("off") is None


@pytest.mark.parametrize("text", ["", "on", "5557", "ipc:///tmp/x", "tcp://host", "tcp://host:70000", "tcp://a/b:1"])
def test_what_is_no_endpoint_is_named(text: str) -> None:
    with pytest.raises(FetchEndpointError) as caught:
        parse_fetch(text)
    assert repr(text) in str(caught.value)


def test_a_name_that_no_host_has_is_refused() -> None:
    with pytest.raises(FetchEndpointError, match="name of a host"):
        parse_fetch("tcp://0.0.0.0:1", "my host")
