"""Pages are opened where a person sits at a desktop, and nowhere else."""

from __future__ import annotations

import pytest

from beamstream.service.desktop import has_desktop


@pytest.mark.parametrize(
    ("environment", "there"),
    [
        ({}, False),
        ({"DISPLAY": ""}, False),
        ({"DISPLAY": ":0"}, True),
        ({"WAYLAND_DISPLAY": "wayland-0"}, True),
        ({"DISPLAY": "localhost:10.0", "SSH_CONNECTION": "10.0.0.1 5 10.0.0.2 22"}, False),
    ],
)
def test_a_desktop_is_where_something_is_shown_to_whoever_sits_there(environment: dict[str, str], there: bool) -> None:
    assert has_desktop(environment) is there
