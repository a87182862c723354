"""A simulated EIGER2 as its users see it: two streams and a web interface."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from .control import DetectorControl
from .options import SimulatedEigerOptions
from .sending.sockets import PortError
from .web.server import RestServer


class SimulatedEiger(DetectorControl):
    """A detector on real sockets; `idle` and with its stream enabled once it is made.

    Attributes
    ----------
    api_url : str
        Where its REST interface is, e.g. ``http://127.0.0.1:8080``.

    Raises
    ------
    UsageError
        If an option cannot be meant, or a port is taken.

    Examples
    --------
    >>> with SimulatedEiger(SimulatedEigerOptions(size="500k", n_images=5, hit_fraction=0.2)) as detector:
    ...     sum(detector.truth(image_id).hit for image_id in range(5))
    1
    """

    def __init__(self, options: SimulatedEigerOptions) -> None:
        super().__init__(options)
        try:
            self._rest = RestServer(self, options.host, options.api_port)
        except PortError:
            self.shut_down()
            raise
        self.api_url = self._rest.url

    def close(self) -> None:
        """Abort what is under way, send what is left, and give all ports back."""
        self._rest.close()
        self.shut_down()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
