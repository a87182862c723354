"""What a detector's REST API says about its stream, in words.

References
----------
DECTRIS, SIMPLON API 1.8: `stream/api/<version>/config/mode|format`, `status/state|dropped`; `detector/…/status/state`.
"""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

from beamstream.errors import BeamstreamError, UsageError

from .endpoint import PORT_V1, PORT_V2

TIMEOUT_S = 2.0
"""How long a request may take [s]; a detector on the same network answers within milliseconds."""

MAX_ANSWER_BYTES = 2**16
"""How much of an answer is read [bytes]; one value has about 200."""

API_VERSIONS = ("1.8.0", "1.6.0")
"""Tried in this order: EIGER2 and later, EIGER."""

_NOT_FOUND = 404


class ApiError(BeamstreamError):
    """The detector's API gave no value."""

    def __init__(self, url: str, reason: str) -> None:
        self.url = url
        self.reason = reason
        super().__init__(f"the detector's API gives no {url}: {reason}")


class StreamApi:
    """Reads the stream's part of a detector's API.

    Parameters
    ----------
    url : str
        ``http://dcu``, without a path.
    timeout_s : float
        How long a request may take [s].

    Raises
    ------
    UsageError
        If it is no such URL.
    """

    def __init__(self, url: str, timeout_s: float = TIMEOUT_S) -> None:
        split = urlsplit(url)
        if split.scheme not in ("http", "https") or not split.netloc or split.path.strip("/"):
            raise UsageError(f"{url!r} is no URL of a detector's API; write http://HOST")
        self.url = f"{split.scheme}://{split.netloc}"
        self._timeout_s = timeout_s
        # a proxy of the office network knows nothing of a detector
        self._opener = build_opener(ProxyHandler({}))

    def value(self, path: str, module: str = "stream") -> Any:
        """Return a value, e.g. of ``config/mode``; None if the detector has no such key.

        Raises
        ------
        ApiError
            If nobody answers, or with something else than a value.
        """
        for version in API_VERSIONS:
            url = f"{self.url}/{module}/api/{version}/{path}"
            try:
                with self._opener.open(url, timeout=self._timeout_s) as answer:
                    content = json.loads(answer.read(MAX_ANSWER_BYTES))
            except HTTPError as error:
                error.close()
                if error.code != _NOT_FOUND:
                    raise ApiError(url, str(error)) from None
                continue
            except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
                raise ApiError(url, str(error)) from None
            if not isinstance(content, dict):
                raise ApiError(url, "the answer is no JSON object")
            return content.get("value")
        return None

    def stream_problems(self, endpoint: str) -> list[str]:
        """Return what in the stream's state and configuration keeps images from coming, in words."""
        mode, format_, state = (self.value(path) for path in ("config/mode", "config/format", "status/state"))
        problems = []
        if mode != "enabled":
            problems.append(
                f"the detector's stream is {mode!r}: set its config/mode to 'enabled' (initialize disables it again)"
            )
        wrong_port = {"cbor": PORT_V1, "legacy": PORT_V2}.get(str(format_))
        if wrong_port is not None and endpoint.endswith(f":{wrong_port}"):
            problems.append(
                f"the detector's stream has format {format_!r}, which is not sent on port {wrong_port}: "
                f"cbor is sent on {PORT_V2}, legacy on {PORT_V1}"
            )
        if state == "error":
            problems.append("the detector's stream is in state 'error'")
        return problems

    def n_dropped(self) -> int:
        """Return how many images of the present or last series the detector itself dropped; reset by the next arm."""
        n_dropped = self.value("status/dropped")
        return n_dropped if isinstance(n_dropped, int) and n_dropped > 0 else 0

    def is_acquiring(self) -> bool:
        """Whether the detector is taking images."""
        return bool(self.value("status/state", "detector") == "acquire")
