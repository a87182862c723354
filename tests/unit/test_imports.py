"""What is slow to import is imported by whom it serves only: `stream` commands are started often, and many at once."""

from __future__ import annotations

import subprocess
import sys

import pytest

import beamstream

SLOW = {"h5py", "numba", "numpy", "prometheus_client", "redis", "rich"}


def slow_modules_after(statement: str) -> set[str]:
    """Return which of the slow modules a new interpreter has after a statement."""
    script = f"{statement}\nimport sys\nprint(*sys.modules)"
    finished = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return SLOW & set(finished.stdout.split())


@pytest.mark.parametrize(
    ("statement", "needed"),
    [
        ("import beamstream.cli", set()),
        ("from beamstream import Address, Frame, Gap, Header", set()),
        ("import beamstream.service", set()),
        ("from beamstream import Consumer, Producer", set()),
        (
            "from beamstream import Producer\ntry: Producer('a/b/c', broker='unix:///none')\nexcept Exception: pass",
            {"redis"},
        ),
        ("from beamstream import codecs", {"numpy"}),
    ],
)
def test_no_more_of_the_slow_modules_is_imported_than_what_is_done_needs(statement: str, needed: set[str]) -> None:
    assert slow_modules_after(statement) == needed


def test_everything_that_the_package_promises_is_there() -> None:
    assert all(getattr(beamstream, name).__name__ == name for name in beamstream.__all__)


def test_what_the_package_does_not_have_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        beamstream.nonsense  # noqa: B018
