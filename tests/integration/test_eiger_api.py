"""What the connector reads from a detector's REST API, over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from beamstream_producers.eiger.api import ApiError, StreamApi


@pytest.fixture
def answers() -> dict[str, object]:
    """What the API answers by path; everything else is not found."""
    return {
        "/stream/api/1.8.0/config/mode": {"value": "enabled"},
        "/stream/api/1.8.0/config/format": {"value": "cbor"},
        "/stream/api/1.8.0/status/state": {"value": "ready"},
        "/stream/api/1.8.0/status/dropped": {"value": 0},
    }


@pytest.fixture
def api(answers: dict[str, object]) -> Iterator[StreamApi]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = json.dumps(answers.get(self.path, {})).encode()
            self.send_response(200 if self.path in answers else 404)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield StreamApi(f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()


def test_a_detector_that_is_ready_has_no_problems(api):
    assert api.stream_problems("tcp://dcu:31001") == []
    assert api.n_dropped() == 0
    assert not api.is_acquiring()


@pytest.mark.parametrize(
    ("path", "value", "endpoint", "said"),
    [
        ("config/mode", "disabled", "tcp://dcu:31001", "enabled"),
        ("config/format", "legacy", "tcp://dcu:31001", "legacy on 9999"),
        ("config/format", "cbor", "tcp://dcu:9999", "cbor is sent on 31001"),
        ("status/state", "error", "tcp://dcu:31001", "error"),
    ],
)
def test_what_keeps_images_from_coming_is_said_in_words(api, answers, path, value, endpoint, said):
    answers[f"/stream/api/1.8.0/{path}"] = {"value": value}
    (problem,) = api.stream_problems(endpoint)
    assert said in problem


def test_images_that_the_detector_dropped_are_counted(api, answers):
    answers["/stream/api/1.8.0/status/dropped"] = {"value": 12}
    assert api.n_dropped() == 12


def test_a_detector_that_takes_images_says_so(api, answers):
    answers["/detector/api/1.8.0/status/state"] = {"value": "acquire"}
    assert api.is_acquiring()


def test_an_older_api_version_is_found(api, answers):
    for path in [path for path in answers if "1.8.0" in path]:
        answers[path.replace("1.8.0", "1.6.0")] = answers.pop(path)
    assert api.value("config/mode") == "enabled"


@pytest.mark.parametrize("answer", [[1, 2], "text", None])
def test_an_answer_that_is_no_object_is_an_error_of_ours(api, answers, answer):
    answers["/stream/api/1.8.0/config/mode"] = answer
    with pytest.raises(ApiError):
        api.value("config/mode")
