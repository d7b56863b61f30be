"""A run directory: what lies where, what is whole, one process at a time, going on."""

from kvorum.run.directory import CHECKED_BY_ALL, Run
from kvorum.run.drift import differing_settings
from kvorum.run.lock import locked
from kvorum.run.manifest import Damage

__all__ = ["CHECKED_BY_ALL", "Damage", "Run", "differing_settings", "locked"]
