"""The embedded server's configuration as text, and what is refused before anything is started."""

from __future__ import annotations

from pathlib import Path

import pytest

from beamstream_broker.embedded import MINIMUM_MEMORY_BYTES, EmbeddedServer
from beamstream_broker.errors import MemoryLimitError, OpenServerError, PortError, SocketPathError
from beamstream_broker.settings import ServerSettings, is_loopback, quote_value, render_configuration


def make_settings(**changes: object) -> ServerSettings:
    values: dict[str, object] = {
        "memory_bytes": 1024**3,
        "directory": Path("/run/one"),
        "socket_path": Path("/run/one/valkey.sock"),
        "host": "127.0.0.1",
        "port": None,
        "password": None,
    }
    return ServerSettings(**(values | changes))  # type: ignore[arg-type]


def test_without_a_port_tcp_is_off() -> None:
    assert "port 0\n" in render_configuration(make_settings())
    assert make_settings().tcp_url(with_password=True) is None


def test_writing_is_refused_a_little_before_the_memory_is_full() -> None:
    assert f"maxmemory {1024**3 - 16 * 1024**2}\n" in render_configuration(make_settings())


def test_the_password_is_in_the_urls_only_on_demand() -> None:
    settings = make_settings(port=6379, password="p@ss word")  # noqa: S106
    assert settings.url(with_password=True) == "unix:///run/one/valkey.sock?password=p%40ss%20word"
    assert settings.url(with_password=False) == "unix:///run/one/valkey.sock"
    assert settings.tcp_url(with_password=True) == "redis://:p%40ss%20word@127.0.0.1:6379"
    assert settings.tcp_url(with_password=False) == "redis://127.0.0.1:6379"


def test_an_ipv6_host_stands_in_brackets() -> None:
    assert make_settings(host="::1", port=6379).tcp_url(with_password=False) == "redis://[::1]:6379"


def test_no_value_can_add_a_line_to_the_configuration() -> None:
    assert quote_value('a"\\\nport 1') == '"a\\"\\\\\\x0aport 1"'
    text = render_configuration(make_settings(password="x\nport 7"))  # noqa: S106
    assert "port 7" not in [line.strip() for line in text.splitlines()]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("localhost", True), ("0.0.0.0", False),  # noqa: S104
     ("192.168.1.5", False), ("::", False), ("broker.example.org", False)],
)  # fmt: skip
def test_who_reaches_a_host_is_known(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


@pytest.mark.parametrize("password", [None, ""])
def test_a_server_open_to_the_world_needs_a_password(password: str | None) -> None:
    with pytest.raises(OpenServerError, match=r"0\.0\.0\.0.*password"):
        EmbeddedServer(port=6379, host="0.0.0.0", password=password)  # noqa: S104


def test_a_host_without_a_port_opens_nothing_and_needs_no_password() -> None:
    assert EmbeddedServer(host="0.0.0.0").memory_bytes > 0  # noqa: S104


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_number_that_is_no_port_is_refused(port: int) -> None:
    with pytest.raises(PortError, match=str(port)):
        EmbeddedServer(port=port)


@pytest.mark.parametrize("memory_bytes", [0, MINIMUM_MEMORY_BYTES - 1, 2**60])
def test_memory_that_is_too_little_or_not_there_is_refused(memory_bytes: int) -> None:
    with pytest.raises(MemoryLimitError, match=str(memory_bytes)):
        EmbeddedServer(memory_bytes=memory_bytes)


def test_a_socket_path_over_the_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SocketPathError, match="the limit is 100"):
        EmbeddedServer(socket_path=tmp_path / ("x" * 100))


def test_a_socket_in_a_directory_that_does_not_exist_is_refused() -> None:
    with pytest.raises(SocketPathError, match="does not exist"):
        EmbeddedServer(socket_path=Path("/nowhere-at-all/x.sock"))
