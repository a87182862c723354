"""Who is let in, and as what; pure decisions on what a request says.

Closed by default. Names in `Host` must be ours, so that no foreign name that leads here (DNS rebinding) is answered. An
`Origin` must be ours, so that no other page in the same browser can read along: browsers do not keep pages of other
origins from opening WebSockets. Who has the token of the printed link gets a cookie for it; the cookie does not hold
the token, but what only its owner can compute. Comparisons take the same time whatever is right.

References
----------
RFC 6454 (origins), RFC 6265bis (cookies, SameSite), https://cwe.mitre.org/data/definitions/1385.html
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

Role = Literal["viewer", "operator"]
"""What somebody may do: look, or change things, too."""

Mode = Literal["token", "proxy", "none"]
"""By what somebody is known: the token of the link, a header of a proxy that has asked, or not at all."""

LOOPBACK_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))
"""Names of this machine for itself, whatever the port: a tunnel may end at another one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is looked at of a request.

    Attributes
    ----------
    headers : mapping
        Lower-case name → values, as they came.
    client : str or None
        Address that it came from; None through a Unix socket.
    """

    headers: Mapping[str, tuple[str, ...]]
    client: str | None

    def one(self, name: str) -> str | None:
        """Return the value of a header that must come once; None if it came never or more often."""
        values = self.headers.get(name, ())
        return values[0] if len(values) == 1 else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Rules of who is let in.

    Attributes
    ----------
    mode : str
        By what somebody is known.
    tokens : mapping
        Role → token; an operator's only where there is something to be changed.
    names : frozenset of str
        Names in `Host` besides those of the loopback interface, lower case, without port.
    origins : frozenset of str
        Origins besides the one of the page itself, e.g. ``https://beamline.example``.
    proxies : tuple
        Addresses whose header is trusted, with mode ``proxy``; through a Unix socket anybody is who can open it.
    proxy_header : str
        Header with the name of the user, lower case.
    operators : frozenset of str
        Names of users that are operators, with mode ``proxy``.
    has_operators : bool
        Whether there is anything that an operator may do; without, everybody is a viewer.
    """

    mode: Mode
    tokens: Mapping[Role, str] = field(default_factory=dict, repr=False)
    names: frozenset[str] = frozenset()
    origins: frozenset[str] = frozenset()
    proxies: tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...] = ()
    proxy_header: str = "x-forwarded-user"
    operators: frozenset[str] = frozenset()
    has_operators: bool = False

    # --- where it was sent to, and by what page ------------------------------------------------------------------

    def host_is_ours(self, asked: Asked) -> bool:
        """Whether the name that the request was sent to is one of ours."""
        name = name_of(asked.one("host"))
        return name is not None and (name in LOOPBACK_NAMES or name in self.names)

    def origin_is_ours(self, asked: Asked) -> bool:
        """Whether the page that asks is ours; what is no browser names none, and needs a token like everybody."""
        if "origin" not in asked.headers:
            return True
        origin, host = asked.one("origin"), asked.one("host")
        if origin is None or host is None:
            return False
        if origin.lower() in self.origins:
            return True
        scheme, _, authority = origin.lower().partition("://")
        return scheme in ("http", "https") and _with_port(authority, scheme) == _with_port(host.lower(), scheme)

    # --- who asks ------------------------------------------------------------------------------------------------

    def role_of(self, asked: Asked) -> Role | None:
        """Return as what somebody is let in; None if not at all."""
        if self.mode == "none":
            return "operator" if self.has_operators else "viewer"
        if self.mode == "proxy":
            return self._role_by_proxy(asked)
        return self._role_by_cookie(asked)

    def _role_by_proxy(self, asked: Asked) -> Role | None:
        user = asked.one(self.proxy_header)
        if not user or not self._is_proxy(asked.client):
            return None
        return "operator" if self.has_operators and user in self.operators else "viewer"

    def _is_proxy(self, client: str | None) -> bool:
        if client is None:
            return True
        try:
            address = ipaddress.ip_address(client.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(address, "ipv4_mapped", None) or address
        return any(mapped in network for network in self.proxies)

    def _role_by_cookie(self, asked: Asked) -> Role | None:
        name = self.cookie_name
        values = [value for key, value in _cookies(asked.headers.get("cookie", ())) if key == name]
        found: Role | None = None
        for role, token in self.tokens.items():
            expected = session_of(token, role).encode()
            for value in values[:4]:
                if hmac.compare_digest(value.encode(), expected):
                    found = role
        return found

    def role_of_token(self, token: str) -> Role | None:
        """Return the role that a token gives; None if it gives none."""
        found: Role | None = None
        for role, expected in self.tokens.items():
            if hmac.compare_digest(token.encode(), expected.encode()):
                found = role
        return found

    @property
    def cookie_name(self) -> str:
        """Name of our cookie: another one for each monitor, for a browser gives cookies to all ports of a host."""
        return "beamstream-monitor-" + _derived(self.tokens.get("viewer", ""), "name")[:8]


def session_of(token: str, role: Role) -> str:
    """Return the cookie's value for a token: only who has the token can compute it, and the token is not in it."""
    return _derived(token, role)


def _derived(token: str, purpose: str) -> str:
    return hmac.new(token.encode(), f"beamstream monitor {purpose}".encode(), hashlib.sha256).hexdigest()


def name_of(host: str | None) -> str | None:
    """Return the name in a `Host` header, without port; None if it holds none."""
    if not host or any(sign in host for sign in "/?#@\\ ,"):
        return None
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises where it is no number
    except ValueError:
        return None
    return parts.hostname


def _with_port(authority: str, scheme: str) -> str:
    """Return host and port, the scheme's own port where none is named."""
    has_port = ":" in authority.rpartition("]")[2]
    return authority if has_port else f"{authority}:{443 if scheme == 'https' else 80}"


def _cookies(headers: Iterable[str]) -> Iterable[tuple[str, str]]:
    for header in headers:
        for pair in header.split(";"):
            name, _, value = pair.strip().partition("=")
            yield name, value
