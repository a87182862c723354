"""Which Python has a peer's packages: the one that runs this, or one in an environment of the peer's own.

They are no dependencies of this project. `install` makes such an environment with uv, for each peer that needs one.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from peer import Peer

ALWAYS = ("xxhash>=3.5",)
"""What the processes of a run need beside the peer's own packages."""

INSTALL_TIMEOUT_S = 300.0
"""How long an installation may take [s]."""


class InstallError(Exception):
    """The packages could not be installed; the message says why."""


def find_python(peer: Peer, folder: Path | None) -> str | None:
    """Return the interpreter that has a peer's packages; None where there is none."""
    if all(importlib.util.find_spec(module) for module in peer.modules):
        return sys.executable
    python = None if folder is None else _python(folder / _environment(peer))
    return str(python) if python is not None and _imports(python, peer) else None


def install(peer: Peer, folder: Path) -> str:
    """Make an environment with a peer's packages in a folder; return its interpreter."""
    where = folder / _environment(peer)
    python = _python(where)
    _run("uv", "venv", "--quiet", "--python", sys.executable, "--clear", str(where))
    _run("uv", "pip", "install", "--quiet", "--python", str(python), *peer.requirements, *ALWAYS)
    if not _imports(python, peer):
        raise InstallError(f"{', '.join(peer.modules)} cannot be imported after the installation")
    return str(python)


def _environment(peer: Peer) -> str:
    """Name an environment after its packages: peers that need the same ones share it."""
    return "-".join(requirement.partition(">=")[0] for requirement in peer.requirements)


def _python(environment: Path) -> Path:
    return environment / "bin" / "python"


def _imports(python: Path, peer: Peer) -> bool:
    command = [str(python), "-c", f"import {', '.join(peer.modules)}"]
    return python.exists() and subprocess.run(command, capture_output=True, check=False).returncode == 0


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_TIMEOUT_S)
    except FileNotFoundError:
        raise InstallError("uv is not there to install them") from None
    except subprocess.TimeoutExpired:
        raise InstallError(f"{' '.join(command[:3])} took longer than {INSTALL_TIMEOUT_S:g} s") from None
    if done.returncode != 0:
        raise InstallError(f"{' '.join(command[:3])}: {(done.stderr.strip() or 'failed').splitlines()[-1]}")
