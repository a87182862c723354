"""What numba compiled is kept in files that several processes use at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from beamstream.compiling import SharedFiles, compiled


@compiled
def add_up(values):
    total = values[0]
    for k in range(1, len(values)):
        total += values[k]
    return total


def files(folder):
    return SharedFiles(cache_path=str(folder), filename_base="kernel", source_stamp=1)


def test_what_many_keep_at_once_is_kept_under_each_ones_key(tmp_path):
    keys = list(range(200))
    with ThreadPoolExecutor(8) as several:
        list(several.map(lambda key: files(tmp_path).save(key, f"code {key}"), keys))
    assert [files(tmp_path).load(key) for key in keys] == [f"code {key}" for key in keys]


def test_an_index_never_names_a_file_that_is_not_written_yet(tmp_path, monkeypatch):
    older = SharedFiles(cache_path=str(tmp_path), filename_base="kernel", source_stamp=0)
    older.save("type", "what an older version compiled")
    newer = files(tmp_path)

    def killed(what):
        raise KeyboardInterrupt

    monkeypatch.setattr(newer, "_dump", killed)
    with pytest.raises(KeyboardInterrupt):
        newer.save("type", "what would have been")
    assert files(tmp_path).load("type") is None


def test_what_is_kept_again_takes_the_same_file(tmp_path):
    for code in ("first", "second"):
        files(tmp_path).save("type", code)
    assert files(tmp_path).load("type") == "second"
    assert len(list(tmp_path.glob("*.nbc"))) == 1


def test_a_folder_that_is_not_there_holds_nothing(tmp_path):
    assert files(tmp_path / "none").load("type") is None


def test_a_kernel_is_taken_from_the_cache_by_the_next_process():
    assert add_up(np.arange(5)) == 10
    again = compiled(add_up.py_func)
    assert again(np.arange(5)) == 10
    assert sum(again.stats.cache_hits.values()) == 1


def test_a_kernel_that_cannot_be_kept_on_disk_still_runs():
    # numba finds no place for the machine code of a function without a source file, as in a read-only image
    names = {}
    exec("def double(x):\n    return 2 * x\n", names)  # noqa: S102
    assert compiled(names["double"])(21) == 42
