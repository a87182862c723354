"""How the page is served, as asked for on the command line, and what follows from it: who is let in, and which links.

Pure but for the file of tokens. What would let in the wrong ones is refused here, before anything is opened.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import re
import secrets
import socket
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from .access import LOOPBACK_NAMES, Access, Mode, Role, name_of
from .errors import MonitorAccessError

MODES: tuple[Mode, ...] = ("token", "proxy", "none")

DEFAULT_HOST = "127.0.0.1"
DEFAULT_PORT = 8800

TOKEN_BYTES = 24
"""Random bytes in a token that is made here."""

TOKEN_TEXT = re.compile(r"[A-Za-z0-9_.~-]{16,128}")
"""What a token looks like that goes into a link as it is and cannot be guessed."""

ROOT_PATH = re.compile(r"(/[A-Za-z0-9_.~-]+)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """What was asked for.

    Attributes
    ----------
    host, port : str, int
        Interface and port; port 0 takes a free one.
    uds : Path or None
        A Unix socket in place of both.
    auth : str
        ``token``, ``proxy`` or ``none``.
    allow_control : bool
        Whether there is something for operators.
    root_path : str
        Path under which a proxy shows the page.
    public_url : str
        Address under which browsers reach the page, where that is another one.
    allowed_origins : tuple of str
        Further origins whose pages may use this one.
    proxy_addresses : tuple of str
        Addresses or networks of the proxy whose header says who asks.
    proxy_header : str
        That header.
    operators : tuple of str
        Users that are operators, by that header.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    uds: Path | None = None
    auth: str = "token"
    allow_control: bool = False
    root_path: str = ""
    public_url: str = ""
    allowed_origins: tuple[str, ...] = ()
    proxy_addresses: tuple[str, ...] = ()
    proxy_header: str = "X-Forwarded-User"
    operators: tuple[str, ...] = ()

    @property
    def is_https(self) -> bool:
        """Whether browsers come by HTTPS."""
        return self.public_url.startswith("https://")

    @property
    def path(self) -> str:
        """The path under which browsers find the page, without a slash at its end."""
        path = self.root_path or (urlsplit(self.public_url).path if self.public_url else "")
        return path.rstrip("/")

    @property
    def is_local(self) -> bool:
        """Whether only this machine reaches the page."""
        return self.uds is not None or _is_loopback(self.host)


def access_of(settings: WebSettings, tokens: Mapping[Role, str]) -> Access:
    """Return the rules that follow from settings.

    Raises
    ------
    MonitorAccessError
        If they contradict one another, or would let in everybody.
    """
    public = _url(settings.public_url, "--public-url") if settings.public_url else None
    _check(settings)
    origins = {_origin(_url(one, "--allow-origin")) for one in settings.allowed_origins}
    names = {name_of(one.netloc) or "" for one in map(urlsplit, origins)}
    if public is not None:
        origins.add(_origin(public))
        names.add((public.hostname or "").lower())
    if settings.uds is None and not _is_loopback(settings.host):
        names |= _names_of_interface(settings.host)
    return Access(
        mode=settings.auth,  # type: ignore[arg-type]  # `_check` has looked
        tokens=dict(tokens) if settings.auth == "token" else {},
        names=frozenset(names - {""}),
        origins=frozenset(origins),
        proxies=tuple(map(_network, settings.proxy_addresses)),
        proxy_header=settings.proxy_header.lower(),
        operators=frozenset(settings.operators),
        has_operators=settings.allow_control,
    )


def _check(settings: WebSettings) -> None:
    if settings.auth not in MODES:
        raise MonitorAccessError(f"--auth {settings.auth!r} is no way to know somebody", f"it is {', '.join(MODES)}")
    if not ROOT_PATH.fullmatch(settings.path):
        raise MonitorAccessError(f"--root-path {settings.path!r} is no path", "write e.g. /monitor")
    if settings.auth == "none" and not settings.is_local:
        raise MonitorAccessError(
            f"--auth none would let everybody in who reaches {settings.host}",
            "leave it out, or serve on the loopback interface or a Unix socket (--uds)",
        )
    if settings.auth == "none" and settings.allow_control and settings.uds is None:
        raise MonitorAccessError(
            "--auth none with --allow-control would let everybody on this machine change the peak finder",
            "leave out one of them, or serve on a Unix socket (--uds)",
        )
    if settings.auth == "proxy" and not settings.proxy_addresses and settings.uds is None:
        raise MonitorAccessError(
            "--auth proxy does not say whose header is trusted", "name the proxy's address by --proxy-address"
        )
    if settings.allow_control and settings.auth == "proxy" and not settings.operators:
        raise MonitorAccessError("--allow-control without an operator", "name them by --operators, e.g. anna,ben")


