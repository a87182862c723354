"""Parameters that a scientist tunes while a service runs: declared, checked, kept on the broker, stamped into results.

Here is what needs no server: declarations and their checks. `beamstream.parameters.store` keeps versions on the broker,
`beamstream.service.tuning` applies them between frames.
"""

from .declaration import Parameters, Tunable
from .errors import (
    LargeValueGoneError,
    ParameterDeclarationError,
    ParameterError,
    ParameterRangeError,
    ParametersNotFoundError,
    ParameterTypeError,
    UnknownParameterError,
)
from .parameter import Bounds, Kind, Parameter, Value, tunable
from .texts import parse_texts, read_files

__all__ = [
    "Bounds",
    "Kind",
    "LargeValueGoneError",
    "Parameter",
    "ParameterDeclarationError",
    "ParameterError",
    "ParameterRangeError",
    "ParameterTypeError",
    "Parameters",
    "ParametersNotFoundError",
    "Tunable",
    "UnknownParameterError",
    "Value",
    "parse_texts",
    "read_files",
    "tunable",
]
