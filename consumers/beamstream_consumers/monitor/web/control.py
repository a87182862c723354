"""What operators may change, as routes; there are none of these unless the monitor was started with --allow-control."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from beamstream.errors import BeamstreamError, CorruptDataError, UsageError
from beamstream_consumers.monitor.pictures.picture import KINDS
from beamstream_consumers.monitor.requests import Control

from .hub import Hub
from .messages import text_of

MAX_BODY_BYTES = 256 << 10
"""Longest body of a request [bytes]: a mask drawn by hand, of a few thousand corners."""

_logger = logging.getLogger(__name__)

Body = Mapping[str, Any]


class _RefusedError(Exception):
    """A request that cannot be answered: its status, and why."""

    def __init__(self, status: int, why: str) -> None:
        self.status = status
        super().__init__(why)


def control_routes(control: Control, hub: Hub) -> list[BaseRoute]:
    """Return the routes of an operator."""

    def source_of(body: Body) -> str:
        source: str = _field(body, "source", str)
        if source not in hub.facts.sources:
            raise _RefusedError(400, f"{source[:80]!r} is none of the sources that are watched")
        return source

    async def parameters(request: Request) -> Any:
        source = source_of({"source": request.query_params.get("source", "")})
        return await hub.read(control.parameters, source)

    async def preview(request: Request) -> Any:
        body = await _body(request)
        kind = _field(body, "kind", str)
        if kind not in KINDS:
            raise _RefusedError(400, f"kind {kind[:40]!r} is none of {', '.join(KINDS)}")
        wanted = (source_of(body), kind, _field(body, "stream", str), _field(body, "id", int))
        return await hub.read(control.preview, *wanted, _field(body, "values", dict))

    async def apply(request: Request) -> Any:
        body = await _body(request)
        return await hub.read(control.apply, source_of(body), _field(body, "values", dict))

    async def mask(request: Request) -> Any:
        body = await _body(request)
        shapes = _field(body, "shapes", list)
        for shape in shapes:
            _check_shape(shape)
        return await hub.read(control.draw_mask, source_of(body), shapes)

    async def reset(request: Request) -> Any:
        await hub.read(control.reset_powder, source_of(await _body(request)))
        return {}

    return [
        Route("/control/parameters", _answering(parameters, hub), methods=["GET"]),
        Route("/control/parameters", _answering(apply, hub), methods=["POST"]),
        Route("/control/preview", _answering(preview, hub), methods=["POST"]),
        Route("/control/mask", _answering(mask, hub), methods=["POST"]),
        Route("/control/powder/reset", _answering(reset, hub), methods=["POST"]),
    ]


def _answering(call: Callable[[Request], Awaitable[Any]], hub: Hub) -> Callable[[Request], Awaitable[Response]]:
    """Return a route that answers in JSON, and says what is wrong with what it was sent."""

    async def answer(request: Request) -> Response:
        try:
            if request.scope["state"]["role"] != "operator":
                raise _RefusedError(403, "only an operator may do that; open the operator's link")
            hub.counts.events["control_requests"] += 1
            return _json(200, await call(request))
        except _RefusedError as refusal:
            status, why = refusal.status, str(refusal)
        except (UsageError, CorruptDataError) as error:
            status, why = 400, str(error)
        except BeamstreamError as error:
            status, why = 409, str(error)
        hub.counts.events["control_refused"] += 1
        _logger.info("%s %s refused: %s", request.method, request.url.path, why)
        return _json(status, {"error": why})

    return answer


def _json(status: int, answer: Mapping[str, Any]) -> Response:
    headers = {"cache-control": "no-store"}
    return Response(text_of(answer), status, headers=headers, media_type="application/json")


async def _body(request: Request) -> Body:
    """Return the JSON object that was sent; by a page of ours, since any page may send what is no JSON."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise _RefusedError(400, "the body must be application/json")
    data = bytearray()
    async for piece in request.stream():
        data += piece
        if len(data) > MAX_BODY_BYTES:
            raise _RefusedError(400, f"the body has more than {MAX_BODY_BYTES} bytes")
    try:
        body = json.loads(data, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise _RefusedError(400, "the body is no JSON") from error
    if not isinstance(body, dict):
        raise _RefusedError(400, "the body is no JSON object")
    return body


def _field(body: Body, name: str, kind: type[Any]) -> Any:
    value = body.get(name)
    if type(value) is not kind:
        raise _RefusedError(400, f"{name} is missing or no {kind.__name__}")
    return value


def _check_shape(shape: Any) -> None:
    if not isinstance(shape, dict) or not isinstance(shape.get("polygon"), list):
        raise _RefusedError(400, "a shape is {polygon: [[x, y], …]}")
    corners = shape["polygon"]
    if len(corners) < 3 or not all(
        isinstance(corner, list) and len(corner) == 2 and all(type(one) in (int, float) for one in corner)
        for corner in corners
    ):
        raise _RefusedError(400, "a polygon has three corners or more, each [x, y]")


def _refuse_constant(name: str) -> None:
    raise ValueError(name)
