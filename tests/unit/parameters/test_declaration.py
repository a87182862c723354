"""Declarations of parameters: what they are read from, and what they refuse."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pytest

from beamstream.parameters import (
    Bounds,
    ParameterDeclarationError,
    ParameterRangeError,
    Parameters,
    ParameterTypeError,
    UnknownParameterError,
    tunable,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    threshold: float = tunable(8.0, minimum=0, maximum=65535, unit="photons", help="Least intensity of a peak.")
    min_pixels: int = tunable(2, minimum=1, unit="pixels")
    enabled: bool = True
    centre: Annotated[str, Bounds(choices=("beam", "mass"))] = "beam"
    max_resolution: float | None = None
    mask: npt.NDArray[Any] | None = None


def total(
    frame: object, factor: int = 3, *, scale: Annotated[float, Bounds(maximum=10)] = 1, label: str = "a"
) -> float:
    return 0.0


def test_a_dataclass_is_a_declaration() -> None:
    parameters = Parameters.of(Settings)
    assert {name: one.kind for name, one in parameters.items()} == {
        "threshold": "float",
        "min_pixels": "int",
        "enabled": "bool",
        "centre": "str",
        "max_resolution": "float",
        "mask": "array",
    }
    assert parameters["threshold"].bounds == Bounds(
        minimum=0, maximum=65535, unit="photons", help="Least intensity of a peak."
    )
    assert parameters["max_resolution"].optional
    assert dict(parameters.initial) == {name: getattr(Settings(), name) for name in parameters}


def test_an_instance_begins_with_its_own_values_and_keeps_the_defaults() -> None:
    parameters = Parameters.of(Settings(threshold=12.5), leave_out=["mask"])
    assert parameters.initial["threshold"] == 12.5
    assert parameters["threshold"].default == 8.0
    assert "mask" not in parameters


def test_the_keyword_only_arguments_of_a_function_are_a_declaration() -> None:
    parameters = Parameters.of(total)
    assert list(parameters) == ["scale", "label"]
    assert parameters["scale"].kind == "float"
    assert parameters["scale"].default == 1.0
    assert parameters["scale"].bounds_text == "at most 10"


def test_what_has_no_default_or_another_type_is_no_parameter() -> None:
    def without_default(frame: object, *, scale: float) -> None: ...

    def with_list(frame: object, *, panels: list[int] = []) -> None: ...  # noqa: B006

    def beyond(frame: object, *, scale: Annotated[float, Bounds(maximum=1)] = 2.0) -> None: ...

    for function, reason in ((without_default, "no default"), (with_list, "list"), (beyond, "at most 1")):
        with pytest.raises(ParameterDeclarationError, match=reason):
            Parameters.of(function)


def test_a_default_factory_is_a_default() -> None:
    @dataclass
    class Late:
        width: int = field(default_factory=lambda: 7)

    assert Parameters(Parameters.of(Late, ["width"]).values()).initial == {}


@pytest.mark.parametrize(
    ("name", "value", "checked"),
    [
        ("threshold", 12, 12.0),
        ("threshold", np.float32(0.5), 0.5),
        ("min_pixels", np.uint8(3), 3),
        ("enabled", np.bool_(False), False),
        ("max_resolution", "none", None),
        ("max_resolution", None, None),
        ("centre", "mass", "mass"),
    ],
)
def test_values_that_fit_become_plain_ones(name: str, value: object, checked: object) -> None:
    result = Parameters.of(Settings)[name].check(value)
    assert result == checked
    assert type(result) is type(checked)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("threshold", "12"),
        ("threshold", True),
        ("threshold", float("nan")),
        ("threshold", None),
        ("threshold", "none"),
        ("min_pixels", 2.0),
        ("min_pixels", False),
        ("enabled", 1),
        ("centre", 3),
        ("mask", [1, 2]),
        ("mask", np.array(["a"])),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ParameterTypeError, match=f"^{name}=") as caught:
        Parameters.of(Settings)[name].check(value)
    assert caught.value.name == name


def test_a_value_out_of_bounds_is_refused_with_value_limit_and_unit() -> None:
    with pytest.raises(ParameterRangeError) as caught:
        Parameters.of(Settings).check({"threshold": 70000.0})
    assert str(caught.value) == "threshold=70000.0 photons is out of bounds: it has to be from 0 to 65535 photons"
    with pytest.raises(ParameterRangeError, match=r"min_pixels=0 pixels .* at least 1 pixels"):
        Parameters.of(Settings).check({"min_pixels": 0})
    with pytest.raises(ParameterRangeError, match="one of beam, mass"):
        Parameters.of(Settings).check({"centre": "sum"})


def test_what_cannot_be_kept_is_refused() -> None:
    def analysis(frame: object, *, n: int = 0, text: str = "", mask: npt.NDArray[Any] | None = None) -> None: ...

    parameters = Parameters.of(analysis)
    huge = np.broadcast_to(np.uint8(0), (2**15, 2**14))
    for name, value in (("n", 2**63), ("text", "x" * (4 << 20) + "x"), ("mask", huge)):
        with pytest.raises(ParameterRangeError, match="at most"):
            parameters[name].check(value)


def test_an_unknown_parameter_names_the_nearest_one() -> None:
    with pytest.raises(UnknownParameterError, match="did you mean 'threshold'"):
        Parameters.of(Settings).check({"treshold": 1.0})
    with pytest.raises(UnknownParameterError, match="there are scale, label"):
        Parameters.of(total).starting_with({"xyz": 1})


def test_values_of_a_file_replace_the_initial_ones() -> None:
    parameters = Parameters.of(Settings(min_pixels=5)).starting_with({"threshold": 3})
    assert (parameters.initial["threshold"], parameters.initial["min_pixels"]) == (3.0, 5)
    assert parameters.complete({"min_pixels": 9})["min_pixels"] == 9
