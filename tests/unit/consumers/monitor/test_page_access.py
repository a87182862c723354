"""Who is let in: hosts, origins, cookies, tokens, proxies, and the settings that these follow from."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Any

import pytest

from beamstream_consumers.monitor.web.access import Access, Asked, Role, name_of, session_of
from beamstream_consumers.monitor.web.errors import MonitorAccessError
from beamstream_consumers.monitor.web.settings import WebSettings, access_of, links_of, make_tokens

TOKENS: dict[Role, str] = {"viewer": "v" * 20, "operator": "o" * 20}


def asked(client: str | None = "127.0.0.1", **headers: str | tuple[str, ...]) -> Asked:
    values = {name.replace("_", "-"): (one,) if isinstance(one, str) else one for name, one in headers.items()}
    return Asked(headers=values, client=client)


@pytest.mark.parametrize(
    ("host", "ours"),
    [
        ("localhost", True),
        ("localhost:9000", True),
        ("LOCALHOST:1", True),
        ("127.0.0.1:8800", True),
        ("[::1]:8800", True),
        ("beamline.example", True),
        ("beamline.example:444", True),
        ("", False),
        ("evil.example", False),
        ("localhost.evil.example", False),
        ("evil.example#localhost", False),
        ("evil.example@localhost:8800", False),
        ("localhost/evil", False),
        ("127.0.0.1:port", False),
        ("127.0.0.2", False),
        ("[::1", False),
        ("localhost, evil.example", False),
    ],
)
def test_names_in_host(host: str, ours: bool) -> None:
    access = Access(mode="none", names=frozenset({"beamline.example"}))
    assert access.host_is_ours(asked(host=host)) is ours


def test_a_host_must_come_and_once() -> None:
    access = Access(mode="none")
    assert not access.host_is_ours(asked())
    assert not access.host_is_ours(asked(host=("localhost", "localhost")))
    assert name_of("user@localhost") is None


@pytest.mark.parametrize(
    ("origin", "ours"),
    [
        ("http://localhost:8800", True),
        ("https://beamline.example", True),
        ("https://BEAMLINE.example", True),
        ("http://localhost:8801", False),  # another program of this machine
        ("http://localhost", False),
        ("http://127.0.0.1:8800", False),
        ("http://evil.example", False),
        ("http://localhost:8800.evil.example", False),
        ("http://localhost:8800/path", False),
        ("https://beamline.example.evil", False),
        ("http://beamline.example", False),
        ("file://", False),
        ("null", False),
        ("", False),
    ],
)
def test_origins(origin: str, ours: bool) -> None:
    access = Access(mode="none", origins=frozenset({"https://beamline.example"}))
    assert access.origin_is_ours(asked(host="localhost:8800", origin=origin)) is ours


def test_what_is_no_browser_names_no_origin_and_two_are_none() -> None:
    access = Access(mode="token", tokens=TOKENS)
    assert access.origin_is_ours(asked(host="localhost"))
    assert not access.origin_is_ours(asked(host="localhost", origin=("http://localhost", "http://localhost")))
    assert access.origin_is_ours(asked(host="localhost", origin="http://localhost:80"))


def test_a_cookie_gives_the_role_of_its_token_and_does_not_hold_it() -> None:
    access = Access(mode="token", tokens=TOKENS)
    for role, token in TOKENS.items():
        value = session_of(token, role)
        assert token not in value
        cookie = f"other=1; {access.cookie_name}={value}; more=2"
        assert access.role_of(asked(cookie=cookie)) == role
    viewers = session_of(TOKENS["viewer"], "viewer")
    assert viewers[:8] not in access.cookie_name
    another = session_of(TOKENS["viewer"], "operator")
    for wrong in ("", "x", viewers[:-1], viewers + "0", TOKENS["viewer"], another, "é"):
        assert access.role_of(asked(cookie=f"{access.cookie_name}={wrong}")) is None
    assert access.role_of(asked(cookie=f"other={viewers}")) is None
    assert access.role_of(asked()) is None


def test_tokens_give_their_roles_and_nothing_else_does() -> None:
    access = Access(mode="token", tokens=TOKENS)
    assert access.role_of_token(TOKENS["viewer"]) == "viewer"
    assert access.role_of_token(TOKENS["operator"]) == "operator"
    for wrong in ("", "v" * 19, "é" * 20, "v" * 21):
        assert access.role_of_token(wrong) is None


def test_a_proxys_header_counts_only_from_the_proxy() -> None:
    access = Access(
        mode="proxy",
        proxies=(ipaddress.ip_network("10.0.0.0/30"),),
        operators=frozenset({"anna"}),
        has_operators=True,
    )
    assert access.role_of(asked("10.0.0.1", x_forwarded_user="anna")) == "operator"
    assert access.role_of(asked("::ffff:10.0.0.1", x_forwarded_user="ben")) == "viewer"
    assert access.role_of(asked(None, x_forwarded_user="ben")) == "viewer"  # who can open the Unix socket
    assert access.role_of(asked("10.0.0.9", x_forwarded_user="anna")) is None
    assert access.role_of(asked("nonsense", x_forwarded_user="anna")) is None
    assert access.role_of(asked("10.0.0.1", x_forwarded_user="")) is None
    assert access.role_of(asked("10.0.0.1", x_forwarded_user=("anna", "ben"))) is None
    assert access.role_of(asked("10.0.0.1")) is None


def test_without_control_nobody_is_an_operator() -> None:
    access = Access(mode="proxy", proxies=(ipaddress.ip_network("10.0.0.1"),), operators=frozenset({"anna"}))
    assert access.role_of(asked("10.0.0.1", x_forwarded_user="anna")) == "viewer"
    assert access_of(WebSettings(auth="none"), {}).role_of(asked()) == "viewer"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"auth": "password"}, "token, proxy, none"),
        ({"auth": "none", "host": "10.1.2.3"}, "everybody"),
        ({"auth": "none", "allow_control": True}, "everybody on this machine"),
        ({"auth": "proxy"}, "--proxy-address"),
        ({"auth": "proxy", "proxy_addresses": ("here",)}, "no address"),
        ({"auth": "proxy", "proxy_addresses": ("10.0.0.1",), "allow_control": True}, "--operators"),
        ({"root_path": "monitor"}, "/monitor"),
        ({"root_path": "/a b"}, "no path"),
        ({"public_url": "beamline.example"}, "https://"),
        ({"public_url": "https://beamline.example:port/"}, "https://"),
        ({"public_url": "https://beamline.example/?token=1"}, "https://"),
        ({"allowed_origins": ("localhost:8800",)}, "--allow-origin"),
    ],
)
def test_settings_that_would_let_in_the_wrong_ones_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(MonitorAccessError, match=words):
        access_of(WebSettings(**settings), TOKENS)


def test_a_public_address_is_a_name_an_origin_and_a_path_of_the_page() -> None:
    settings = WebSettings(public_url="https://Beamline.example:443/monitor/")
    access = access_of(settings, TOKENS)
    assert settings.path == "/monitor"
    assert settings.is_https
    assert access.host_is_ours(asked(host="beamline.example"))
    assert access.origin_is_ours(asked(host="localhost:8800", origin="https://beamline.example"))
    assert links_of(settings, {"viewer": "t"}, 8800) == {"viewer": "https://beamline.example/monitor/?token=t"}


def test_links_name_what_was_opened() -> None:
    assert links_of(WebSettings(), {"viewer": "t"}, 1234) == {"viewer": "http://127.0.0.1:1234/?token=t"}
    assert links_of(WebSettings(host="::1"), {}, 1234) == {"viewer": "http://[::1]:1234/"}
    assert links_of(WebSettings(uds=Path("/s")), {"viewer": "t"}, 0) == {"viewer": "http://localhost:8800/?token=t"}
    both = links_of(WebSettings(root_path="/m"), TOKENS, 1)
    assert both == {role: f"http://127.0.0.1:1/m/?token={token}" for role, token in TOKENS.items()}


def test_an_interface_is_known_by_its_name_and_the_machines() -> None:
    assert access_of(WebSettings(host="10.1.2.3"), TOKENS).host_is_ours(asked(host="10.1.2.3:8800"))
    assert not access_of(WebSettings(), TOKENS).host_is_ours(asked(host="10.1.2.3:8800"))


def test_tokens_are_made_given_or_kept_in_a_file(tmp_path: Path) -> None:
    assert make_tokens(WebSettings(auth="none")) == {}
    made = make_tokens(WebSettings(allow_control=True))
    assert made.keys() == {"viewer", "operator"}
    assert made != make_tokens(WebSettings(allow_control=True))
    assert make_tokens(WebSettings(), token="t" * 16) == {"viewer": "t" * 16}
    file = tmp_path / "tokens"
    kept = make_tokens(WebSettings(allow_control=True), file=file)
    assert kept == make_tokens(WebSettings(allow_control=True), file=file)
    assert file.stat().st_mode & 0o777 == 0o600
    assert make_tokens(WebSettings(), file=file) == {"viewer": kept["viewer"]}


def test_tokens_that_can_be_guessed_or_read_are_refused(tmp_path: Path) -> None:
    for short in ("secret", "a b" * 10, "ü" * 20):
        with pytest.raises(MonitorAccessError, match="16 to 128"):
            make_tokens(WebSettings(), token=short)
    with pytest.raises(MonitorAccessError, match="same token"):
        make_tokens(WebSettings(allow_control=True), token="t" * 16, operator_token="t" * 16)
    file = tmp_path / "tokens"
    file.write_text("t" * 20)
    file.chmod(0o644)
    with pytest.raises(MonitorAccessError, match="chmod 600"):
        make_tokens(WebSettings(), file=file)
    with pytest.raises(MonitorAccessError, match="cannot be read"):
        make_tokens(WebSettings(), file=tmp_path / "nowhere" / "tokens")
