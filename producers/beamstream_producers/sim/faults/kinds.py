"""Which faults there are, how likely each is, and how they are written: ``drop=0.01,late-header``."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, fields
from typing import Self

from beamstream.errors import UsageError


class FaultError(UsageError):
    """Faults that cannot be meant."""

    def __init__(self, text: str, reason: str) -> None:
        self.text = text
        self.reason = reason
        super().__init__(
            f"faults {text!r}: {reason}; write e.g. drop=0.01,late-header, each with the share of images or of series "
            f"that suffer it, from 0 to 1, or without a share for all of them; there are {', '.join(FAULTS)}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """The share of images, or of series, that suffer each fault, from 0 to 1; see `MEANINGS`.

    Examples
    --------
    >>> Faults.parse("drop=0.01, late-header").late_header
    1.0
    """

    drop: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    renumber: float = 0.0
    stall: float = 0.0
    garbage: float = 0.0
    abort: float = 0.0
    restart: float = 0.0
    late_header: float = 0.0
    header_again: float = 0.0
    two_ends: float = 0.0
    no_end: float = 0.0
    second_client: float = 0.0

    def __post_init__(self) -> None:
        for field in fields(self):
            share = getattr(self, field.name)
            if not 0 <= share <= 1:
                raise FaultError(_written(field.name), f"{share:g} is no share from 0 to 1")

    @property
    def any(self) -> bool:
        """Whether anything may go wrong at all."""
        return any(getattr(self, field.name) for field in fields(self))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what stands behind ``--faults``.

        Raises
        ------
        FaultError
            If there is no such fault, it is named twice, or its share is no number from 0 to 1.
        """
        shares: dict[str, float] = {}
        for item in text.split(","):
            name, _, share = (part.strip() for part in item.partition("="))
            if name not in FAULTS:
                near = difflib.get_close_matches(name, FAULTS, n=1)
                raise FaultError(text, f"there is no {name!r}" + (f", did you mean {near[0]!r}?" if near else ""))
            if _named(name) in shares:
                raise FaultError(text, f"{name!r} is named twice")
            try:
                shares[_named(name)] = float(share) if "=" in item else 1.0
            except ValueError:
                raise FaultError(text, f"{share!r} of {name!r} is no number") from None
        return cls(**shares)


def _named(written: str) -> str:
    return written.replace("-", "_")


def _written(name: str) -> str:
    return name.replace("_", "-")


MEANINGS = {
    "drop": ("images", "is never sent; the detector counts it in stream/status/dropped"),
    "duplicate": ("images", "is sent twice"),
    "reorder": ("images", "comes behind up to 8 of the next ones, or behind the end of its series"),
    "renumber": ("images", "is sent with a number beyond what its series promised, now and then absurdly far beyond"),
    "stall": ("images", "nothing leaves for up to 1 s"),
    "garbage": ("images", "a message that no detector should send comes behind it"),
    "abort": ("series", "ends early; up to 5 images taken last come behind the header of the next series"),
    "restart": ("series", "is cut without an end; the sockets vanish and come back, series count from the first again"),
    "late-header": ("series", "its header comes behind up to 8 of its images"),
    "header-again": ("series", "its header comes once more in the middle"),
    "two-ends": ("series", "its end comes twice"),
    "no-end": ("series", "it has no end"),
    "second-client": ("series", "for a while, another client takes its share of the messages"),
}
"""Of what each fault is a share, and what happens to those that it hits; by its name as it is written."""

FAULTS = tuple(MEANINGS)
"""The names of all faults."""
