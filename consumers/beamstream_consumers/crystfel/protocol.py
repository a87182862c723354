"""What is said between the bridge and CrystFEL's `indexamajig`: requests and short answers.

`indexamajig --zmq-input=… --zmq-request=next` has a REQ socket in each of its worker processes. It sends the text that
it was told to send and takes whatever comes back as one frame, unless that has at most 15 bytes: then it looks whether
it is to end, and asks again. So everything that is no frame is said in 15 bytes.

References
----------
CrystFEL's «Real-time data processing with indexamajig» (doc/articles/online.rst) and indexamajig(1).
"""

from __future__ import annotations

DEFAULT_REQUEST = b"next"
"""What is asked with, unless told otherwise."""

MAX_SHORT_BYTES = 15
"""Longest answer that is not taken for a frame [bytes]."""

MAX_REQUEST_BYTES = 1024
"""Longest request that is looked at [bytes]; a peer that sends more is cut off."""

NOT_YET = b"not yet"
"""There is no frame now."""

NOT_UNDERSTOOD = b"What?"
"""The request is none."""

AT_END = b"end of stream"
"""There will be no frame any more."""
