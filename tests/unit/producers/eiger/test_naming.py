"""Names of streams: good templates, templates that are refused at once, ids that are no names."""

from __future__ import annotations

import pytest

from beamstream.errors import UsageError
from beamstream_producers.eiger import StreamTemplate
from beamstream_producers.formats.simplon import Start


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("series_{series_id:05d}", "series_00071"),
        ("{series_id}", "71"),
        ("{unique_id}", "01HBV3JP"),
        ("x_{series_id}_{unique_id}", "x_71_01HBV3JP"),
        ("lysozyme_run_042", "lysozyme_run_042"),
    ],
)
def test_a_template_is_filled_in(text, name):
    assert StreamTemplate(text).name(Start(version=2, series_id=71, series_unique_id="01HBV3JP")) == name


@pytest.mark.parametrize(
    "text",
    [
        "{series}",
        "{}",
        "{0}",
        "{series_id",
        "{series_id.real}",
        "{series_id[0]}",
        "{series_id:q}",
        "{series_id:{unique_id}}",
        "a/b",
        "a b",
        "",
        "-{series_id}",
        "x" * 120,
        "{series_id:0200d}",
    ],
)
def test_a_template_that_cannot_name_streams_is_refused_at_once(text):
    with pytest.raises(UsageError, match="stream template"):
        StreamTemplate(text)


def test_a_series_without_unique_id_is_named_by_its_id():
    assert StreamTemplate("s_{unique_id}").name(Start(version=1, series_id=5)) == "s_5"


def test_a_unique_id_that_is_no_name_is_made_one():
    template = StreamTemplate("s_{unique_id}")
    assert template.name(Start(version=2, series_id=5, series_unique_id="../é b")) == "s______b"
    assert len(template.name(Start(version=2, series_id=5, series_unique_id="x" * 10_000))) == 42
