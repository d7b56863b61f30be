"""A run directory: what lies where, what is whole, one process at a time, going on."""

from kvorum.run.directory import CHECKED_BY_ALL, Run
from kvorum.run.drift import differing_settings
from kvorum.run.lock import locked
from kvorum.run.manifest import Damage
from kvorum.run.points import Point, run_and_epoch
from kvorum.run.relist import relist
from kvorum.run.start import start_run

__all__ = [
    "CHECKED_BY_ALL",
    "Damage",
    "Point",
    "Run",
    "differing_settings",
    "locked",
    "relist",
    "run_and_epoch",
    "start_run",
]
