"""What all tests share: an environment without the user's own settings."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("untimed", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the broker, configuration and log level of whoever runs the tests out of them."""
    for name in [name for name in os.environ if name.startswith("STREAM_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def captured_data() -> Path:
    """The folder of captured detector data, named by BEAMSTREAM_TEST_DATA."""
    folder = os.environ.get("BEAMSTREAM_TEST_DATA")
    if not folder:
        pytest.skip("BEAMSTREAM_TEST_DATA names no folder of captured data")
    return Path(folder)
