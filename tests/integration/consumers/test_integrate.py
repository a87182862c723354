"""`stream consume integrate` on a real broker, and on frames of a real detector."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from beamstream import Address, Consumer, Producer
from beamstream.service import StreamStart, run_processor
from beamstream_consumers.integrate import IntegrateProcessor, IntegrationSettings
from beamstream_consumers.integrate.errors import NoGeometryError
from beamstream_consumers.integrate.processor import CURVE

SOURCE = Address("11012345", "eiger", "run_001")
SHAPE = (83, 71)


def detector() -> dict[str, object]:
    fields = {
        "@NX_class": "NXdetector",
        "beam_center_x": 33.3,
        "beam_center_y": 41.2,
        "x_pixel_size": 75e-6,
        "y_pixel_size": 75e-6,
        "distance": 0.1,
        "pixel_mask": np.zeros(SHAPE, np.uint32),
    }
    beam = {"@NX_class": "NXbeam", "incident_wavelength": 1.0}
    instrument = {"@NX_class": "NXinstrument", "detector": fields, "beam": beam}
    return {"entry": {"@NX_class": "NXentry", "instrument": instrument}}


def produce(broker: str, metadata: dict[str, object]) -> None:
    with Producer(SOURCE, broker=broker, metadata=metadata) as producer:
        for message_id in (1, 2, 3):
            producer.send_array(message_id, np.full(SHAPE, message_id * 10, "<u2"))
        producer.finish()


def test_curves_have_the_ids_of_their_frames_and_travel_inline(broker: str) -> None:
    produce(broker, detector())
    settings = IntegrationSettings(n_bins=25, solid_angle=False)
    assert run_processor(lambda: IntegrateProcessor(settings), str(SOURCE), broker=broker) == 0
    with Consumer("11012345/eiger-integrate/run_001", broker=broker, timeout_s=20) as curves:
        frames = list(curves)
        axis = curves.metadata["entry"]["integrated"]
    assert [frame.message_id for frame in frames] == [1, 2, 3]
    assert (axis["q"].shape, axis["q@units"]) == ((25,), "1/angstrom")
    for frame in frames:
        intensity, sigma = frame.array()
        assert intensity.tolist() == [frame.message_id * 10.0] * 25
        assert np.all((sigma > 0) & (sigma <= np.sqrt(10.0 * frame.message_id)))


def test_a_stream_without_a_geometry_ends_the_service_with_what_to_do(broker: str) -> None:
    produce(broker, {})
    with pytest.raises(NoGeometryError, match="give --geometry FILE"):
        run_processor(lambda: IntegrateProcessor(IntegrationSettings()), str(SOURCE), broker=broker)


def test_real_frames_of_a_pilatus_are_averaged_by_their_own_header(captured_data: Path) -> None:
    with Consumer(str(captured_data / "cbf_pilatus300k_albis")) as frames:
        processor = IntegrateProcessor(IntegrationSettings(n_bins=50, unit="r_mm", solid_angle=False))
        start = StreamStart(address=frames.address, metadata=frames.metadata, n_expected=None, broker="")
        processor.open(start)
        frame = next(iter(frames))
        array = processor.process(frame)[CURVE].array
        fields = frames.metadata["entry"]["instrument"]["detector"]
    assert array is not None
    image = frame.array()
    slow, fast = np.indices(image.shape) + 0.5
    size_mm = float(fields["x_pixel_size"]) * 1e3
    radius = np.hypot(slow - fields["beam_center_y"], fast - fields["beam_center_x"]) * size_mm
    good = (image >= 0) & (np.asarray(fields.get("pixel_mask", 0)) == 0)
    edges = np.linspace(radius[good].min(), radius[good].max() * (1 + 1e-9), 51)
    counts, _ = np.histogram(radius[good], edges)
    sums, _ = np.histogram(radius[good], edges, weights=image[good])
    expected = sums / np.maximum(counts, 1)
    np.testing.assert_allclose(np.nan_to_num(array[0]), np.where(counts > 0, expected, 0), rtol=0.02, atol=0.02)
