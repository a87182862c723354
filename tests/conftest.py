"""What all tests share: an environment without the user's own settings."""

from __future__ import annotations

import contextlib
import gc
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# how long an example takes is the machine's affair
settings.register_profile("untimed", deadline=None)
settings.register_profile("few", deadline=None, max_examples=10)  # for environments: whether it works there at all
settings.load_profile("untimed")


@pytest.fixture(autouse=True, scope="session")
def _no_settings() -> None:
    """Keep the broker, configuration and log level of whoever runs the tests out of them."""
    _forget_settings()


@pytest.fixture(autouse=True)
def _own_settings() -> Iterator[None]:
    """Keep those that a command line of ours leaves in this process out of the next test, and of what it shares."""
    yield
    _forget_settings()


def _forget_settings() -> None:
    for name in [name for name in os.environ if name.startswith("STREAM_")]:
        del os.environ[name]


@pytest.fixture
def captured_data() -> Path:
    """The folder of captured detector data, named by BEAMSTREAM_TEST_DATA."""
    folder = os.environ.get("BEAMSTREAM_TEST_DATA")
    if not folder:
        pytest.skip("BEAMSTREAM_TEST_DATA names no folder of captured data")
    return Path(folder)


@pytest.fixture
def n_open(tmp_path: Path) -> Callable[[], int]:
    """Count the descriptors that this process has of memory files and of the test's own files."""
    gc.collect()  # what earlier tests dropped is closed now, and not in the middle of this one

    def count() -> int:
        names = []
        for descriptor in Path("/proc/self/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed by now, as that of the listing itself
                names.append(str(descriptor.readlink()))
        return sum(name.startswith(("/memfd:", str(tmp_path))) for name in names)

    return count
