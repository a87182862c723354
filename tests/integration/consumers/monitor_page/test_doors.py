"""Who gets in, and what the ones who do can do: on a real server, with what browsers and others send."""

from __future__ import annotations

import http.client
import json
import socket
import stat
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from beamstream_consumers.monitor.web.access import Access, Role, session_of
from beamstream_consumers.monitor.web.errors import MonitorAddressError
from beamstream_consumers.monitor.web.server import listen_on_path, listen_on_port

Serve = Callable[..., Any]
TOKENS: dict[Role, str] = {"viewer": "v" * 20, "operator": "o" * 20}
CLOSED = Access(mode="token", tokens=TOKENS, has_operators=True)
JSON_TYPE = {"Content_Type": "application/json"}


def cookie(role: Role, access: Access = CLOSED) -> str:
    return f"{access.cookie_name}={session_of(TOKENS[role], role)}"


# --- the page --------------------------------------------------------------------------------------------------------


def test_the_page_and_its_files_forbid_what_they_do_not_need(serve: Serve) -> None:
    served = serve()
    status, headers, text = served.ask()
    assert (status, "Monitor" in text) == (200, True)
    for needed in ("default-src 'self'", "script-src 'self' 'wasm-unsafe-eval'", "frame-ancestors 'none'",
                   "object-src 'none'", "base-uri 'none'"):  # fmt: skip
        assert needed in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers
    assert served.ask(path="/main.js")[1]["cache-control"] == "no-cache"
    assert "immutable" in served.ask(path="/main-0123abcd.js")[1]["cache-control"]
    tag = served.ask(path="/main.js")[1]["etag"]
    assert served.ask(path="/main.js", If_None_Match=tag)[0] == 304


@pytest.mark.parametrize("path", ["/../conftest.py", "/%2e%2e/%2e%2e/etc/passwd", "/nothing", "//etc/passwd", "/\\x"])
def test_nothing_but_the_pages_files_is_served(serve: Serve, path: str) -> None:
    assert serve().ask(path=path)[0] in (400, 404)


def test_an_installation_without_the_page_says_so(serve: Serve, tmp_path: Path) -> None:
    status, _, text = serve(static=tmp_path / "nowhere").ask()
    assert (status, "missing" in text) == (503, True)


def test_under_a_path_it_is_found_whether_the_proxy_takes_the_path_away_or_not(serve: Serve) -> None:
    served = serve(root_path="/monitor")
    assert served.ask(path="/monitor/")[0] == served.ask(path="/")[0] == 200
    assert served.ask(path="/monitor/main.js")[0] == served.ask(path="/main.js")[0] == 200
    assert served.ask(path="/monitors/")[0] == 404
    for path in ("/monitor/ws", "/ws"):
        assert served.view(path).take()["t"] == "hello"


# --- the token -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["viewer", "operator"])
def test_the_link_is_exchanged_for_a_cookie_and_the_token_leaves_the_address(serve: Serve, role: Role) -> None:
    served = serve(CLOSED, root_path="/monitor")
    status, headers, _ = served.ask(path=f"/monitor/?token={TOKENS[role]}&renderer=cpu")
    assert (status, headers["location"]) == (303, "/monitor/?renderer=cpu")
    given = headers["set-cookie"]
    for attribute in ("HttpOnly", "SameSite=strict", "Path=/monitor/"):
        assert attribute in given
    assert "Secure" not in given
    assert TOKENS[role] not in given
    kept = given.partition(";")[0]
    assert served.ask(path="/monitor/", Cookie=kept)[0] == 200
    hello = served.view("/monitor/ws", headers={"Cookie": kept}).take()
    assert (hello["role"], hello["control"]) == (role, False)


def test_behind_https_the_cookie_goes_no_other_way(serve: Serve) -> None:
    served = serve(CLOSED, is_https=True)
    assert "Secure" in served.ask(path=f"/?token={TOKENS['viewer']}")[1]["set-cookie"]


def test_a_link_in_another_page_is_followed_by_a_page_so_that_the_strict_cookie_counts(serve: Serve) -> None:
    served = serve(CLOSED)
    status, headers, text = served.ask(path=f'/?token={TOKENS["viewer"]}&x="><script>', Sec_Fetch_Site="cross-site")
    assert status == 200
    assert "url=/?x=%22%3E%3Cscript%3E" in text
    assert "set-cookie" in headers


def test_without_the_link_there_is_no_page_no_file_and_no_socket(serve: Serve) -> None:
    served = serve(CLOSED, control=True)
    for path in ("/", "/main.js", "/control/parameters?source=x", "/nothing"):
        status, _, text = served.ask(path=path)
        assert (status, "has printed" in text) == (401, True)
    assert served.ask(path=f"/?token={'x' * 20}")[0] == 403
    assert served.ask(path=f"/main.js?token={TOKENS['viewer']}")[0] == 401
    assert served.ask(Cookie=f"{CLOSED.cookie_name}={TOKENS['viewer']}")[0] == 401
    code, reason = served.view().end()
    assert (code, "link" in reason) == (4401, True)
    assert served.ask(path="/healthz")[::2] == (200, '{"ok":true}')
    assert (served.events["refused_role"], served.events["refused_token"]) == (7, 1)
    assert served.events["viewers"] == 0


