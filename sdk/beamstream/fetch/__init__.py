"""The fetch service's protocol and its client: payloads from the disk of another host, over ZeroMQ.

docs/reference/fetch-protocol.md specifies what travels.
"""

from .messages import (
    MAX_ITEMS,
    MAX_REPLY_BYTES,
    MAX_REQUEST_BYTES,
    TICKET_BYTES,
    BadRequestError,
    ItemStatus,
    Reply,
    ReplyStatus,
    Request,
    decode_reply,
    decode_request,
    encode_reply,
    encode_request,
    format_endpoint,
    parse_endpoint,
)

__all__ = [
    "MAX_ITEMS",
    "MAX_REPLY_BYTES",
    "MAX_REQUEST_BYTES",
    "TICKET_BYTES",
    "BadRequestError",
    "ItemStatus",
    "Reply",
    "ReplyStatus",
    "Request",
    "decode_reply",
    "decode_request",
    "encode_reply",
    "encode_request",
    "format_endpoint",
    "parse_endpoint",
]
