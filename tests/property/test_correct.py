"""The correction kernel against a slow reference, on odd shapes and all that detectors send."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from beamstream_consumers.corrections import Corrections, ValueRules

DTYPES = ["uint8", "uint16", "uint32", "int32", "float32"]


def reference(
    image: npt.NDArray[Any],
    bad: npt.NDArray[np.bool_],
    dark: npt.NDArray[np.float32],
    scale: npt.NDArray[np.float32],
    rules: ValueRules,
) -> tuple[npt.NDArray[np.float32], list[int]]:
    values = image.astype(np.float64)
    reasons = [
        bad,
        np.isnan(values) if rules.flag is None else np.isnan(values) | (values == rules.flag),
        values < (-np.inf if rules.minimum is None else rules.minimum),
        values > (np.inf if rules.maximum is None else rules.maximum),
    ]
    out = ((values - dark) * scale.astype(np.float64)).astype(np.float32)
    counts, left = [], np.zeros(image.shape, dtype=bool)
    for reason in reasons:
        counts.append(int((reason & ~left).sum()))
        left |= reason
    out[left] = -7
    return out, counts


@st.composite
def frames(draw: st.DrawFn) -> tuple[Any, ...]:
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    shape = draw(arrays.array_shapes(min_dims=2, max_dims=2, max_side=12))
    if dtype.kind == "f":
        elements = st.floats(-1e6, 1e6, width=32) | st.just(float("nan"))
    else:
        info = np.iinfo(dtype)
        elements = st.sampled_from([info.min, info.max, 0, 1]) | st.integers(int(info.min), int(info.max))
    image = draw(arrays.arrays(dtype, shape, elements=elements))
    bad = draw(arrays.arrays(bool, shape) | st.just(np.ones(shape, dtype=bool)))
    dark = draw(st.none() | arrays.arrays(np.float32, shape, elements=st.floats(-100, 100, width=32)))
    gain = draw(st.none() | arrays.arrays(np.float32, shape, elements=st.floats(0.125, 8, width=32)))
    limit = st.none() | st.integers(-10, 70_000).map(float)
    rules = ValueRules(minimum=draw(limit), maximum=draw(limit), flag=draw(limit))
    return image, bad, dark, gain, rules


@settings(max_examples=150)
@given(frames())
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_every_pixel_and_every_count_are_the_references(frame: tuple[Any, ...]) -> None:
    image, bad, dark, gain, rules = frame
    corrections = Corrections(image.shape, masks={"drawn": bad}, dark=dark, gain=gain, rules=rules, masked_value=-7.0)
    scale = np.ones(image.shape, np.float32) if gain is None else (1.0 / gain.astype(np.float64)).astype(np.float32)
    zeros = np.zeros(image.shape, np.float32)
    expected, counts = reference(image, bad, zeros if dark is None else dark, scale, rules)
    result = corrections.apply(image)
    assert result.tobytes() == expected.tobytes()
    assert list(corrections.counts.values()) == counts
