"""A detector made of nothing, for whoever builds or tests the page: pictures, numbers and an archive without a broker.

`python -m beamstream_consumers.monitor.testing` serves the page over it; see its --help. Message n always looks the
same.
"""

from .detector import SyntheticControl, SyntheticDetector
from .images import N_DIFFERENT

__all__ = ["N_DIFFERENT", "SyntheticControl", "SyntheticDetector"]
