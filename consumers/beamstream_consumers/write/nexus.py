"""Stream metadata as a NeXus tree: groups, datasets and attributes, written as far as they can be.

Groups are mappings. A key ``@attribute`` is an attribute of its group, ``name@attribute`` one of the dataset or group
``name`` beside it. Whatever cannot be written (a hostile name, a leaf that HDF5 has no type for, a tree without end)
is left out and returned as a `NodeError`; it never keeps the rest, or the frames, from being written.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import h5py
import hdf5plugin
import numpy as np
import numpy.typing as npt

from .errors import NodeError

MAX_DEPTH = 32
"""How deep groups may nest; NXmx needs seven."""

MAX_NODES = 20_000
"""Groups, datasets and attributes together; the largest real header (Eiger, all details) has some hundreds."""

MAX_NAME_LENGTH = 255
"""Longest name of a node [characters], as in a file system."""

COMPRESS_FROM_BYTES = 64 * 1024
"""Arrays from here on are compressed: masks and flat fields, 18 to 72 MB for an Eiger 16M, and mostly one value."""

_KINDS = "biufSU"
"""NumPy kinds that HDF5 and NeXus have a type for: no objects, dates, records or complex numbers."""


def write_tree(group: h5py.Group, tree: Mapping[str, Any], reserved: Collection[str] = ()) -> list[NodeError]:
    """Write a metadata tree into `group`.

    Parameters
    ----------
    group : h5py.Group
        Where to; what is there already stays.
    tree : mapping
        Groups, datasets and attributes as described above.
    reserved : collection of str
        Absolute paths in the file that the tree may not write, because the writer does.

    Returns
    -------
    list of NodeError
        What was left out, and why.
    """
    writer = _TreeWriter(frozenset(reserved))
    writer.write(group, tree, MAX_DEPTH)
    return writer.rejected


def check_name(name: object) -> str:
    """Return `name` if a group, a dataset or an attribute can be called so.

    Raises
    ------
    NodeError
        If it is no text, empty, too long, a path, or not printable.
    """
    if not isinstance(name, str):
        raise NodeError(repr(name), "its name is no text")
    if not 0 < len(name) <= MAX_NAME_LENGTH:
        raise NodeError(name[:40], f"its name has {len(name)} characters; 1 to {MAX_NAME_LENGTH} are possible")
    if "/" in name or name in {".", ".."} or not name.isprintable():
        raise NodeError(name, "its name is a path or not printable")
    return name


def leaf_array(value: object) -> npt.NDArray[Any] | str:
    """Return what stands for a leaf in HDF5: an array of numbers or texts, or a text.

    Raises
    ------
    ValueError, TypeError, OverflowError
        If nothing can: nested lists of different lengths, mixed types, integers over 64 bits, foreign objects.
    """
    if isinstance(value, str):
        if "\0" in value:
            raise ValueError("a text with a NUL inside")
        value.encode()  # lone surrogates end here and not inside HDF5
        return value
    if isinstance(value, bytes | bytearray | memoryview):
        return np.frombuffer(value, dtype=np.uint8)
    if isinstance(value, list | tuple) and len({isinstance(item, str) for item in value}) > 1:
        raise TypeError("a list of texts and other things")
    array = np.asarray(value)
    if array.dtype.kind not in _KINDS:
        raise TypeError(f"{type(value).__name__} has no type in HDF5")
    return array


class _TreeWriter:
    """One run over a tree: what was left out, and how many nodes may still come."""

    def __init__(self, reserved: frozenset[str]) -> None:
        self.rejected: list[NodeError] = []
        self._reserved = reserved
        self._nodes_left = MAX_NODES

    def write(self, group: h5py.Group, tree: Mapping[str, Any], depth_left: int) -> None:
        """Write the nodes of one group, then the attributes that need them."""
        attributes = {}
        for name, value in tree.items():
            if isinstance(name, str) and "@" in name:
                attributes[name] = value
            else:
                self._attempt(self._write_node, group, name, value, depth_left)
        for name, value in attributes.items():
            self._attempt(self._write_attribute, group, name, value, depth_left)

    def _attempt(self, write: Any, group: h5py.Group, name: object, value: object, depth_left: int) -> None:
        """Write one node; collect the reason where that is not possible."""
        path = f"{group.name.rstrip('/')}/{name}"
        self._nodes_left -= 1
        if self._nodes_left < 0:
            self._refuse_more(path)
            return
        try:
            write(group, name, value, depth_left)
        except NodeError as error:
            self.rejected.append(error)
        except (OSError, RuntimeError, ValueError, TypeError, OverflowError, KeyError) as error:
            reason = NodeError(path, str(error))
            reason.__cause__ = error
            self.rejected.append(reason)

    def _refuse_more(self, path: str) -> None:
        """Say once that the tree is too large; a hostile one would fill the log otherwise."""
        if self._nodes_left == -1:
            self.rejected.append(NodeError(path, f"the tree has more than {MAX_NODES} nodes"))

    def _write_node(self, group: h5py.Group, name: object, value: object, depth_left: int) -> None:
        """Write a group or a dataset; None is nothing to write."""
        name = check_name(name)
        path = f"{group.name.rstrip('/')}/{name}"
        if path in self._reserved or (name in group and not _are_groups(group[name], value)):
            raise NodeError(path, "the writer itself writes what stands there")
        if isinstance(value, Mapping):
            if depth_left == 0:
                raise NodeError(path, f"groups nest deeper than {MAX_DEPTH}")
            self.write(group.require_group(name), value, depth_left - 1)
        elif value is not None:
            _create_dataset(group, name, leaf_array(value))

    def _write_attribute(self, group: h5py.Group, name: str, value: object, _depth_left: int) -> None:
        """Write ``@attribute`` or ``name@attribute``."""
        owner, _, attribute = name.partition("@")
        if owner and owner not in group:
            raise NodeError(f"{group.name}/{name}", f"there is no {owner!r} that it could belong to")
        node = group[check_name(owner)] if owner else group
        if value is not None:
            array = leaf_array(value)
            node.attrs[check_name(attribute)] = _texts(array)


def _are_groups(node: Any, value: object) -> bool:
    """Return whether what is there and what comes are both groups, which can be one."""
    return isinstance(node, h5py.Group) and isinstance(value, Mapping)


def _create_dataset(group: h5py.Group, name: str, value: npt.NDArray[Any] | str) -> None:
    """Write a dataset, compressed if it is large."""
    if isinstance(value, np.ndarray) and value.nbytes >= COMPRESS_FROM_BYTES and value.dtype.kind not in "SU":
        chunks = (1,) * (value.ndim - 2) + value.shape[-2:]
        group.create_dataset(name, data=value, chunks=chunks, **hdf5plugin.Bitshuffle(nelems=0, cname="lz4"))
    else:
        group.create_dataset(name, data=_texts(value))


def _texts(value: npt.NDArray[Any] | str) -> Any:
    """Return texts the way h5py writes them, as UTF-8 of any length."""
    if isinstance(value, np.ndarray) and value.dtype.kind == "U":
        return value.astype(h5py.string_dtype())
    return value
