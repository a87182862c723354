"""An image of a file as a message: the same ids, bytes and metadata whether it is sent or read from the folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Any

from beamstream import codecs
from beamstream.frame import Payload
from beamstream_producers.formats import cbf

from .files import FoundFile
from .naming import ScanKey
from .zones import zone_name

CONVERTED = "bslz4"
"""What `--convert` packs pixels as."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CbfMessage:
    """What a message carries beside its id; attributes as those of `beamstream.Header`."""

    payload: Payload
    shape: tuple[int, int]
    dtype: str
    codec: str
    timestamp_ns: int
    metadata: Mapping[str, Any] = field(default_factory=dict)


def message_id(number: int, first_number: int) -> int:
    """Return the id of the message that a file becomes."""
    return number - first_number + 1


def make_message(image: cbf.CbfImage, found: FoundFile, zone: tzinfo | None, *, convert: bool = False) -> CbfMessage:
    """Make a message of an image.

    Parameters
    ----------
    image : CbfImage
        What is in the file.
    found : FoundFile
        The file; its time stands in where the header has none.
    zone : tzinfo or None
        Whose local time the header's time stamp is; None: this machine's.
    convert : bool
        Whether pixels are packed anew as `CONVERTED`.

    Raises
    ------
    CodecError
        If pixels cannot be unpacked for it.
    """
    section, payload, codec = image.section, image.payload, image.section.codec
    if convert and codec != CONVERTED:
        pixels = codecs.decode(payload, codec, section.shape, section.dtype)
        payload, codec = memoryview(codecs.encode(pixels, CONVERTED)), CONVERTED
    timestamp_ns = cbf.timestamp_ns(image.header, zone)
    return CbfMessage(
        payload=payload,
        shape=section.shape,
        dtype=section.dtype.str,
        codec=codec,
        timestamp_ns=max(0, found.signature.mtime_ns) if timestamp_ns is None else timestamp_ns,
        metadata={
            "file_name": found.name,
            "file_number": found.number,
            **cbf.image_metadata(image.header),
        },
    )


def make_stream_metadata(image: cbf.CbfImage, scan: ScanKey, first_number: int, zone: tzinfo | None) -> dict[str, Any]:
    """Make the metadata of a stream of its first whole image: see `formats.cbf.nexus`, and where it is from.

    Raises
    ------
    CodecError
        If pixels cannot be unpacked: the mask is in them.
    """
    tree = cbf.stream_metadata(image, zone)
    origin = {
        "folder": str(scan.folder),
        "base": scan.base,
        "first_number": first_number,
        "timezone": zone_name(zone),
    }
    return {**tree, "cbf": {**tree["cbf"], **origin}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where a stream on the broker is from, as its metadata say."""

    folder: str
    base: str
    first_number: int


def read_origin(metadata: Mapping[str, Any]) -> Origin | None:
    """Return where a stream is from; None where `make_stream_metadata` did not make it."""
    said = metadata.get("cbf")
    if not isinstance(said, Mapping):
        return None
    folder, base, first = said.get("folder"), said.get("base"), said.get("first_number")
    if not (isinstance(folder, str) and isinstance(base, str) and isinstance(first, int)):
        return None
    return Origin(folder=folder, base=base, first_number=first)
