"""`stream consume peaks`: what it makes of frames, by itself and on a server."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from beamstream import Address, Consumer, Frame, SourceAddress, codecs
from beamstream.errors import CannotGoOnError, ShapeError
from beamstream.frame import Header
from beamstream.service import Result, StreamStart
from beamstream_consumers.geometry import GeometryShapeError, geometry_text
from beamstream_consumers.kernels.peakfinder8 import PeakParameters
from beamstream_consumers.peaks import PeakProcessor, PeakSettings
from beamstream_consumers.peaks.settings import HitRule
from beamstream_producers.sim.images.detectors import find_model
from beamstream_producers.sim.images.frames import FrameMaker, Recipe

SOURCE = Address("bt", "det", "run")
SHAPE = (160, 200)
GEOM = """photon_energy = 10000 eV
clen = 0.1
res = 10000
rigid_group_all = a
a/min_fs = 0
a/max_fs = 199
a/min_ss = 0
a/max_ss = 159
a/fs = +1.0x
a/ss = +1.0y
a/corner_x = -100
a/corner_y = -80
"""


def make_image(n_spots: int, seed: int = 0) -> npt.NDArray[np.uint16]:
    """Draw a background with spots of 2 x 2 pixels."""
    image = np.random.default_rng(seed).poisson(2.0, SHAPE).astype(np.uint16)
    for number in range(n_spots):
        slow, fast = 14 + 26 * (number // 6), 14 + 30 * (number % 6)
        image[slow : slow + 2, fast : fast + 2] = 300
    return image


def frame_of(image: npt.NDArray[Any], message_id: int = 1, metadata: Mapping[str, Any] | None = None) -> Frame:
    payload = bytes(codecs.encode(image, "bslz4"))
    header = Header(
        payload_bytes=len(payload),
        checksum=0,
        timestamp_ns=1,
        codec="bslz4",
        shape=image.shape,
        dtype=image.dtype.str,
        metadata=metadata or {},
    )
    return Frame(address=SOURCE, message_id=message_id, header=header, payload=payload)


def opened(processor: PeakProcessor, metadata: Mapping[str, Any] | None = None) -> PeakProcessor:
    start = StreamStart(address=SOURCE, metadata=metadata or {}, n_expected=None, broker="")
    outputs = processor.open(start)
    assert outputs.keys() == {"hits", "peaks"}
    return processor


def nexus(**detector: Any) -> dict[str, Any]:
    """Return the metadata of a detector."""
    own = {"@NX_class": "NXdetector", "beam_center_x": 100.0, "beam_center_y": 80.0, "distance": 0.1}
    sizes = {"x_pixel_size": 1e-4, "y_pixel_size": 1e-4}
    beam = {"@NX_class": "NXbeam", "incident_wavelength": 1.24}
    instrument = {"@NX_class": "NXinstrument", "detector": {**own, **sizes, **detector}, "beam": beam}
    return {"entry": {"@NX_class": "NXentry", "instrument": instrument}}


def test_a_hit_keeps_its_bytes_and_gets_its_peaks() -> None:
    processor = opened(PeakProcessor(), nexus())
    frame = frame_of(make_image(12), metadata={"image_id": 7})
    results = processor.process(frame)
    hit = results["hits"]
    assert hit.frame is frame
    assert hit.metadata["image_id"] == 7
    assert hit.metadata["n_peaks"] == 12
    peaks = hit.metadata["peaks"]
    assert peaks["fs"][:3] == [14.5, 44.5, 74.5]
    assert peaks["n_pixels"] == [4] * 12
    assert peaks.keys() == {"fs", "ss", "intensity", "max_intensity", "snr", "n_pixels", "resolution"}
    assert {len(values) for values in peaks.values()} == {12}


def test_every_frame_is_summed_up_hit_or_not() -> None:
    processor = opened(PeakProcessor(), nexus())
    image = make_image(3)
    image[100, 100] = 0xFFFF
    results = processor.process(frame_of(image))
    assert results.keys() == {"peaks"}
    summary = results["peaks"].metadata
    assert (summary["hit"], summary["n_peaks"], summary["n_saturated"], summary["maximum"]) == (False, 3, 1, 300)
    assert summary["total"] == int(image.sum()) - 0xFFFF
    assert summary["shape"] == list(SHAPE)
    assert processor.status() == {"hits": 0, "hit_rate": 0.0, "peaks_per_frame": 3.0}


def test_resolutions_are_those_of_the_peaks() -> None:
    processor = opened(PeakProcessor(), nexus())
    peaks = processor.process(frame_of(make_image(12)))["peaks"].metadata["peaks"]
    radius_m = np.hypot(np.array(peaks["fs"]) + 0.5 - 100, np.array(peaks["ss"]) + 0.5 - 80) * 1e-4
    expected = 1.24 / (2 * np.sin(np.arctan2(radius_m, 0.1) / 2))
    np.testing.assert_allclose(peaks["resolution"], expected, rtol=0.03)  # of the nearest pixel


def test_without_a_geometry_the_beam_is_in_the_middle_and_that_is_said(caplog: pytest.LogCaptureFixture) -> None:
    processor = opened(PeakProcessor())
    results = processor.process(frame_of(make_image(12)))
    assert results["peaks"].metadata["n_peaks"] == 12
    assert "resolution" not in results["peaks"].metadata["peaks"]
    assert "the beam is taken to be in the middle of the frame" in caplog.text
    assert "--geometry" in caplog.text


def test_pixels_that_the_detector_or_the_mask_calls_bad_are_left_out() -> None:
    own = np.zeros(SHAPE, np.uint32)
    own[:30] = 1
    mask = np.zeros(SHAPE, np.uint8)
    mask[:, :30] = 1
    processor = opened(PeakProcessor(PeakSettings(hits=HitRule(mask=mask))), nexus(pixel_mask=own))
    peaks = processor.process(frame_of(make_image(12)))["peaks"].metadata["peaks"]
    assert sorted(peaks["fs"]) == [44.5, 74.5, 104.5, 134.5, 164.5]


def test_what_is_below_the_lowest_valid_value_holds_no_count() -> None:
    image = make_image(12).astype("i4")
    image[:4] = -2  # as a PILATUS writes it
    frame = frame_of(image)
    for lowest, n_flagged in ((None, 4 * SHAPE[1]), (-5.0, 0), (1.0, int((image < 1).sum()))):
        processor = opened(PeakProcessor(PeakSettings(hits=HitRule(lowest_valid=lowest))), nexus())
        assert processor.process(frame)["peaks"].metadata["n_saturated"] == n_flagged


def test_a_geometry_file_says_more_than_the_stream(tmp_path: Path) -> None:
    path = tmp_path / "jungfrau.geom"
    path.write_text(GEOM)
    text = geometry_text(path)
    processor = opened(PeakProcessor(PeakSettings(hits=HitRule(geometry=text))))
    peaks = processor.process(frame_of(make_image(12)))["peaks"].metadata["peaks"]
    assert len(peaks["resolution"]) == 12


def test_a_geometry_or_mask_for_other_frames_ends_the_service_with_both_shapes() -> None:
    small = GEOM.replace("159", "99")
    for hits in (HitRule(geometry=small), HitRule(mask=np.zeros((100, 200), np.uint8))):
        processor = opened(PeakProcessor(PeakSettings(hits=hits)))
        with pytest.raises(CannotGoOnError, match=r"\(100, 200\).*\(160, 200\)"):
            processor.process(frame_of(make_image(1)))


def test_what_is_tuned_holds_from_the_next_frame_on() -> None:
    processor = opened(PeakProcessor(), nexus())
    frame = frame_of(make_image(12))
    values = dict(processor.parameters.initial)
    assert "hits" in processor.process(frame)
    processor.tune({**values, "min_hit_peaks": 13})
    assert "hits" not in processor.process(frame)
    processor.tune({**values, "adc_threshold": 400.0})
    assert processor.process(frame)["peaks"].metadata["n_peaks"] == 0
    mask = np.zeros(SHAPE, np.uint8)
    mask[:30] = 1
    processor.tune({**values, "mask": mask})
    assert processor.process(frame)["peaks"].metadata["n_peaks"] == 6


def test_what_does_not_fit_is_refused_and_the_values_before_stay() -> None:
    processor = opened(PeakProcessor(), nexus())
    frame = frame_of(make_image(12))
    processor.process(frame)
    values = dict(processor.parameters.initial)
    with pytest.raises(ShapeError, match=r"\(3, 4\).*\(160, 200\)"):
        processor.tune({**values, "mask": np.zeros((3, 4), np.uint8)})
    with pytest.raises(GeometryShapeError):
        processor.tune({**values, "geometry": GEOM.replace("159", "99")})
    assert processor.process(frame)["peaks"].metadata["n_peaks"] == 12


def test_the_same_frame_gives_the_same_results_whoever_is_asked() -> None:
    frame = frame_of(make_image(12, seed=5))

    def made() -> Mapping[str, Result]:
        return opened(PeakProcessor(), nexus()).process(frame)

    first, second = made(), made()
    assert first["peaks"].metadata == second["peaks"].metadata
    assert first["hits"].metadata == second["hits"].metadata


def test_the_defaults_find_the_peaks_of_simulated_frames() -> None:
    maker = FrameMaker(Recipe(model=find_model("500k"), seed=0, n_frames=10, hit_fraction=0.3))
    slow, fast = maker.recipe.model.beam_center
    mine = nexus(beam_center_x=fast, beam_center_y=slow, pixel_mask=maker.mask)
    processor = opened(PeakProcessor(), mine)
    for index in range(10):
        truth = maker.truth(index)
        summary = processor.process(frame_of(maker.make(index)))["peaks"].metadata
        assert (summary["n_peaks"], summary["hit"]) == (len(truth.peaks), truth.hit)
    assert processor.status()["hits"] == 3


def test_bragg_peaks_of_a_real_crystal_are_found(captured_data: Path) -> None:
    with Consumer(captured_data / "cbf_pilatus300k_albis") as images:
        processor = opened(PeakProcessor(), images.metadata)
        found = [processor.process(image)["hits"].metadata for image in images]
    assert [one["n_peaks"] for one in found] == [297, 301, 294]
    strongest = int(np.argmax(found[0]["peaks"]["max_intensity"]))
    centre = [found[0]["peaks"][axis][strongest] for axis in ("fs", "ss")]
    assert centre == pytest.approx([331.0, 261.4], abs=0.1)
    assert 1.5 < min(found[0]["peaks"]["resolution"]) < 5


def test_derived_streams_say_what_they_were_made_of() -> None:
    settings = PeakSettings(finder=PeakParameters(adc_threshold=25.0))
    start = StreamStart(address=SOURCE, metadata=nexus(), n_expected=None, broker="")
    outputs = PeakProcessor(settings, hits_to=SourceAddress("bt", "good")).open(start)
    assert [str(outputs[name].address) for name in ("hits", "peaks")] == ["bt/good/run", "bt/det-peaks/run"]
    assert outputs["hits"].metadata["entry"] == nexus()["entry"]
    for output in outputs.values():
        about = output.metadata["peak_finding"]
        assert about["source"] == "bt/det/run"
        assert about["parameters"]["adc_threshold"] == 25.0
        assert about["parameters"]["min_hit_peaks"] == 10
