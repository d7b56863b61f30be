"""Going on from a posterior: the members of one run are where those of another start."""

import dataclasses
import hashlib
import logging
from pathlib import Path

from kvorum.adapters import AdapterStack
from kvorum.adapters.targets import Target
from kvorum.config import FitConfig
from kvorum.engine import BaseModel
from kvorum.errors import KvorumError
from kvorum.posterior.posterior import questions_fitted
from kvorum.run import Run, run_and_epoch
from kvorum.run.directory import is_run
from kvorum.run.manifest import Manifest

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class WarmStart:
    """A posterior to go on from."""

    stack: AdapterStack
    run: str
    """The directory of its run."""
    epoch: int
    base_revision: str
    quantize: str
    """How the base model was held."""
    answer_format: str
    fitted_on: frozenset[tuple[str, tuple[str, ...]]]
    """Question and choices of what it was fitted on, where known."""

    @property
    def digest(self) -> str:
        """Of the members' values."""
        whole = hashlib.sha256()
        for name, parameter in self.stack.named_parameters():
            whole.update(name.encode())
            whole.update(parameter.detach().cpu().contiguous().numpy().tobytes())
        return whole.hexdigest()

    def refuse_misfit(self, base: BaseModel, targets: list[Target], config: FitConfig) -> None:
        """Raise `KvorumError` where these members cannot be those of a fit with such settings."""
        where, stack = f"warm_start {self.run}", self.stack
        if base.revision != self.base_revision:
            raise KvorumError(
                f"{where} was fitted on another base model: {self.base_revision or 'unknown'}, not "
                f"{base.revision or 'unknown'} ({base.name})"
            )
        self.refuse_other_shape(config)
        wanted = {target.name: (target.in_features, target.out_features) for target in targets}
        there = {name: (a.shape[2], stack.b[name].shape[1]) for name, a in stack.a.items()}
        if there != wanted:
            raise KvorumError(f"{where} has adapters on other modules; give the --targets that it was fitted with")
        if base.quantize != self.quantize:
            log.warning(
                "%s was fitted with quantize %s, and goes on with %s, on which its members answer otherwise",
                where,
                self.quantize,
                base.quantize,
            )
        if config.answer_format != self.answer_format:
            log.warning("%s was fitted by %s, and goes on by %s", where, self.answer_format, config.answer_format)

    def refuse_other_shape(self, config: FitConfig) -> None:
        """Raise `KvorumError` where that is so whatever the base model is."""
        where, stack = f"warm_start {self.run}", self.stack
        shape = {"members": len(stack.members), "rank": stack.rank, "alpha": stack.alpha}
        for name, there in shape.items():
            if there != getattr(config, name):
                raise KvorumError(
                    f"{where} has {name} {there}, asked for was {getattr(config, name)}; say --{name} {there}"
                )
        if not stack.active:
            raise KvorumError(f"{where}: all its members diverged, so there is nothing to go on from")


def read_warm_start(config: FitConfig, out: Path | None) -> WarmStart | None:
    """The posterior that a configuration names to go on from, if any, for a fit into `out`, or into memory.

    A run that is there already goes on from the epoch that it was begun with, though the other has more by now, and
    where the other is gone, from what it kept of it itself.

    Raises `KvorumError` where there is no such run or epoch, or its file is damaged.
    """
    if config.warm_start is None:
        return None
    path, asked = run_and_epoch(config.warm_start)
    if out is not None and path.resolve() == out.resolve():
        raise KvorumError(
            f"warm_start and out are the same run, {path}; a fit that goes on from it needs an --out of its own"
        )
    began = Manifest.read(out).history.get("warm_start_epoch") if out is not None else None
    if isinstance(began, int) and out is not None and not is_run(path):
        return _from_its_own_start(config, path, out, began)
    run = Run.open(path)
    if asked is None and began in run.epochs:
        asked = began
    (epoch,) = run.resolve_epochs("last" if asked is None else str(asked))
    return WarmStart(
        stack=AdapterStack.load(run.checked(run.adapters_file(epoch))),
        run=str(path),
        epoch=epoch,
        base_revision=str(run.facts.get("base_revision") or ""),
        quantize=run.config.quantize,
        answer_format=run.config.answer_format,
        fitted_on=questions_fitted(run),
    )


def _from_its_own_start(config: FitConfig, path: Path, out: Path, epoch: int) -> WarmStart:
    """What a run kept at epoch 0 of a posterior whose own run is gone."""
    run = Run.open(out)
    log.warning("there is no run in %s any more; going on from what %s kept of it", path, out)
    return WarmStart(
        stack=AdapterStack.load(run.checked(run.adapters_file(0))),
        run=str(path),
        epoch=epoch,
        base_revision=str(run.facts.get("base_revision") or ""),
        quantize=config.quantize,
        answer_format=config.answer_format,
        fitted_on=frozenset(),
    )
