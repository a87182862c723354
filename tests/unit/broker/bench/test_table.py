"""Figures as people read them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from beamstream_broker.bench.findings import Findings
from beamstream_broker.bench.table import (
    LATENCY_COLUMNS,
    RATE_COLUMNS,
    latency_rows,
    number,
    print_findings,
    rate_rows,
    remarks,
    unkept_paces,
)


def test_rates_stand_beside_what_the_parts_do(findings: Findings) -> None:
    results, ceilings = rate_rows(findings, 1 << 20)
    assert results[0] == ("memory, 3 groups x 2", "1,480", "1.55", "12.4", "0.300", "0.600", "0.0300", "0.300")
    assert [row[0] for row in results] == [
        "memory, 3 groups x 2",
        "shared, 1 group",
        "disk, written",
        "disk, read, 3 groups x 2",
    ]
    assert ceilings[0][:4] == ("memcpy", "", "7.49", "59.9")  # its blocks are nobody's messages
    assert ceilings[1][:2] == ("socket pair", "7,140")
    assert {len(row) for row in results + ceilings} == {1 + len(RATE_COLUMNS)}


def test_who_takes_no_part_has_no_figure(findings: Findings) -> None:
    rows = {row[0]: row for row in rate_rows(findings, 1 << 20)[0]}
    assert rows["disk, written"][-1] == ""
    assert rows["disk, read, 3 groups x 2"][4] == ""
    (small,) = rate_rows(findings, 200)[0]
    assert small[4:] == ("15.0", "6.00", "", "14.0")  # somebody else's broker


def test_delays_are_in_milliseconds_with_the_pace_they_were_measured_at(findings: Findings) -> None:
    rows = latency_rows(findings, 1 << 20)
    assert rows[0] == ("memory, 3 groups x 2", "740", "0.700", "1.20", "4.00", "30.0")
    assert len(rows) == 2  # nobody follows what is written to disk, or read from it
    assert {len(row) for row in rows} == {1 + len(LATENCY_COLUMNS)}


def test_a_machine_that_was_busy_is_said_to_have_been(findings: Findings) -> None:
    assert remarks(findings) == ["not measured: shared, 9 MB: no room [here]"]
    busy = replace(findings, host=replace(findings.host, load_before=8.16))
    assert remarks(busy)[0] == "the machine was busy before (load 8.16 on 2 CPUs): idle it does better"


def test_a_pace_that_was_not_kept_is_said(findings: Findings) -> None:
    assert unkept_paces(findings) == []
    latency = findings.results[1].latency
    assert latency is not None
    slow = replace(findings.results[1], latency=replace(latency, behind_s=0.33))
    assert unkept_paces(replace(findings, results=[slow])) == [
        "1 MiB, memory, 3 groups x 2: the pace of 740 messages/s was not kept, the producer fell 330 ms behind"
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (53187.4, "53,200"), (999.6, "1,000"), (120.4, "120"), (1.556, "1.56"), (0.55, "0.550"), (12.34, "12.3"),
     (0.01234, "0.0123"), (1234567.0, "1,230,000"), (99.96, "100"), (9.996, "10.0"), (0.9996, "1.00")],
)  # fmt: skip
def test_numbers_have_three_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text


def test_everything_is_printed_and_nothing_is_taken_for_markup(
    findings: Findings, capsys: pytest.CaptureFixture[str]
) -> None:
    print_findings(findings)
    said = capsys.readouterr().out
    for words in (
        "2 CPUs (Name <of> a & processor)",
        "200 B: throughput of each group, and CPU time [s] per million messages of",
        "1 MiB: throughput of each group, and CPU time [s] per GB of",
        "1 MiB: latency [ms] at half of that throughput",
        "redis-py SET/GET",
        "not measured: shared, 9 MB: no room [here]",
    ):
        assert words in said
