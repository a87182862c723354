"""Integrate frames: azimuthal averages, published as a stream of curves."""

from .command import integrate
from .processor import IntegrateProcessor
from .settings import IntegrationSettings

__all__ = ["IntegrateProcessor", "IntegrationSettings", "integrate"]
