"""A run's calibrations: one an epoch, kept in the run directory."""

import dataclasses
import logging

from kvorum.decisions.calibration import Calibration
from kvorum.errors import KvorumError
from kvorum.run import Run

log = logging.getLogger(__name__)


def keep_calibration(run: Run, epoch: int, calibration: Calibration) -> Calibration:
    """Keep a calibration in a run, in place of the one that is there; only for whom holds the lock."""
    calibration = dataclasses.replace(calibration, adapters_sha256=_adapters(run, epoch))
    run.put(run.calibration_file(epoch), calibration.save)
    return calibration


def kept_calibration(run: Run, epoch: int) -> Calibration | None:
    """The calibration of an epoch; None where there is none.

    Raises `KvorumError` for one that is damaged, or of other adapters than those that are there.
    """
    file = run.calibration_file(epoch)
    if not run.holds(file):
        if file.exists():
            raise KvorumError(f"{file}: does not count, since it was not written to its end; calibrate again")
        return None
    found = Calibration.load(run.checked(file))
    if found.adapters_sha256 != _adapters(run, epoch):
        raise KvorumError(f"{file}: was calibrated on other adapters than those of epoch {epoch} now; calibrate again")
    return found


def _adapters(run: Run, epoch: int) -> str:
    file = run.adapters_file(epoch)
    if not run.holds(file):
        raise KvorumError(f"{file}: there are no adapters, so nothing can be calibrated or decided by them")
    return run.manifest.files[run.name_of(file)].sha256
