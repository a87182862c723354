"""Faults on request: which ones there are, which message of a series suffers what, and what was done in the end."""

from .journal import Journal
from .kinds import FaultError, Faults
from .plan import FaultPlan

__all__ = ["FaultError", "FaultPlan", "Faults", "Journal"]
