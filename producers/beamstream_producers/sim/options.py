"""What a simulated detector is like: one record for the command line and for tests."""

from __future__ import annotations

from dataclasses import dataclass, field

from beamstream.errors import UsageError

from .faults.kinds import Faults
from .recorded_run import RecordedRun
from .sending.sender import DRAIN_S

BUFFER_IMAGES = 1000
"""Images that wait for a slow receiver, by default; the real one's number is not published."""

LINGER_S = 10.0
"""How long closing waits for what the sockets still hold, by default [s]."""


UNPACED_RATE_HZ = 1000.0
"""What the detector's clock says where images leave as fast as they can [Hz]."""


class OptionError(UsageError):
    """A simulated detector that cannot be."""

    def __init__(self, name: str, value: float, allowed: str) -> None:
        self.name = name
        self.value = value
        super().__init__(f"{name} must be {allowed}, not {value:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedEigerOptions:
    """What a simulated detector is like; much of it are the values that its configuration begins with.

    Attributes
    ----------
    size : str
        Model: 500k, 1M, 4M, 9M or 16M.
    stream_format : str
        ``legacy`` (version 1) or ``cbor`` (version 2).
    compression : str
        ``bslz4``, ``lz4`` or ``none``.
    header_detail : str
        ``all`` (with flat field and mask), ``basic`` or ``none``.
    bit_depth : int
        8, 16 or 32 bits per pixel.
    n_images, n_triggers : int
        Images per trigger, and triggers per series.
    trigger_mode : str
        ``ints`` or ``exts``.
    rate_hz : float
        Images per second; 0 takes them as fast as they leave, while the detector's clock says 1 kHz.
    hit_fraction : float
        Share of frames with Bragg peaks.
    unique : bool
        Every image of a series differs; otherwise they are dealt from a pool.
    seed : int
        Pixels, mask and hits follow from it.
    wait : bool
        Rather fall behind than drop images.
    buffer_images : int
        Images that wait for a slow receiver before any is dropped.
    drain_s, linger_s : float
        How long the end of a series, and closing, wait for a receiver to take what is left [s].
    host : str
        Interface that everything listens on.
    legacy_port, cbor_port, api_port : int
        TCP ports; 0 for any that is free.
    first_series_id : int
        Number of the first series.
    faults : Faults
        What goes wrong; which message suffers what follows from `seed`.
    recorded : RecordedRun or None
        A run that is played; its shape and depth are the images', `size`, `bit_depth`, `hit_fraction` and `unique` mean
        nothing then. Whoever opened it closes it.

    Raises
    ------
    OptionError
        If a number is out of range.
    """

    size: str = "1M"
    stream_format: str = "cbor"
    compression: str = "bslz4"
    header_detail: str = "basic"
    bit_depth: int = 16
    n_images: int = 100
    n_triggers: int = 1
    trigger_mode: str = "ints"
    rate_hz: float = 100.0
    hit_fraction: float = 0.2
    unique: bool = False
    seed: int = 0
    wait: bool = False
    buffer_images: int = BUFFER_IMAGES
    drain_s: float = DRAIN_S
    linger_s: float = LINGER_S
    host: str = "127.0.0.1"
    legacy_port: int = 0
    cbor_port: int = 0
    api_port: int = 0
    first_series_id: int = 1
    faults: Faults = field(default_factory=Faults)
    recorded: RecordedRun | None = None

    def __post_init__(self) -> None:
        # the rest is checked by the configuration that it goes into, and by the sockets
        ranges = {"hit_fraction": (0, 1), "seed": (0, None), "buffer_images": (1, None), "first_series_id": (1, None)}
        for name, (least, most) in ranges.items():
            value = getattr(self, name)
            if value < least or (most is not None and value > most):
                raise OptionError(name, value, f"from {least} to {most}" if most is not None else f"at least {least}")

    def values(self) -> dict[str, dict[str, object]]:
        """Return what the configuration begins with, by module and key."""
        return {
            "detector": {
                **(self.recorded.values() if self.recorded else {}),
                "frame_time": 1 / (self.rate_hz or UNPACED_RATE_HZ),
                "compression": self.compression,
                "bit_depth_image": self.bit_depth,
                "nimages": self.n_images,
                "ntrigger": self.n_triggers,
                "trigger_mode": self.trigger_mode,
            },
            "stream": {"format": self.stream_format, "header_detail": self.header_detail},
        }
