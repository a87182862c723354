"""A folder that fills: renames, slow writers, halves, repetitions, and how scans end."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from beamstream_producers.cbf import source as source_module
from beamstream_producers.cbf.watching import FolderWatch

from .conftest import Run, age, file_of, half_of, put

Runner = Callable[..., Run]


def has(n: int) -> Callable[[Run], bool]:
    """Say whether so many messages came."""
    return lambda run: len(run.produced) >= n


def always(_: Run) -> bool:
    return True


def test_files_that_are_renamed_into_place_come_in_their_order(run: Runner, tmp_path: Path) -> None:
    steps = [(has(number - 1), lambda number=number: put(tmp_path, f"scan_{number}.cbf")) for number in (1, 2, 3, 4)]
    done = run(tmp_path, follow=True, n_frames=4, n_scans=1, steps=steps)
    assert (done.ids, done.ended) == ([1, 2, 3, 4], [("scan", "complete")])


def test_without_any_events_the_folder_is_looked_at_all_the_same(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(source_module, "FolderWatch", lambda _, **options: FolderWatch((), **options))
    steps = [(has(number - 1), lambda number=number: put(tmp_path, f"scan_{number}.cbf")) for number in (1, 2)]
    assert run(tmp_path, follow=True, n_frames=2, n_scans=1, steps=steps).ids == [1, 2]


def test_a_file_that_is_written_slowly_is_taken_once_and_whole(run: Runner, tmp_path: Path) -> None:
    put(tmp_path, "scan_1.cbf")
    data, path = file_of(2), tmp_path / "scan_2.cbf"
    pieces = [data[:3], data[3:500], data[500:1200], data[1200:]]

    def append(piece: bytes) -> None:
        with path.open("ab") as file:
            file.write(piece)

    steps = [(has(1), lambda piece=piece: append(piece)) for piece in pieces]
    done = run(tmp_path, follow=True, n_frames=2, n_scans=1, steps=steps)
    assert (done.ids, done.counted.get("rejected"), done.counted["files"]) == ([1, 2], None, 2)


def test_the_padding_that_follows_the_pixels_does_not_make_it_another_file(run: Runner, tmp_path: Path) -> None:
    data, path = file_of(1), tmp_path / "scan_1.cbf"
    steps = [
        (always, lambda: path.write_bytes(data[:-3000])),
        (has(1), lambda: path.write_bytes(data)),
        (has(1), lambda: put(tmp_path, "scan_2.cbf")),
    ]
    done = run(tmp_path, follow=True, n_frames=2, n_scans=1, steps=steps)
    assert (done.ids, done.counted.get("overwritten")) == ([1, 2], None)


def test_an_empty_file_is_waited_for(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "scan_1.cbf").touch()
    steps = [(always, lambda: (tmp_path / "scan_1.cbf").write_bytes(file_of(1)))]
    assert run(tmp_path, follow=True, n_frames=1, n_scans=1, steps=steps).ids == [1]


def test_half_a_file_holds_nobody_up_and_is_given_up_in_the_end(run: Runner, tmp_path: Path) -> None:
    (tmp_path / "scan_1.cbf").write_bytes(half_of(1))
    steps = [(always, lambda: put(tmp_path, "scan_2.cbf")), (has(1), lambda: put(tmp_path, "scan_3.cbf"))]
    done = run(tmp_path, follow=True, n_frames=3, n_scans=1, steps=steps)
    assert (done.ids, done.ended) == ([2, 3], [("scan", "incomplete")])
    assert done.counted["rejected_incomplete"] == 1


def test_a_file_that_was_given_up_is_taken_when_it_is_mended(run: Runner, tmp_path: Path) -> None:
    age(put(tmp_path, "scan_1.cbf"), 50)
    age(put(tmp_path, "scan_2.cbf", half_of(2)), 50)
    steps = [(lambda run: "rejected" in run.counted, lambda: put(tmp_path, "scan_2.cbf"))]
    done = run(tmp_path, follow=True, steps=steps, until=has(2))
    assert (done.ids, done.counted["rejected_incomplete"], done.counted["files"]) == ([1, 2], 1, 2)


def test_without_follow_a_file_that_is_being_written_is_waited_for(run: Runner, tmp_path: Path) -> None:
    put(tmp_path, "scan_1.cbf")
    path = tmp_path / "scan_2.cbf"
    path.write_bytes(half_of(2))
    done = run(tmp_path, steps=[(has(1), lambda: path.write_bytes(file_of(2)))])
    assert (done.ids, done.ended) == ([1, 2], [("scan", "complete")])


def test_the_same_event_twice_is_one_message(run: Runner, tmp_path: Path) -> None:
    path = put(tmp_path, "scan_1.cbf")

    def again() -> None:
        os.utime(path)
        path.chmod(0o600)
        path.rename(tmp_path / "scan_1.cbf.old")
        (tmp_path / "scan_1.cbf.old").rename(path)

    steps = [(has(1), again), (has(1), lambda: put(tmp_path, "scan_2.cbf"))]
    done = run(tmp_path, follow=True, n_frames=2, n_scans=1, steps=steps)
    assert (done.ids, done.counted["images"], done.counted.get("overwritten")) == ([1, 2], 2, None)


def test_a_file_that_is_overwritten_with_another_image_is_counted_and_left_to_the_broker(
    run: Runner, tmp_path: Path
) -> None:
    put(tmp_path, "scan_1.cbf")
    done = run(tmp_path, follow=True, steps=[(has(1), lambda: put(tmp_path, "scan_1.cbf", number=99))], until=has(2))
    assert (done.ids, done.counted["overwritten"]) == ([1, 1], 1)
    assert done.produced[0].payload != done.produced[1].payload


def test_a_file_that_vanishes_while_it_is_waited_for_is_counted(run: Runner, tmp_path: Path) -> None:
    put(tmp_path, "scan_1.cbf")
    half = tmp_path / "scan_2.cbf"
    half.write_bytes(half_of(2))
    done = run(
        tmp_path, follow=True, patience_s=60.0, steps=[(has(1), half.unlink)],
        until=lambda run: "vanished" in run.counted,
    )  # fmt: skip
    assert (done.ids, done.counted["vanished"]) == ([1], 1)


def test_a_link_is_taken_when_it_leads_somewhere(run: Runner, tmp_path: Path) -> None:
    put(tmp_path, "scan_1.cbf")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "scan_2.cbf").symlink_to(elsewhere / "any_2.cbf")
    done = run(
        tmp_path, follow=True, n_frames=2, n_scans=1, patience_s=60.0,
        steps=[(has(1), lambda: put(elsewhere, "any_2.cbf"))],
    )  # fmt: skip
    assert done.ids == [1, 2]


def test_files_in_sub_folders_that_are_made_later_are_found(run: Runner, tmp_path: Path) -> None:
    put(tmp_path, "scan_1.cbf")

    def deeper() -> None:
        (tmp_path / "later").mkdir()
        put(tmp_path / "later", "deep_1.cbf")

    done = run(tmp_path, follow=True, recursive=True, steps=[(has(1), deeper)], until=has(2))
    assert done.names == ["scan_1.cbf", "deep_1.cbf"]


def test_a_scan_ends_when_the_next_of_its_folder_begins(run: Runner, tmp_path: Path) -> None:
    put(tmp_path, "first_1.cbf")
    done = run(tmp_path, follow=True, steps=[(has(1), lambda: put(tmp_path, "second_1.cbf"))], until=has(2))
    assert done.ended == [("first", "complete"), ("second", "left")]


def test_a_scan_of_another_folder_ends_nothing(run: Runner, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    put(one, "first_1.cbf")
    done = run(one, two, follow=True, steps=[(has(1), lambda: put(two, "second_1.cbf"))], until=has(2))
    assert done.ended == [("first", "left"), ("second", "left")]


def test_a_scan_ends_when_no_file_comes_for_long_and_what_comes_then_is_counted(run: Runner, tmp_path: Path) -> None:
    put(tmp_path, "scan_1.cbf")
    done = run(
        tmp_path, follow=True, idle_timeout_s=0.3,
        steps=[(lambda run: bool(run.ended), lambda: put(tmp_path, "scan_2.cbf"))],
        until=lambda run: "after_end" in run.counted,
    )  # fmt: skip
    assert (done.ids, done.ended, done.counted["after_end"]) == ([1], [("scan", "complete")], 1)


def test_a_stream_that_is_named_ends_the_source(run: Runner, tmp_path: Path) -> None:
    put(tmp_path, "first_1.cbf")
    steps = [(has(1), lambda: put(tmp_path, "second_1.cbf"))]
    done = run(tmp_path, follow=True, stream="mine", steps=steps)
    assert done.ended[0] == ("mine", "complete")


def test_what_is_open_is_left_open_when_the_source_is_stopped(run: Runner, tmp_path: Path) -> None:
    for number in (1, 2):
        put(tmp_path, f"scan_{number}.cbf")
    done = run(tmp_path, follow=True, until=has(2))
    assert done.ended == [("scan", "left")]


def test_a_folder_that_goes_away_and_comes_back_is_gone_on_with(run: Runner, tmp_path: Path) -> None:
    folder, aside = tmp_path / "folder", tmp_path / "aside"
    folder.mkdir()
    put(folder, "scan_1.cbf")

    def back() -> None:
        aside.rename(folder)
        put(folder, "scan_2.cbf")

    steps = [(has(1), lambda: folder.rename(aside)), (lambda run: "folder_unreadable" in run.counted, back)]
    done = run(folder, follow=True, steps=steps, until=has(2))
    assert done.ids == [1, 2]


def test_a_writer_whose_clock_is_behind_is_waited_for_all_the_same(run: Runner, tmp_path: Path) -> None:
    put(tmp_path, "scan_1.cbf")
    path = tmp_path / "scan_2.cbf"

    def write_half() -> None:
        path.write_bytes(half_of(2))
        age(path, 3600)

    steps = [(has(1), write_half), (lambda run: run.counted["files"] == 2, lambda: path.write_bytes(file_of(2)))]
    done = run(tmp_path, follow=True, n_frames=2, n_scans=1, patience_s=60.0, steps=steps)
    assert (done.ids, done.counted.get("rejected")) == ([1, 2], None)


def test_a_folder_to_which_nothing_comes_is_said_to_be_so(
    run: Runner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(source_module, "QUIET_S", 0.2)
    done = run(tmp_path, follow=True, until=lambda _: "--recursive" in caplog.text)
    assert (done.events, str(tmp_path) in caplog.text) == ([], True)
