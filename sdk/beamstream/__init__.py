"""beamstream: detector frames through a broker, with one API online and offline."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .address import Address, SourceAddress
from .errors import BeamstreamError
from .frame import Frame, Gap, Header

if TYPE_CHECKING:
    from .consumer import Consumer
    from .joined import Join, JoinedFrames
    from .producer import Producer
else:
    _ON_DEMAND = {"Consumer": ".consumer", "Join": ".joined", "JoinedFrames": ".joined", "Producer": ".producer"}

    def __getattr__(name: str) -> Any:
        """Import what stands on redis-py when it is first asked for: not every program that imports us talks to it."""
        if name not in _ON_DEMAND:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(_ON_DEMAND[name], __name__), name)


__all__ = [
    "Address",
    "BeamstreamError",
    "Consumer",
    "Frame",
    "Gap",
    "Header",
    "Join",
    "JoinedFrames",
    "Producer",
    "SourceAddress",
]
