"""What analysis is made of: a `Processor` that turns one frame into results, each a message of a derived stream.

A processor knows nothing of groups, brokers and other workers. It keeps nothing from frame to frame that changes a
result, so that any number of them, in any number of processes, share a stream: `process` gives the same for the same
frame, whoever is asked, and as often as it is asked. What adds up over frames is a reducer's work.

Messages of a derived stream have the ids of the frames that they were made of. Where a processor has no result for an
output (no hit), the id is declined there: readers are told at once that nothing will come, and it counts as no loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from beamstream.address import Address, SourceAddress
from beamstream.errors import UsageError
from beamstream.frame import Frame
from beamstream.service.consuming.handler import StreamStart

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What was made of one frame.

    Attributes
    ----------
    array : array or None
        Sent packed with `codec`; small ones travel in the index entry.
    frame : Frame or None
        Send this frame's bytes as they are, with its shape, dtype and codec, in place of an array.
    metadata : mapping
        What is said about it: anything msgpack can carry.
    codec : str
        How `array` is packed: a name of `beamstream.codecs`.
    """

    array: npt.NDArray[Any] | None = None
    frame: Frame | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    codec: str = "bslz4"


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A derived stream.

    Attributes
    ----------
    address : Address
        Where its messages go.
    metadata : mapping
        Its stream metadata.
    """

    address: Address
    metadata: Mapping[str, Any] = field(default_factory=dict)


Results = Mapping[str, Result]
"""Name of an output → the result for it; an output that is not named gets no message under this id."""


class Processor(Protocol):
    """Turns frames into results."""

    name: str
    """What it is called in logs and metrics, and its group's name by default, e.g. ``peaks``."""

    def open(self, stream: StreamStart) -> Mapping[str, Output]:
        """Prepare for the frames of a stream; return what is made of it, name → derived stream."""
        ...

    def process(self, frame: Frame) -> Results:
        """Return what is made of one frame; raising gives the frame back to the group."""
        ...

    def status(self) -> Mapping[str, int | float | str]:
        """Return what the progress display and the metrics show beside the loop's own counts.

        Integers are counts, and those of several workers are added; other numbers are averaged.
        """
        ...


def derived_address(address: Address, suffix: str, to: SourceAddress | None = None) -> Address:
    """Return the stream of the same name in a derived data source.

    Parameters
    ----------
    address : Address
        The stream that is processed.
    suffix : str
        What stands behind the source's name, e.g. ``hits`` for ``eiger-hits``.
    to : SourceAddress, optional
        The derived data source, in place of that name.

    Raises
    ------
    UsageError
        If it is the stream itself.
    """
    source = to or SourceAddress(address.beamtime, f"{address.source}-{suffix}")
    derived = source.stream(address.name)
    if derived == address:
        raise UsageError(f"--to {source}: results cannot go into the stream they come from")
    return derived


def declined(outputs: Sequence[str], results: Results) -> list[str]:
    """Return the outputs that have no result.

    Raises
    ------
    UsageError
        If there is a result for an output that was not announced.
    """
    if unknown := results.keys() - set(outputs):
        raise UsageError(f"there is no output {sorted(unknown)[0]!r}; there are {', '.join(outputs)}")
    return [name for name in outputs if name not in results]
