"""Compiles what the first picture needs before it comes: on a new machine that takes some ten seconds."""

from __future__ import annotations

import logging
import threading

import numpy as np

from beamstream.codecs import decode, encode
from beamstream_consumers.monitor.pictures.making import make_picture
from beamstream_consumers.monitor.pictures.pooling import halve
from beamstream_consumers.monitor.pictures.powders import Powder
from beamstream_consumers.monitor.pictures.scene import Scene

log = logging.getLogger(__name__)

EDGE = 16
"""Edge of the pictures that are made for nobody [pixels]."""


class Warming:
    """Makes small pictures in a thread, once."""

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._thread = threading.Thread(target=self._work, name="monitor warming", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def join(self) -> None:
        """Wait for the end; what is being compiled is compiled first."""
        self._thread.join()

    def _work(self) -> None:
        for dtype in ("<u2", "<u4"):
            if self._stop.is_set():
                return
            shape = (EDGE, EDGE)
            payload = encode(np.zeros(shape, dtype), "bslz4")
            image = decode(payload, "bslz4", shape, np.dtype(dtype))
            scene = Scene({}, shape)
            picture = make_picture(image, scene, source="", kind="frame", stream="", message_id=1, taken_ns=0)
            halve(picture.image, picture.flag, "max")
            powder = Powder()
            powder.add(1, 0, image)
        log.debug("kernels are compiled")
