"""What the detector answers to HTTP requests: SIMPLON's paths, values, commands and complaints; no socket.

| path below `/{module}/api/{version}/` | GET                | PUT                               |
|---------------------------------------|--------------------|-----------------------------------|
| `config`                              | list of keys       | object of keys and values         |
| `config/{key}`                        | value, type, range | `{"value": …}`: keys that changed |
| `status`                              | list of keys       |                                   |
| `status/{key}`                        | value              |                                   |
| `command/{command}`                   |                    | does it                           |

`/{module}/api/version` tells the version. Modules are `detector` and `stream`; `filewriter` and `monitor` can
be asked for their mode and told to stay disabled. `arm`, `disarm`, `cancel` and `abort` answer
`{"sequence id": N}`. `trigger` answers when its images are taken, as on the real detector, so a client needs
a timeout longer than the acquisition. A path that does not exist is a 404, anything else that cannot be done
a 400 that says why.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from beamstream.errors import UsageError
from beamstream_producers.sim.acquisition import Command
from beamstream_producers.sim.control import DetectorControl
from beamstream_producers.sim.parameters import SOFTWARE_VERSION, UnknownKeyError

API_VERSIONS = ("1.6.0", "1.8.0")
"""Versions in the path that are answered, all in the same way."""

_MODULES = ("detector", "stream", "filewriter", "monitor")
_PIXEL_MASKS = ("pixel_mask", "threshold/1/pixel_mask")
_FLATFIELDS = ("flatfield", "threshold/1/flatfield")

TEMPERATURE_DEGC, HUMIDITY_PERCENT = 24.5, 2.1
"""What the sensors of the module say; it never overheats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What goes back to the client."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"


class BodyError(UsageError):
    """The body of a request is not what the path needs."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f'the body {reason}; write {{"value": …}}')


def answer(detector: DetectorControl, method: str, path: str, body: bytes) -> Response:
    """Do what a request asks for.

    Parameters
    ----------
    method : str
        ``GET`` or ``PUT``; other ones are refused.
    path : str
        Without host and query.
    body : bytes
        JSON, or nothing.
    """
    handlers: Mapping[str, Callable[[], Any]] = {
        "GET": lambda: _get(detector, path),
        "PUT": lambda: _put(detector, path, body),
    }
    if method not in handlers:
        return _complain(405, f"{method} is not understood; use GET or PUT")
    try:
        return _json(handlers[method]())
    except UnknownKeyError as error:
        return _complain(404, f"{path}: {error}")
    except UsageError as error:
        return _complain(400, str(error))


def _get(detector: DetectorControl, path: str) -> Any:
    if path.strip("/") in {f"{module}/api/version" for module in _MODULES}:
        return {"value": SOFTWARE_VERSION, "value_type": "string"}
    module, task, key = _split(path)
    if task == "config":
        return _get_config(detector, module, key)
    if task == "status":
        return _get_status(detector, module, key)
    raise UnknownKeyError(f"{task}/{key}")


def _put(detector: DetectorControl, path: str, body: bytes) -> Any:
    module, task, key = _split(path)
    if task == "config":
        return detector.change(module, {key: _value(body)} if key else _read_object(body))
    if task == "command":
        return _command(detector, module, key)
    raise UnknownKeyError(f"{task}/{key}")


def _split(path: str) -> tuple[str, str, str]:
    """Return module, task and key of `/{module}/api/{version}/{task}/{key}`; keys may hold slashes."""
    parts = path.strip("/").split("/", 4)
    if len(parts) < 4 or parts[0] not in _MODULES or parts[1] != "api" or parts[2] not in API_VERSIONS:
        raise UnknownKeyError(path)
    return parts[0], parts[3], parts[4] if len(parts) == 5 else ""


def _get_config(detector: DetectorControl, module: str, key: str) -> Any:
    configuration = detector.configuration(module)
    if key in {"", "keys"}:
        return sorted(configuration.parameters)
    if module == "detector" and key in _PIXEL_MASKS:
        return _array_value(detector.mask, "uint")
    if module == "detector" and key in _FLATFIELDS:
        return _array_value(np.ones(detector.model.shape, dtype="<f4"), "float")
    return configuration.find(key).describe()


def _get_status(detector: DetectorControl, module: str, key: str) -> Any:
    known = {"detector": _detector_status, "stream": _stream_status}
    if module not in known:
        raise UnknownKeyError(f"{module}/status")
    status = known[module](detector)
    if key in {"", "keys"}:
        return sorted(status)
    if key not in status:
        raise UnknownKeyError(key)
    value = status[key]
    value_type = {str: "string", int: "uint", float: "float", list: "list"}[type(value)]
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return {"value": value, "value_type": value_type, "access_mode": "r", "time": now, "state": "normal"}


def _detector_status(detector: DetectorControl) -> dict[str, Any]:
    return {
        "board_000/th0_humidity": HUMIDITY_PERCENT,
        "board_000/th0_temp": TEMPERATURE_DEGC,
        "error": [],
        "state": detector.state.value,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }


def _stream_status(detector: DetectorControl) -> dict[str, Any]:
    return {"dropped": detector.n_dropped, "error": [], "state": detector.stream_state}


def _command(detector: DetectorControl, module: str, command: str) -> Any:
    if module == "stream" and command == Command.INITIALIZE:
        return detector.reset(module)
    commands: Mapping[str, Callable[[], int | None]] = {
        Command.INITIALIZE: detector.initialize,
        Command.ARM: detector.arm,
        Command.TRIGGER: detector.trigger,
        Command.DISARM: detector.disarm,
        Command.CANCEL: detector.cancel,
        Command.ABORT: detector.abort,
    }
    if module != "detector" or command not in commands:
        raise UnknownKeyError(f"command/{command}")
    series_id = commands[command]()
    return None if series_id is None else {"sequence id": series_id}


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise BodyError("is no JSON") from None
    if not isinstance(content, dict):
        raise BodyError("is no JSON object")
    return content


def _value(body: bytes) -> Any:
    content = _read_object(body)
    if "value" not in content:
        raise BodyError("has no value")
    return content["value"]


def _array_value(values: npt.NDArray[Any], value_type: str) -> dict[str, Any]:
    """Return an array as SIMPLON writes it into JSON."""
    darray = {
        "__darray__": [1, 0, 0],
        "type": values.dtype.str,
        "shape": list(values.shape),
        "filters": ["base64"],
        "data": base64.b64encode(values.tobytes()).decode(),
    }
    return {"value": darray, "value_type": value_type, "access_mode": "r"}


def _json(content: Any) -> Response:
    return Response(status=200, body=b"" if content is None else json.dumps(content).encode())


def _complain(status: int, text: str) -> Response:
    return Response(status=status, body=text.encode(), content_type="text/plain; charset=utf-8")