def test_a_proxys_word_counts_from_the_proxy_alone(serve: Serve) -> None:
    import ipaddress

    from_here = Access(mode="proxy", proxies=(ipaddress.ip_network("127.0.0.1"),))
    assert serve(from_here).ask(X_Forwarded_User="anna")[0] == 200
    assert serve(from_here).ask()[0] == 401
    from_there = Access(mode="proxy", proxies=(ipaddress.ip_network("10.0.0.1"),))
    assert serve(from_there).ask(X_Forwarded_User="anna", X_Forwarded_For="10.0.0.1")[0] == 401


# --- other pages, other names ----------------------------------------------------------------------------------------


def test_a_foreign_name_is_answered_by_nothing(serve: Serve) -> None:
    served = serve()
    for path in ("/", "/main.js", "/healthz", "/ws"):
        assert served.ask(path=path, Host="evil.example")[0] == 403
    assert served.ask(Host=f"localhost:{served.port + 1}")[0] == 200  # a tunnel's other end
    assert served.events["refused_host"] == 4


def test_a_page_of_another_origin_opens_no_socket_although_its_browser_has_the_cookie(serve: Serve) -> None:
    served = serve(CLOSED)
    headers = {"Cookie": cookie("viewer")}
    for origin in (
        "http://evil.example",
        "null",
        f"http://localhost:{served.port}",
        f"http://127.0.0.1:{served.port + 1}",
    ):
        with pytest.raises(InvalidStatus) as refused:
            served.view(headers={**headers, "Origin": origin})
        assert refused.value.response.status_code == 403
    assert served.events["refused_origin"] == 4
    ours = f"http://127.0.0.1:{served.port}"
    assert served.view(headers={**headers, "Origin": ours}).take()["t"] == "hello"


# --- control ---------------------------------------------------------------------------------------------------------

ROUTES = [
    ("GET", "/control/parameters?source=11012345/eiger", None),
    ("POST", "/control/parameters", {"values": {"adc_threshold": 20.0}}),
    ("POST", "/control/preview", {"kind": "frame", "stream": "run_001", "id": 1, "values": {"adc_threshold": 20.0}}),
    ("POST", "/control/mask", {"shapes": [{"polygon": [[0, 0], [1, 0.5], [0, 9]]}]}),
    ("POST", "/control/powder/reset", {}),
]


def change(served: Any, method: str, path: str, body: Any, **headers: str) -> tuple[int, Any]:
    text = None if body is None else json.dumps({"source": served.source, **body})
    status, _, answer = served.ask(method, path, text, **({**JSON_TYPE, **headers}))
    try:
        return status, json.loads(answer)
    except ValueError:
        return status, answer


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
def test_without_control_there_are_no_such_routes(serve: Serve, method: str, path: str, body: Any) -> None:
    assert change(serve(), method, path, body)[0] in (404, 405)


@pytest.mark.parametrize(("method", "path", "body"), ROUTES)
def test_an_operator_may_and_a_viewer_may_not(serve: Serve, method: str, path: str, body: Any) -> None:
    served = serve(CLOSED, control=True)
    served.detector.send()
    status, answer = change(served, method, path, body, Cookie=cookie("viewer"))
    assert (status, "operator" in answer["error"]) == (403, True)
    assert served.control.calls == []
    status, answer = change(served, method, path, body, Cookie=cookie("operator"))
    assert (status, "error" in answer) == (200, False)
    assert served.view(headers={"Cookie": cookie("operator")}).take()["control"] is True
    assert served.view(headers={"Cookie": cookie("viewer")}).take()["control"] is False


