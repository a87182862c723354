"""The protocol with the server: keys, entries, stream metadata and the scripts; PROTOCOL.md specifies it."""

from .entry import (
    EXPIRED,
    Entry,
    EntryKind,
    decode_entry,
    decode_header,
    encode_header,
    expired_entry,
    fields_of,
    is_located,
    locate_header,
    pack_header,
    read_answer,
    read_entry,
    state_checksum,
    stated_bytes,
    unlocate_header,
)
from .keys import StreamKeys
from .metadata import decode_metadata, encode_metadata

PROTOCOL_VERSION = 1

__all__ = [
    "EXPIRED",
    "PROTOCOL_VERSION",
    "Entry",
    "EntryKind",
    "StreamKeys",
    "decode_entry",
    "decode_header",
    "decode_metadata",
    "encode_header",
    "encode_metadata",
    "expired_entry",
    "fields_of",
    "is_located",
    "locate_header",
    "pack_header",
    "read_answer",
    "read_entry",
    "state_checksum",
    "stated_bytes",
    "unlocate_header",
]