def make_tokens(
    settings: WebSettings, *, token: str = "", operator_token: str = "", file: Path | None = None
) -> dict[Role, str]:
    """Return the tokens: those that were given, those in a file, or new ones.

    Raises
    ------
    MonitorAccessError
        If one can be guessed, or the file can be read by others.
    """
    if settings.auth != "token":
        return {}
    given = _tokens_in(file) if file is not None else ["", ""]
    tokens: dict[Role, str] = {"viewer": token or given[0] or secrets.token_urlsafe(TOKEN_BYTES)}
    if settings.allow_control:
        tokens["operator"] = operator_token or given[1] or secrets.token_urlsafe(TOKEN_BYTES)
    for role, text in tokens.items():
        if not TOKEN_TEXT.fullmatch(text):
            raise MonitorAccessError(
                f"the {role}'s token is no 16 to 128 letters, digits, '-', '_', '.' or '~'",
                'make one by: python3 -c "import secrets; print(secrets.token_urlsafe(24))"',
            )
    if len(set(tokens.values())) < len(tokens):
        raise MonitorAccessError("viewer and operator have the same token", "give them different ones")
    return tokens


def _tokens_in(file: Path) -> list[str]:
    """Return the viewer's and the operator's token, the first two lines of a file; it is made if needed."""
    with contextlib.suppress(FileExistsError), _translated(file):
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as new:
            new.write("".join(f"{secrets.token_urlsafe(TOKEN_BYTES)}\n" for _ in range(2)))
    with _translated(file):
        if file.stat().st_mode & 0o077:
            raise MonitorAccessError(f"others can read the tokens in {file}", f"close it: chmod 600 {file}")
        lines = file.read_text("utf-8").split()
    return [*lines, "", ""][:2]


@contextlib.contextmanager
def _translated(file: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise
    except (OSError, UnicodeDecodeError) as error:
        raise MonitorAccessError(
            f"the tokens in {file} cannot be read: {error}", "name another --token-file"
        ) from error


def links_of(settings: WebSettings, tokens: Mapping[Role, str], port: int) -> dict[Role, str]:
    """Return the links to be printed, one per role; `port` is the one that was really taken, 0 for a Unix socket."""
    if settings.public_url:
        base = _origin(_url(settings.public_url, "--public-url"))
    elif settings.uds is not None:
        base = f"http://localhost:{DEFAULT_PORT}"
    else:
        base = f"http://{_shown_host(settings.host)}:{port}"
    page = f"{base}{settings.path}/"
    return {role: f"{page}?token={token}" for role, token in tokens.items()} or {"viewer": page}


# --- names -------------------------------------------------------------------------------------------------------


def _is_loopback(host: str) -> bool:
    if host in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _names_of_interface(host: str) -> set[str]:
    """Return the names by which browsers may call an interface: its own, for all interfaces also the machine's."""
    names = {host.lower()}
    if host in ("0.0.0.0", "::", ""):  # noqa: S104 - compared, not bound
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return names


def _shown_host(host: str) -> str:
    if host in ("0.0.0.0", "::", ""):  # noqa: S104
        return socket.getfqdn()
    return f"[{host}]" if ":" in host else host


def _url(text: str, option: str) -> SplitResult:
    parts = urlsplit(text)
    with contextlib.suppress(ValueError):
        _ = parts.port
        if parts.scheme in ("http", "https") and parts.hostname and not (parts.query or parts.fragment):
            return parts
    raise MonitorAccessError(
        f"{option} {text!r} is no address of a page", "write e.g. https://beamline.example/monitor"
    )


def _origin(parts: SplitResult) -> str:
    """Return an origin as browsers write it: lower case, without the scheme's own port."""
    host = (parts.hostname or "").lower()
    host = f"[{host}]" if ":" in host else host
    own = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port not in (None, own) else "")


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    try:
        return ipaddress.ip_network(text, strict=False)
    except ValueError as error:
        raise MonitorAccessError(
            f"--proxy-address {text!r} is no address: {error}", "write e.g. 127.0.0.1 or 10.0.0.0/24"
        ) from error