@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/control/parameters", b"{", {}),
        ("/control/parameters", b"[]", {}),
        ("/control/parameters", b"[" * 100_000, {}),
        ("/control/parameters", b'{"source":"11012345/eiger","values":{"x":NaN}}', {}),
        ("/control/parameters", b'{"source":"11012345/eiger","values":[]}', {}),
        ("/control/parameters", b'{"source":"11012345/eiger"}', {}),
        ("/control/parameters", b'{"source":"another/one","values":{}}', {}),
        ("/control/parameters", b'{"source":7,"values":{}}', {}),
        ("/control/parameters", b'{"source":"11012345/eiger","values":{}}', {"Content-Type": "text/plain"}),
        ("/control/parameters", b'{"source":"' + b"x" * 300_000 + b'","values":{}}', {}),
        ("/control/mask", b'{"source":"11012345/eiger","shapes":[{"polygon":[[0,0],[1,1]]}]}', {}),
        ("/control/mask", b'{"source":"11012345/eiger","shapes":[{"polygon":[[0,0],[1,1],[2]]}]}', {}),
        ("/control/mask", b'{"source":"11012345/eiger","shapes":[7]}', {}),
        ("/control/preview", b'{"source":"11012345/eiger","kind":"x","stream":"a","id":1,"values":{}}', {}),
        ("/control/preview", b'{"source":"11012345/eiger","kind":"hit","stream":"a","id":true,"values":{}}', {}),
        ("/control/preview", b'\xff\xfe{"source"', {}),
    ],
)
def test_what_an_operator_cannot_mean_is_refused_with_words(
    serve: Serve, path: str, body: bytes, headers: dict[str, str]
) -> None:
    served = serve(control=True)
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request("POST", path, body, {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    assert answer.status == 400
    assert json.loads(answer.read())["error"]
    connection.close()
    assert served.control.calls == []
    assert served.events["control_refused"] == 1


def test_a_message_that_is_gone_is_a_conflict_and_a_foreign_page_changes_nothing(serve: Serve) -> None:
    served = serve(control=True)
    gone = {"kind": "frame", "stream": "run_001", "id": 7, "values": {}}
    status, answer = change(served, "POST", "/control/preview", gone)
    assert (status, "7" in answer["error"]) == (409, True)
    assert change(served, "POST", "/control/powder/reset", {}, Origin="http://evil.example")[0] == 403
    assert served.control.calls == []


# --- hostile pages ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "code", "words"),
    [
        ("x" * 5000, 1008, "4096 bytes"),
        ("x" * 100_000, 1009, ""),
        (b"\x00\x01", 1008, "binary"),
        ("[[[[", 1008, "no JSON"),
        ('{"t":"ack","pane":0,"seq":NaN}', 1008, "no JSON"),
        ('{"t":"ack","pane":0,"seq":1e999}', 1008, "no integer"),
        ('{"t":"shutdown"}', 1008, "none of"),
        ('{"t":"px","pane":0,"x":1,"y":1}', 1008, "not opened"),
        ('{"t":"step","pane":3,"by":1}', 1008, "not opened"),
        (
            '{"t":"pane","pane":0,"source":"other/one","kind":"frame","rect":[0,0,9,9],"canvas":[9,9],'
            '"masked":true,"pool":"max","full":false,"roi":null,"at":null}',
            1008,
            "none of those",
        ),
    ],
)
def test_a_hostile_page_ends_its_own_connection_and_no_other(
    serve: Serve, said: str | bytes, code: int, words: str
) -> None:
    served = serve()
    served.detector.send()
    good, hostile = served.view(), served.view()
    good.want(served.source)
    good.ack(good.picture())
    hostile.socket.send(said)
    ended, reason = hostile.end()
    assert ended == code
    assert words in reason
    served.detector.send()
    assert good.picture().header["id"] == 2
    served.wait_until(lambda: len(served.hub.viewers) == 1)


def test_a_page_that_talks_without_end_is_sent_away(serve: Serve) -> None:
    served = serve()
    served.detector.send()
    page = served.view()
    page.want(served.source)
    for n in range(2000):
        try:
            page.say(t="px", pane=0, x=n % 500, y=5)
        except OSError:
            break
        except Exception as error:  # noqa: BLE001 - whatever the client calls it
            assert "1008" in str(error)  # noqa: PT017
            break
    assert page.end()[0] == 1008
    assert served.events["sent_away_too_fast"] == 1


# --- where it listens ------------------------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_said_to_be_with_what_to_do() -> None:
    with listen_on_port("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(MonitorAddressError, match=f"port {port}.*--port 0"):
            listen_on_port("127.0.0.1", port)
    with pytest.raises(MonitorAddressError, match="--host"):
        listen_on_port("192.0.2.1", 0)
    with pytest.raises(MonitorAddressError, match="--host"):
        listen_on_port("no such host", 0)


def test_a_unix_socket_is_its_owners_and_goes_with_the_server(serve: Serve, tmp_path: Path) -> None:
    path = tmp_path / "monitor.sock"
    with ExitStack() as stack:
        listener = stack.enter_context(listen_on_path(path))
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        served = serve(listener=listener)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET / HTTP/1.1\r\nHost: localhost:8800\r\nConnection: close\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200")
        with pytest.raises(MonitorAddressError, match="another program"), listen_on_path(path):
            pass
        served.server.close()
    assert not path.exists()


def test_a_socket_that_nobody_serves_is_replaced_and_anything_else_is_not(tmp_path: Path) -> None:
    stale = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(stale))
    with listen_on_path(stale):
        assert stat.S_ISSOCK(stale.stat().st_mode)
    file = tmp_path / "data.h5"
    file.write_text("precious")
    with pytest.raises(MonitorAddressError, match="no socket"), listen_on_path(file):
        pass
    assert file.read_text() == "precious"
    with pytest.raises(MonitorAddressError), listen_on_path(tmp_path / "nowhere" / "x.sock"):
        pass
