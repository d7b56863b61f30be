"""When to answer and when not: thresholds and answer sets from held-out questions, and what they say of new ones."""

from kvorum.decisions.calibrate import calibrate
from kvorum.decisions.calibration import Calibration
from kvorum.decisions.decide import Decisions, decide

__all__ = ["Calibration", "Decisions", "calibrate", "decide"]
