"""The tree of an HDF5 file as stream metadata: groups as mappings, attributes as ``@name`` and ``dataset@name``.

The reverse of what the ``write`` consumer does. Images are left out: they are the messages. Whatever is too large,
nested too deep, a link to nowhere or of a type that stream metadata does not have is left out too and counted; it never
keeps the rest from being read. Sizes are looked at before anything is read.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from beamstream.errors import BeamstreamError

from .files import OpenFiles, find_linked

log = logging.getLogger(__name__)

MAX_DEPTH = 32
"""How deep groups may nest; NXmx needs seven."""

MAX_NODES = 20_000
"""Groups, datasets and attributes together."""

MAX_ARRAY_BYTES = 128 << 20
"""Largest array [bytes]: the mask of an Eiger 16M has 72 MB."""

MAX_TREE_BYTES = 240 << 20
"""All arrays together [bytes]; packed they have to stay below what stream metadata may have (256 MiB)."""

MAX_TEXTS = 10_000
"""Most texts of one dataset: each may be as long as it likes."""

MAX_TEXT_CHARACTERS = 1 << 20
"""Longest text [characters]."""

LIST_UP_TO = 64
"""One-dimensional arrays up to this length come as lists, as vectors do in stream metadata."""

_ERRORS = (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, BeamstreamError)


def read_tree(group: h5py.Group, files: OpenFiles, path: Path, skip: Collection[str] = ()) -> dict[str, Any]:
    """Return what is in a group.

    Parameters
    ----------
    group : h5py.Group
        Where to begin.
    files : OpenFiles
        Opens what links lead to.
    path : Path
        The file that the group is in; links are relative to it.
    skip : collection of str
        Absolute paths of what is left out, e.g. because the writer added it.
    """
    reader = _TreeReader(files, frozenset(skip))
    tree = reader.group(group, path, 0, frozenset())
    if reader.left_out:
        some = "; ".join(f"{name}: {why}" for name, why in list(reader.left_out.items())[:5])
        log.info("%s: %d piece(s) of metadata are left out, e.g. %s", path, len(reader.left_out), some)
    return tree


class _TreeReader:
    """One run over a tree: what was left out, and how much may still come."""

    def __init__(self, files: OpenFiles, skip: frozenset[str]) -> None:
        self.left_out: dict[str, str] = {}
        self._files = files
        self._skip = skip
        self._nodes_left = MAX_NODES
        self._bytes_left = MAX_TREE_BYTES
        self._large: set[tuple[int, int]] = set()

    def group(self, group: h5py.Group, path: Path, depth: int, above: frozenset[Any]) -> dict[str, Any]:
        """Return the nodes of a group and their attributes; `above` are the groups it is in."""
        tree = self._attributes(group, "", str(group.name))
        for name in self._names(group):
            node_path = f"{group.name.rstrip('/')}/{name}"
            if node_path in self._skip or not self._may_come(node_path):
                continue
            try:
                node, file = self._follow(group, name, path)
                if isinstance(node, h5py.Group):
                    identity = _identity(node)
                    if identity in above or depth >= MAX_DEPTH:
                        raise ValueError("groups that contain themselves, or nest too deep")
                    tree[name] = self.group(node, file, depth + 1, above | {identity})
                elif isinstance(node, h5py.Dataset) and (value := self._value(node)) is not None:
                    tree[name] = value
                    tree |= self._attributes(node, name, node_path)
            except _ERRORS as error:
                self.left_out[node_path] = str(error.args[0] if error.args else error)
        return tree

    def _names(self, group: h5py.Group) -> list[str]:
        """Return the names in a group, at most as many as may still come."""
        names: list[str] = []
        for name in group:
            if len(names) > self._nodes_left:
                break
            names.append(str(name))
        return names

    def _may_come(self, node_path: str) -> bool:
        self._nodes_left -= 1
        if self._nodes_left == -1:
            self.left_out[node_path] = f"the tree has more than {MAX_NODES} nodes"
        return self._nodes_left >= 0

    def _follow(self, group: h5py.Group, name: str, path: Path) -> tuple[Any, Path]:
        """Return a node and the file it is in; a link to another file is followed once."""
        link = group.get(name, getlink=True)
        if isinstance(link, h5py.ExternalLink):
            target = find_linked(path, link.filename)
            return self._files.file(target)[link.path], target
        return group[name], path

    def _attributes(self, node: Any, prefix: str, where: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in node.attrs:
            key = f"{prefix}@{name}"
            if f"{where}@{name}" in self._skip or not self._may_come(f"{where}@{name}"):
                continue
            try:
                kind = node.attrs.get_id(name)
                self._check_size(int(np.prod(kind.shape or (1,))), kind.dtype)
                value = _plain(node.attrs[name])
            except _ERRORS as error:
                self.left_out[f"{where}@{name}"] = str(error)
                continue
            if value is not None:
                found[key] = value
        return found

    def _value(self, dataset: h5py.Dataset) -> Any:
        """Return what a dataset holds; None of images and of nothing."""
        if dataset.shape is None or len(dataset.shape) > 2 or dataset.is_virtual:
            return None
        n_bytes = self._check_size(int(dataset.size), dataset.dtype)
        if n_bytes > 1 << 16:
            if (identity := _identity(dataset)) in self._large:
                return None  # the same mask under a second name
            self._large.add(identity)
            if n_bytes > self._bytes_left:
                raise ValueError(f"{n_bytes} bytes are over what metadata may have together ({MAX_TREE_BYTES})")
            self._bytes_left -= n_bytes
        if h5py.check_string_dtype(dataset.dtype) is not None:
            return _plain(dataset.asstr(errors="replace")[()])
        return _plain(dataset[()])

    @staticmethod
    def _check_size(n_elements: int, dtype: np.dtype[Any]) -> int:
        is_text = h5py.check_string_dtype(dtype) is not None
        if dtype.kind not in "biufSU" and not is_text:
            raise ValueError(f"{dtype} is no type of stream metadata")
        if is_text and n_elements > MAX_TEXTS:
            raise ValueError(f"{n_elements} texts are over the limit of {MAX_TEXTS}")
        n_bytes = n_elements * dtype.itemsize
        if n_bytes > MAX_ARRAY_BYTES:
            raise ValueError(f"{n_bytes} bytes are over the limit of {MAX_ARRAY_BYTES}")
        return n_bytes


def _identity(node: Any) -> tuple[int, int]:
    info = h5py.h5o.get_info(node.id)
    return int(info.fileno), int(info.addr)


def _plain(value: Any) -> Any:
    """Return a value as stream metadata has it: numbers, texts, lists of them, arrays of numbers."""
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, str):
        return value if len(value) <= MAX_TEXT_CHARACTERS else None
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "SUO":
            return [_plain(one) for one in value.ravel().tolist()]
        return value.tolist() if value.ndim == 1 and value.size <= LIST_UP_TO else value
    return value if isinstance(value, bool | int | float) else None
