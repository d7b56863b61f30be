"""Experiment trackers that a fit reports to: one small seam, and a file for each of them."""

from kvorum.tracking.backends import refuse_missing, tracker
from kvorum.tracking.scalars import of_numbers, of_step
from kvorum.tracking.state import State
from kvorum.tracking.tracker import Batched, TrackedRun, Tracker

__all__ = ["Batched", "State", "TrackedRun", "Tracker", "of_numbers", "of_step", "refuse_missing", "tracker"]
