"""Whether this machine can have shared memory: what segments need of the kernel is tried once, with a small one."""

from __future__ import annotations

import os

from beamstream.shared.segment import HEAD_BYTES, create, lease, map_pages


def why_none() -> str:
    """Return in words why there can be no segments here; empty where there can."""
    if not hasattr(os, "memfd_create"):
        return "this system has no memfd_create; it takes Linux"
    try:
        descriptor = create(0, 2 * HEAD_BYTES)
        try:
            lease(descriptor, map_pages(descriptor, writable=True), 0)
        finally:
            os.close(descriptor)
    except (OSError, ValueError) as error:
        return f"a segment cannot be made here ({error}); memfd_create, /proc and flock are needed"
    return ""
