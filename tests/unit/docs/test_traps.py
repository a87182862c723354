"""The page of traps tells the truth: each row has a test, and each test exists."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "reference" / "traps.md"

pytestmark = pytest.mark.skipif(not PAGE.exists(), reason="the documentation is not here")

_TEST = re.compile(r"`(tests/[\w/.]+\.py)::(\w+)`")


def rows() -> list[str]:
    if not PAGE.exists():
        return []
    lines = PAGE.read_text("utf-8").splitlines()
    return [line for line in lines if line.startswith("|") and not line.startswith(("| trap ", "|---"))]


@lru_cache(maxsize=64)
def functions_of(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.split("|")[1].strip()[:60])
def test_each_trap_has_a_test_that_exists(row: str) -> None:
    _, trap, done, tests, _ = (cell.strip() for cell in row.split("|"))
    assert trap
    assert done
    found = _TEST.findall(tests)
    assert found, "no test is named"
    for path, name in found:
        assert name in functions_of(ROOT / path), f"{path} has no {name}"
