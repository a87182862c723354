"""Values of parameters from the command line: ``threshold=12``, and files for masks and geometries."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from beamstream.errors import UsageError

from .declaration import Parameters
from .errors import ParameterError, ParameterRangeError, ParameterTypeError
from .parameter import MAX_ARRAY_BYTES, MAX_TEXT_BYTES, NONE, Parameter, Value

_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}

_NPY_HEADER_BYTES = 4096
"""What the header of an .npy file may have beside the array [bytes]."""


def parse_texts(parameters: Parameters, texts: Iterable[str]) -> dict[str, Value]:
    """Read ``KEY=VALUE`` texts.

    Parameters
    ----------
    parameters : Parameters
        What there is.
    texts : iterable of str
        E.g. ``threshold=12`` or ``centre=none``.

    Raises
    ------
    UnknownParameterError
        If there is no such parameter.
    ParameterTypeError, ParameterRangeError
        If a value is of another type, or out of bounds.
    UsageError
        If a text has no ``=``, or a parameter comes twice.
    """
    return _read_pairs(parameters, texts, "KEY=VALUE, e.g. threshold=12", _parse)


def read_files(parameters: Parameters, texts: Iterable[str]) -> dict[str, Value]:
    """Read ``KEY=FILE`` texts: an ``.npy`` file for an array, a text file for a text.

    Raises
    ------
    UnknownParameterError, ParameterTypeError, ParameterRangeError
        If there is no such parameter, it is no array and no text, or the file holds something else or too much.
    UsageError
        If a text has no ``=``, a parameter comes twice, or the file cannot be read.
    """
    return _read_pairs(parameters, texts, "KEY=FILE, e.g. mask=bad.npy", _read_file)


def _read_pairs(
    parameters: Parameters, texts: Iterable[str], form: str, read: Callable[[Parameter, str], Value]
) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"{text!r} is not of the form {form}")
        name = name.strip().replace("-", "_")
        if name in values:
            raise ParameterError(f"{name} is given twice")
        values[name] = read(parameters[name], value)
    return values


def _parse(parameter: Parameter, text: str) -> Value:
    text = text.strip()
    if parameter.optional and text.lower() == NONE:
        return None
    return parameter.check(_number(parameter, text))


def _number(parameter: Parameter, text: str) -> Any:
    """Return what a text means for a parameter; the text itself where it means nothing, so that checking says so."""
    if parameter.kind == "array":
        raise ParameterTypeError(parameter.name, text, f"{parameter.wanted}; name a file: --file {parameter.name}=FILE")
    if parameter.kind == "bool":
        return _WORDS.get(text.lower(), text)
    try:
        return {"int": int, "float": float, "str": str}[parameter.kind](text)
    except ValueError:
        return text


def _read_file(parameter: Parameter, text: str) -> Value:
    path = Path(text).expanduser()
    most = {"array": MAX_ARRAY_BYTES + _NPY_HEADER_BYTES, "str": MAX_TEXT_BYTES}.get(parameter.kind)
    if most is None:
        raise ParameterTypeError(parameter.name, str(path), f"file: it is a {parameter.wanted}, {parameter.name}=VALUE")
    try:
        n_bytes = path.stat().st_size
        if n_bytes > most:
            raise ParameterRangeError(parameter.name, str(path), f"at most {most} bytes, and has {n_bytes}")
        return parameter.check(_load_array(path) if parameter.kind == "array" else path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path} for {parameter.name}: {error}") from error


def _load_array(path: Path) -> Any:
    import numpy as np

    try:
        mapped = np.load(path, mmap_mode="r", allow_pickle=False)  # what the file claims to hold is not allocated
    except (ValueError, EOFError) as error:
        raise UsageError(f"{path} is no .npy file of numbers: {error}; make one with numpy.save") from error
    return np.array(mapped) if isinstance(mapped, np.ndarray) else str(path)
