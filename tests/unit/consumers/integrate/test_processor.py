"""The processor, without a broker: what it opens, makes of frames, refuses, and how it is tuned."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beamstream import Frame, SourceAddress
from beamstream.errors import CannotGoOnError, CodecError, ShapeError, UsageError
from beamstream.parameters import Tunable
from beamstream.service import StreamStart
from beamstream_consumers.corrections import CalibrationShapeError
from beamstream_consumers.geometry import GeometryFormatError, GeometryIncompleteError, GeometryShapeError
from beamstream_consumers.integrate.errors import NoGeometryError, NormalizerError
from beamstream_consumers.integrate.processor import CURVE, IntegrateProcessor
from beamstream_consumers.integrate.settings import IntegrationSettings

SHAPE = (83, 71)
PONI = """\
poni_version: 2.1
Detector: Detector
Detector_config: {"pixel1": 0.000172, "pixel2": 0.000172, "max_shape": [83, 71], "orientation": 3}
Distance: 0.06
Poni1: 0.0061
Poni2: 0.0052
Rot1: 0.11
Rot2: -0.07
Rot3: 0.3
Wavelength: 1.2e-10
"""

MakeFrame = Callable[..., Frame]
MakeStart = Callable[..., StreamStart]


def detector(**changes: Any) -> dict[str, Any]:
    """Return stream metadata with a detector across the beam."""
    mask = np.zeros(SHAPE, np.uint32)
    mask[40:43] = 1
    fields = {
        "@NX_class": "NXdetector",
        "beam_center_x": 33.3,
        "beam_center_y": 41.2,
        "x_pixel_size": 75e-6,
        "y_pixel_size": 75e-6,
        "distance": 0.1,
        "pixel_mask": mask,
        **changes,
    }
    beam = {"@NX_class": "NXbeam", "incident_wavelength": 1.0}
    instrument = {"@NX_class": "NXinstrument", "detector": fields, "beam": beam}
    return {"entry": {"@NX_class": "NXentry", "instrument": instrument}}


def image(seed: int = 1) -> np.ndarray:
    pixels = np.random.default_rng(seed).poisson(5.0, SHAPE).astype("<u2")
    pixels[7, 11:15] = 65535
    return pixels


@pytest.fixture
def poni() -> str:
    return f"# detector.poni\n{PONI}"


def curve_of(processor: IntegrateProcessor, frame: Frame) -> tuple[np.ndarray, dict[str, Any]]:
    result = processor.process(frame)[CURVE]
    assert result.array is not None
    return result.array, dict(result.metadata)


def test_a_frame_becomes_a_curve_beside_its_stream(make_start: MakeStart, make_frame: MakeFrame) -> None:
    processor = IntegrateProcessor(IntegrationSettings(n_bins=30))
    output = processor.open(make_start(detector()))[CURVE]
    assert str(output.address) == "11012345/eiger-integrate/series_00042"
    data = output.metadata["entry"]["integrated"]
    assert (data["@axes"], data["q@units"], data["q"].shape) == ("q", "1/angstrom", (30,))
    array, metadata = curve_of(processor, make_frame(1, image(), metadata={"exposure": 0.5}))
    assert (array.shape, array.dtype, array.flags.c_contiguous) == ((2, 30), np.float32, True)
    assert array[0].mean() == pytest.approx(5.0, rel=0.05)
    assert metadata["exposure"] == 0.5
    told = metadata["integration"]
    assert told["first"] + 29 * told["step"] == pytest.approx(data["q"][-1])
    assert (told["unit"], told["n_left_out"], told["divided_by"]) == ("q_A^-1", 4, 1.0)
    assert processor.status() == {"integrated": 1, "engines_made": 1}


def test_masked_pixels_do_not_count(make_start: MakeStart, make_frame: MakeFrame) -> None:
    processor = IntegrateProcessor(IntegrationSettings(n_bins=30))
    processor.open(make_start(detector()))
    spoilt = image()
    spoilt[40:43] = 60_000
    clean, _ = curve_of(processor, make_frame(1, image()))
    masked, _ = curve_of(processor, make_frame(2, spoilt))
    assert clean.tolist() == masked.tolist()


@pytest.mark.parametrize("split", ["no", "bbox"])
def test_with_a_poni_file_curves_are_those_of_pyfai(
    split: str, poni: str, tmp_path: Path, make_start: MakeStart, make_frame: MakeFrame
) -> None:
    azimuthal = pytest.importorskip("pyFAI.integrator.azimuthal")
    load = pytest.importorskip("pyFAI.geometry").Geometry.sload
    (tmp_path / "detector.poni").write_text(PONI, "utf-8")
    settings = IntegrationSettings(geometry=poni, n_bins=40, polarisation=0.97, split=split, unit="q_nm^-1")
    processor = IntegrateProcessor(settings)
    output = processor.open(make_start())[CURVE]
    ours, _ = curve_of(processor, make_frame(1, image()))
    integrator = azimuthal.AzimuthalIntegrator.sload(load(str(tmp_path / "detector.poni")))
    theirs = integrator.integrate1d_ng(
        image().astype("f4"),
        40,
        unit="q_nm^-1",
        polarization_factor=0.97,
        error_model="poisson",
        dummy=65535,
        delta_dummy=0.5,
        method=(split, "csr", "cython"),
    )
    np.testing.assert_allclose(output.metadata["entry"]["integrated"]["q"], theirs.radial, rtol=1e-6)
    # positions differ by rounding, and a pixel on the edge of two bins may go to the other one
    close = np.isclose(ours[0], theirs.intensity, rtol=1e-4) & np.isclose(ours[1], theirs.sigma, rtol=1e-3)
    assert np.count_nonzero(~close) <= (4 if split == "no" else 0)
    np.testing.assert_allclose(ours[0], theirs.intensity, rtol=0.2)


def test_a_stream_that_does_not_say_where_the_detector_is_is_refused_with_what_to_do(make_start: MakeStart) -> None:
    with pytest.raises(NoGeometryError, match=r"series_00042 cannot be integrated: .*give --geometry FILE"):
        IntegrateProcessor(IntegrationSettings()).open(make_start())
    with pytest.raises(NoGeometryError, match="beam_center_x"):
        IntegrateProcessor(IntegrationSettings()).open(make_start(detector(beam_center_x=None)))


def test_a_geometry_of_another_detector_is_refused_with_both_shapes(
    poni: str, make_start: MakeStart, make_frame: MakeFrame
) -> None:
    other = detector(pixel_mask=np.zeros((9, 8), np.uint32))
    processor = IntegrateProcessor(IntegrationSettings(geometry=poni, n_bins=9))
    with pytest.raises(GeometryShapeError, match=r"\(83, 71\).*\(9, 8\)"):
        processor.open(make_start(other))
    processor.open(make_start())
    with pytest.raises(CannotGoOnError, match=r"\(83, 71\).*\(31, 43\)"):
        processor.process(make_frame(1))


def test_a_text_that_is_no_geometry_is_refused(make_start: MakeStart) -> None:
    with pytest.raises(GeometryFormatError, match=r"notes\.txt"):
        IntegrateProcessor(IntegrationSettings(geometry="; notes.txt\nnear the wall\n")).open(make_start(detector()))


def test_a_geometry_without_a_wavelength_takes_that_of_the_stream(poni: str, make_start: MakeStart) -> None:
    text = poni.replace("Wavelength: 1.2e-10", "")
    output = IntegrateProcessor(IntegrationSettings(geometry=text, n_bins=9)).open(make_start(detector()))[CURVE]
    assert output.metadata["integration"]["wavelength_a"] == 1.0
    assert output.metadata["integration"]["geometry"] == "detector.poni"
    with pytest.raises(GeometryIncompleteError, match="wavelength"):
        IntegrateProcessor(IntegrationSettings(geometry=text)).open(make_start())


def test_geometry_and_mask_can_be_tuned(poni: str, make_start: MakeStart, make_frame: MakeFrame) -> None:
    processor = IntegrateProcessor(IntegrationSettings(n_bins=20))
    processor.open(make_start(detector()))
    _, before = curve_of(processor, make_frame(1, image()))
    mask = np.zeros(SHAPE, np.uint8)
    mask[7, 11:13] = 1  # two of the four flagged pixels
    processor.tune(processor.parameters.complete({"n_bins": 20, "geometry": poni, "mask": mask}))
    _, after = curve_of(processor, make_frame(2, image()))
    assert (before["integration"]["n_left_out"], after["integration"]["n_left_out"]) == (4, 2)
    assert before["integration"]["step"] != after["integration"]["step"]
    with pytest.raises(CalibrationShapeError, match=r"\(9, 8\).*\(83, 71\)"):
        processor.tune(processor.parameters.complete({"mask": np.zeros((9, 8), np.uint8)}))
    assert curve_of(processor, make_frame(3, image()))[1] == after


def test_where_only_the_frames_say_how_many_pixels_there_are_the_first_one_decides(
    make_start: MakeStart, make_frame: MakeFrame
) -> None:
    processor = IntegrateProcessor(IntegrationSettings(n_bins=20))
    output = processor.open(make_start(detector(pixel_mask=None)))[CURVE]
    assert "entry" not in output.metadata
    array, metadata = curve_of(processor, make_frame(1, image()))
    assert array.shape == (2, 20)
    assert metadata["integration"]["step"] > 0
    with pytest.raises(CannotGoOnError, match=r"\(83, 71\).*\(31, 43\)"):
        processor.process(make_frame(2))


def test_the_configuration_of_simplon_2_says_how_many_pixels_there_are(make_start: MakeStart) -> None:
    config = {"image_size_x": SHAPE[1], "image_size_y": SHAPE[0]}
    metadata = {**detector(pixel_mask=None), "simplon": {"config": config}}
    output = IntegrateProcessor(IntegrationSettings(n_bins=20)).open(make_start(metadata))[CURVE]
    assert output.metadata["entry"]["integrated"]["q"].shape == (20,)
    for wrong in ({"image_size_x": 0, "image_size_y": 7}, {"image_size_x": "7"}, None):
        metadata["simplon"] = {"config": wrong}
        output = IntegrateProcessor(IntegrationSettings(n_bins=20)).open(make_start(metadata))[CURVE]
        assert "entry" not in output.metadata


def test_curves_are_divided_by_what_the_message_says(make_start: MakeStart, make_frame: MakeFrame) -> None:
    processor = IntegrateProcessor(IntegrationSettings(n_bins=20, normalize_by="monitor.counts"))
    processor.open(make_start(detector()))
    one, _ = curve_of(processor, make_frame(1, image(), metadata={"monitor": {"counts": 1}}))
    four, metadata = curve_of(processor, make_frame(2, image(), metadata={"monitor": {"counts": 4.0}}))
    assert (four * 4).tolist() == one.tolist()
    assert metadata["integration"]["divided_by"] == 4.0
    for wrong in ({}, {"monitor": 3}, {"monitor": {"counts": 0}}, {"monitor": {"counts": "7"}}):
        with pytest.raises(NormalizerError, match=r"message 3 .*'monitor\.counts'"):
            processor.process(make_frame(3, image(), metadata=wrong))


def test_what_is_tuned_changes_the_curves_from_then_on(make_start: MakeStart, make_frame: MakeFrame) -> None:
    processor = IntegrateProcessor(IntegrationSettings(n_bins=20))
    assert isinstance(processor, Tunable)
    processor.open(make_start(detector()))
    before, told_before = curve_of(processor, make_frame(1, image()))
    values = processor.parameters.complete({"n_bins": 15, "radial_max": 0.1, "error_model": "none"})
    processor.tune(values)
    after, told_after = curve_of(processor, make_frame(2, image()))
    assert (before.shape, after.shape) == ((2, 20), (2, 15))
    last = told_after["integration"]["first"] + 14.5 * told_after["integration"]["step"]
    assert last == pytest.approx(0.1, rel=1e-5)
    assert told_before["integration"]["step"] != told_after["integration"]["step"]
    assert not after[1].any()
    processor.tune({**values, "error_model": "poisson"})
    assert processor.status()["engines_made"] == 2  # the error model is no matter of the engine


def test_values_that_make_no_curve_are_refused_and_the_old_ones_used_on(
    make_start: MakeStart, make_frame: MakeFrame
) -> None:
    processor = IntegrateProcessor(IntegrationSettings(n_bins=20))
    processor.open(make_start(detector()))
    with pytest.raises(UsageError, match="no good pixel is between"):
        processor.tune(processor.parameters.complete({"radial_min": 50.0, "radial_max": 60.0}))
    assert curve_of(processor, make_frame(1, image()))[0].shape == (2, 20)


def test_values_out_of_what_is_valid_do_not_count(make_start: MakeStart, make_frame: MakeFrame) -> None:
    hot = image()
    hot[60, 60] = 5000
    processor = IntegrateProcessor(IntegrationSettings(n_bins=5, valid_max=1000.0))
    processor.open(make_start(detector()))
    _, metadata = curve_of(processor, make_frame(1, hot))
    assert metadata["integration"]["n_left_out"] == 5


def test_saturated_pixels_are_those_that_the_detector_says(make_start: MakeStart, make_frame: MakeFrame) -> None:
    hot = image()
    hot[60, 60:63] = 5000
    processor = IntegrateProcessor(IntegrationSettings(n_bins=5))
    processor.open(make_start(detector(saturation_value=4999)))
    assert curve_of(processor, make_frame(1, hot))[1]["integration"]["n_left_out"] == 7


def test_dark_gain_and_flat_field_come_from_files(tmp_path: Path, make_start: MakeStart, make_frame: MakeFrame) -> None:
    rng = np.random.default_rng(4)
    files = {
        "dark": rng.uniform(90, 110, SHAPE),
        "flatfield": rng.uniform(0.5, 1.5, SHAPE),
    }
    mask = rng.random(SHAPE) < 0.2
    for name, array in files.items():
        np.save(tmp_path / f"{name}.npy", array)
    named = {name: str(tmp_path / f"{name}.npy") for name in files}
    processor = IntegrateProcessor(IntegrationSettings(n_bins=3, gain="4.0", solid_angle=False, mask=mask, **named))
    processor.open(make_start(detector()))
    adu = image().astype("<u4") * 4 + 100
    adu[mask] = 1_000_000
    array, _ = curve_of(processor, make_frame(1, adu))

    plain = IntegrateProcessor(IntegrationSettings(n_bins=3, solid_angle=False, mask=mask))
    plain.open(make_start(detector()))
    weights, _ = curve_of(plain, make_frame(2, files["flatfield"].astype("<f4")))
    signal, _ = curve_of(plain, make_frame(3, ((adu - files["dark"]) / 4).astype("<f4")))
    np.testing.assert_allclose(array[0], signal[0] / weights[0], rtol=1e-5)


def test_a_file_of_another_detector_is_refused_with_both_shapes(tmp_path: Path, make_start: MakeStart) -> None:
    np.save(tmp_path / "other.npy", np.ones((4, 5)))
    for name in ("dark", "gain", "flatfield"):
        settings = IntegrationSettings(n_bins=9, **{name: str(tmp_path / "other.npy")})
        with pytest.raises(CalibrationShapeError, match=r"\(4, 5\).*\(83, 71\)"):
            IntegrateProcessor(settings).open(make_start(detector()))


@pytest.mark.parametrize("gain", ["0", "-1", "nan", "no/such/file.npy"])
def test_a_gain_that_cannot_be_is_refused(gain: str) -> None:
    with pytest.raises(UsageError, match=gain):
        IntegrateProcessor(IntegrationSettings(gain=gain))


def test_an_axis_that_ends_before_it_begins_is_refused(make_start: MakeStart) -> None:
    with pytest.raises(UsageError, match="begin at 3 and end at 1"):
        IntegrationSettings(radial_min=3.0, radial_max=1.0)
    processor = IntegrateProcessor(IntegrationSettings(n_bins=9, radial_max=0.05))
    processor.open(make_start(detector()))
    with pytest.raises(UsageError, match="limits of 1 and"):
        processor.tune(processor.parameters.complete({"radial_min": 1.0}))


def test_curves_can_go_to_another_source_but_not_to_their_own(make_start: MakeStart) -> None:
    processor = IntegrateProcessor(IntegrationSettings(n_bins=9), SourceAddress("11012345", "curves"))
    assert str(processor.open(make_start(detector()))[CURVE].address) == "11012345/curves/series_00042"
    own = IntegrateProcessor(IntegrationSettings(n_bins=9), SourceAddress("11012345", "eiger"))
    with pytest.raises(UsageError, match="--to"):
        own.open(make_start(detector()))


def test_what_is_no_image_is_refused(make_start: MakeStart, make_frame: MakeFrame) -> None:
    processor = IntegrateProcessor(IntegrationSettings(n_bins=9))
    processor.open(make_start(detector()))
    with pytest.raises(ShapeError, match=r"message 1 has shape \(2, 3, 4\)"):
        processor.process(make_frame(1, np.zeros((2, 3, 4), "<u2")))
    with pytest.raises(CodecError):
        processor.process(make_frame(1, image(), dtype="<u4"))


@pytest.mark.parametrize("wrong", [{"unit": "q"}, {"split": "full"}, {"engine": "opencl"}])
def test_choices_that_are_not_there_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong.values()))):
        IntegrationSettings(**wrong)
