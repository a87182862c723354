"""File names from addresses."""

from __future__ import annotations

from pathlib import Path

import pytest

from beamstream import Address
from beamstream.errors import UsageError
from beamstream_consumers.write.paths import output_path

ADDRESS = Address("11012345", "eiger", "run_042")


def test_the_name_says_where_the_stream_came_from() -> None:
    output = output_path(ADDRESS, Path("/data"))
    assert output.final == Path("/data/11012345_eiger_run_042.nxs")
    assert output.partial == Path("/data/11012345_eiger_run_042.nxs.partial")


def test_a_template_may_make_folders() -> None:
    assert output_path(ADDRESS, Path("/data"), "{source}/{stream}.h5").final == Path("/data/eiger/run_042.h5")


@pytest.mark.parametrize("template", ["{run}.nxs", "{}.nxs", "{stream", "{stream.x}", "{stream!z}", "", "folder/"])
def test_a_template_that_cannot_be_meant_is_misuse(template: str) -> None:
    with pytest.raises(UsageError, match="template"):
        output_path(ADDRESS, Path("/data"), template)
