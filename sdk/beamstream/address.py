"""Where a stream lives: `beamtime/source/stream`, and the broker URL in front of it.

Pure text handling; nothing here talks to a server. Names are restricted to letters, digits, `.`, `_` and `-`, so that
an address is at once a Redis key, a path on disk and an argument on a command line, without any quoting.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from .errors import AddressError, UsageError

DEFAULT_BROKER = "redis://127.0.0.1:6379"

MAX_NAME_LENGTH = 128
"""Longest beamtime, source or stream name [characters]; three of them stay below a file system's 255."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
SCHEMES = ("redis", "rediss", "unix")
"""What a broker's URL may begin with."""

_SECRET = re.compile(r"(?P<user>://[^:/?#]*:).*(?=@)|(?P<query>[?&]password=)[^&#]*", re.IGNORECASE)
"""Where a URL carries a password: before the last ``@``, or in the query."""


def hide_password(url: str) -> str:
    """Return a URL as it may be shown in messages and logs.

    Examples
    --------
    >>> hide_password("redis://user:s3cr@t@host:6379")
    'redis://user:***@host:6379'
    """
    return _SECRET.sub(lambda match: f"{match['user'] or match['query']}***", url)


def check_name(name: str, what: str, text: str) -> str:
    """Return `name` if it can be a part of an address, else raise `AddressError` naming `what` in `text`."""
    if not name:
        raise AddressError(text, f"the {what} is empty")
    if len(name) > MAX_NAME_LENGTH:
        raise AddressError(text, f"the {what} has {len(name)} characters, the limit is {MAX_NAME_LENGTH}")
    if not _NAME.fullmatch(name):
        raise AddressError(
            text, f"the {what} {name!r} may hold letters, digits, '.', '_' and '-' only and not start with '.' or '-'"
        )
    return name


@dataclass(frozen=True, slots=True, order=True)
class SourceAddress:
    """A data source: the streams of one detector in one beamtime."""

    beamtime: str
    source: str

    def __post_init__(self) -> None:
        check_name(self.beamtime, "beamtime", str(self))
        check_name(self.source, "data source", str(self))

    def __str__(self) -> str:
        return f"{self.beamtime}/{self.source}"

    def stream(self, name: str) -> Address:
        """Return the address of one of its streams."""
        return Address(self.beamtime, self.source, name)


@dataclass(frozen=True, slots=True, order=True)
class Address:
    """A stream.

    Examples
    --------
    >>> str(Address.parse("11012345/eiger/lysozyme_run_042"))
    '11012345/eiger/lysozyme_run_042'
    """

    beamtime: str
    source: str
    name: str

    def __post_init__(self) -> None:
        check_name(self.beamtime, "beamtime", str(self))
        check_name(self.source, "data source", str(self))
        check_name(self.name, "stream", str(self))

    def __str__(self) -> str:
        return f"{self.beamtime}/{self.source}/{self.name}"

    @property
    def source_address(self) -> SourceAddress:
        """The data source that this stream belongs to."""
        return SourceAddress(self.beamtime, self.source)

    @classmethod
    def parse(cls, text: str) -> Address:
        """Read `beamtime/source/stream`.

        Raises
        ------
        AddressError
            If the text has another number of parts or a part holds what a name may not.
        """
        parts = text.split("/")
        if len(parts) != 3:
            raise AddressError(text, f"it has {len(parts)} part(s) where three are needed")
        return cls(*parts)


def parse_where(text: str) -> Address | SourceAddress:
    """Read `beamtime/source/stream` or `beamtime/source`.

    Raises
    ------
    AddressError
        If it is neither.
    """
    parts = text.split("/")
    if len(parts) == 2:
        return SourceAddress(*parts)
    return Address.parse(text)


def split_url(text: str) -> tuple[str | None, str]:
    """Split a broker URL with an address behind it into the two.

    Parameters
    ----------
    text : str
        `bt/source/stream`, `redis://host:port/bt/source/stream`, or `unix:///path/to/socket#bt/source/stream`.
        A database number other than 0 is written as a query: `redis://host/bt/source/stream?db=1`.

    Returns
    -------
    (str or None, str)
        The broker's URL (None if the text names none) and the address as text, possibly empty.

    Raises
    ------
    UsageError
        If the scheme is not one of redis, rediss and unix.
    """
    if "://" not in text:
        return None, text
    url = urlsplit(text)
    if url.scheme not in SCHEMES:
        shown = hide_password(text)
        raise UsageError(f"{shown!r}: unknown scheme {url.scheme!r}; a broker is one of {', '.join(SCHEMES)}")
    if url.scheme == "unix":
        # urlunsplit would drop the empty host of a unix URL
        query = f"?{url.query}" if url.query else ""
        return f"unix://{url.path}{query}", url.fragment
    return urlunsplit((url.scheme, url.netloc, "", url.query, "")), url.path.strip("/")


def locate_stream(where: str | Address, broker: str | None) -> tuple[Address, str | None]:
    """Return a stream's address and the broker's URL, which may stand in front of the address.

    Raises
    ------
    AddressError, UsageError
        If `where` names no stream.
    """
    if isinstance(where, Address):
        return where, broker
    url, text = split_url(where)
    return Address.parse(text), url or broker


PATH_STARTS = ("/", "./", "../", "~")
"""What no address begins with."""


def is_path(where: object) -> bool:
    """Whether this names files and not a stream on a broker.

    It begins or ends like a path, or it cannot be an address and is there, or it is a folder with segments.
    """
    if isinstance(where, os.PathLike):
        return True
    if not isinstance(where, str) or "://" in where:
        return False
    if where.startswith(PATH_STARTS) or where.endswith("/") or ("/" in where and any(Path(where).glob("*.seg"))):
        return True
    return "." in where and path_exists(Path(where))


def path_exists(path: Path) -> bool:
    """Whether there is something at a path; behind a ``#`` it may say which part of a file is meant."""
    return path.exists() or ("#" in path.name and path.with_name(path.name.rpartition("#")[0] or "#").is_file())
