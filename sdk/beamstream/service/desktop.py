"""The desktop of whoever started a command: pages are opened there, where there is one."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Mapping


def open_page(address: str) -> bool:
    """Open a page in the user's browser, where a person sits at a desktop; returns whether it was."""
    return sys.stdout.isatty() and has_desktop(os.environ) and webbrowser.open(address)


def has_desktop(environment: Mapping[str, str]) -> bool:
    """Whether a browser would be seen by whoever sits here: a desktop is there, and nobody came by SSH."""
    shown = environment.get("DISPLAY") or environment.get("WAYLAND_DISPLAY")
    return bool(shown) and not environment.get("SSH_CONNECTION")
