"""Images that describe a detector, from files: masks, darks, gains, flat fields.

``.npy``, a dataset of an HDF5 file (``FILE.h5:/path/of/dataset``), and what fabio reads where it is installed (TIFF,
EDF, CBF). Of a stack with one image, that image. Sizes are looked at before anything is read.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from beamstream.errors import UsageError

MAX_BYTES = 2 << 30
"""Largest image [bytes]: sixteen times a 4M detector in float64."""

MAX_PIXELS = 1 << 28
"""Largest image [pixels]."""

HDF5_NAMES = (".h5", ".hdf5", ".nxs", ".cxi", ".he5")


class CalibrationFileError(UsageError):
    """A mask, dark, gain or flat field that cannot be read as one image."""

    def __init__(self, source: str, reason: str) -> None:
        self.source = source
        self.reason = reason
        super().__init__(f"{source} is no image that can be used: {reason}")


def read_image(source: str) -> npt.NDArray[Any]:
    """Read an image.

    Parameters
    ----------
    source : str
        ``FILE.npy``, ``FILE.h5:/path``, or a TIFF, EDF or CBF file.

    Returns
    -------
    (n_slow, n_fast) integer, bool or float

    Raises
    ------
    CalibrationFileError
        If it cannot be read, or is no image.
    """
    name, colon, inner = source.partition(":")
    try:
        if not Path(name).is_file():  # reading a pipe would wait for ever
            raise CalibrationFileError(source, "there is no such file")
        if colon or name.lower().endswith(HDF5_NAMES):
            image = _read_hdf5(source, name, inner)
        elif name.lower().endswith(".npy"):
            image = _read_npy(source, name)
        else:
            image = _read_other(source, name)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, EOFError, MemoryError, OverflowError) as error:
        raise CalibrationFileError(source, str(error) or type(error).__name__) from error
    while image.ndim > 2 and image.shape[0] == 1:
        image = image[0]
    _check(source, image.shape, image.dtype)
    return image.astype(image.dtype.newbyteorder("="), copy=False)


def read_mask(source: str, *, good_is: str = "zero", good_bits: int = 0, bad_bits: int = 0) -> npt.NDArray[np.bool_]:
    """Read which pixels are bad.

    Parameters
    ----------
    source : str
        As for `read_image`.
    good_is : "zero" or "one"
        What a good pixel says: 0, as NeXus and pyFAI have it, or anything else, as OM and Cheetah have it. Of no
        account where bits are given.
    good_bits, bad_bits : int
        As CrystFEL has it: a pixel is bad unless all good bits are set, and if any bad bit is.

    Returns
    -------
    (n_slow, n_fast) bool
        True where a pixel is bad.

    Raises
    ------
    CalibrationFileError
        If it cannot be read, or is no mask.
    """
    values = read_image(source)
    if not (good_bits or bad_bits):
        return np.asarray(values != 0 if good_is == "zero" else values == 0)
    if values.dtype.kind not in "biu":
        raise CalibrationFileError(source, f"it has {values.dtype}; bits are looked for, which only integers have")
    bits = values.astype(np.uint64)
    good, bad = np.uint64(good_bits), np.uint64(bad_bits)
    return np.asarray(((bits & good) != good) | ((bits & bad) != 0))


def _read_npy(source: str, name: str) -> npt.NDArray[Any]:
    with np.errstate(over="ignore"):  # of a shape that no file can have; the file is too short for it then
        mapped: npt.NDArray[Any] = np.load(name, mmap_mode="r", allow_pickle=False)
    _check(source, mapped.shape, mapped.dtype)
    return np.array(mapped)


def _read_hdf5(source: str, name: str, inner: str) -> npt.NDArray[Any]:
    import hdf5plugin  # noqa: F401 (masks are compressed, too)

    if not inner:
        raise CalibrationFileError(source, f"say which dataset is meant: {name}:/path/of/dataset")
    with h5py.File(name, "r", locking="best-effort") as file:
        dataset = file.get(inner)
        if not isinstance(dataset, h5py.Dataset):
            raise CalibrationFileError(source, f"there is no dataset {inner} in it")
        _check(source, dataset.shape or (), dataset.dtype)
        return np.asarray(dataset[()])


def _read_other(source: str, name: str) -> npt.NDArray[Any]:
    if Path(name).stat().st_size > MAX_BYTES:
        raise CalibrationFileError(source, f"{Path(name).stat().st_size} bytes are over the limit of {MAX_BYTES}")
    try:
        import fabio
    except ImportError as error:
        reason = "only .npy and HDF5 files can be read without fabio; install it ('pip install fabio')"
        raise CalibrationFileError(source, reason) from error
    try:
        return np.asarray(fabio.open(name).data)
    except Exception as error:  # each of its formats raises what it likes
        raise CalibrationFileError(source, f"fabio: {type(error).__name__}: {error}") from error


def _check(source: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse what is no image, or too large for one."""
    if dtype.kind not in "biuf":
        raise CalibrationFileError(source, f"it holds {dtype}, no real numbers")
    if len(shape) < 2 or any(n != 1 for n in shape[:-2]) or not all(shape):
        raise CalibrationFileError(source, f"its shape is {shape}; an image has (n_slow, n_fast)")
    if math.prod(shape) > MAX_PIXELS:
        raise CalibrationFileError(source, f"{math.prod(shape)} pixels are over the limit of {MAX_PIXELS}")
