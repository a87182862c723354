"""Values in the tree of stream metadata: groups as mappings, attributes as ``name@attribute`` beside a dataset.

Metadata comes from outside; what is not as it should be is treated as not there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .quantities import unit_factor


def node_at(tree: Mapping[str, Any], path: str) -> Any:
    """Return what is at a path such as ``/entry/instrument/detector/distance``; None where nothing is."""
    node: Any = tree
    for name in filter(None, path.split("/")):
        node = node.get(name) if isinstance(node, Mapping) else None
    return node


def number_at(tree: Mapping[str, Any], path: str) -> float | None:
    """Return the first number at a path; None where there is none, or not a finite one."""
    return as_number(node_at(tree, path))


def as_number(value: Any) -> float | None:
    """Return a number, or the first of several; None where it is none, or not finite."""
    if isinstance(value, bool):
        return None
    if isinstance(value, list | tuple | np.ndarray):
        flat = np.asarray(value).ravel()[:1] if isinstance(value, np.ndarray) else value[:1]
        return as_number(flat[0].item() if isinstance(flat, np.ndarray) else flat[0]) if len(flat) else None
    if not isinstance(value, int | float | np.integer | np.floating):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def as_vector(value: Any) -> tuple[float, float, float] | None:
    """Return three finite numbers; None where it is something else."""
    try:
        numbers = np.asarray(value, dtype=np.float64).ravel()
    except (TypeError, ValueError, OverflowError):
        return None
    if numbers.size != 3 or not np.isfinite(numbers).all():
        return None
    return (float(numbers[0]), float(numbers[1]), float(numbers[2]))


def quantity(group: Mapping[str, Any], name: str, units: Mapping[str, float], default: str) -> float | None:
    """Return a dataset of a group in base units; None where it is not there, no number, or of an unknown unit."""
    value = as_number(group.get(name))
    unit = group.get(f"{name}@units", default)
    factor = unit_factor(units, unit) if isinstance(unit, str) else None
    return None if value is None or factor is None else value * factor


def children(group: Any, nx_class: str) -> list[tuple[str, Mapping[str, Any]]]:
    """Return names and contents of the groups of a class in a group."""
    if not isinstance(group, Mapping):
        return []
    return [
        (name, value)
        for name, value in group.items()
        if isinstance(value, Mapping) and value.get("@NX_class") == nx_class
    ]
