"""Everything that the page, the terminal and JSON show of an experiment in active learning."""

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from kvorum.active.config import LearnConfig
from kvorum.active.records import Learned
from kvorum.report.learning.chosen import Chosen, Overlap, PoolPart, chosen_by, overlaps, pool_parts
from kvorum.report.learning.curves import Curve, curve_of
from kvorum.report.learning.doubt import DoubtCurve, doubt_curves
from kvorum.report.learning.estimate import corrected
from kvorum.report.learning.needs import Need, Target, need_of, targets_of
from kvorum.report.learning.read import RANDOM, Test, read


@dataclass(frozen=True, kw_only=True, slots=True)
class Function:
    """An acquisition function."""

    name: str
    rounds: int
    """Done for all seeds, after the start."""
    labels: int
    """That it has come to."""
    curves: tuple[Curve, ...]
    """One a test task."""
    needs: tuple[Need, ...]
    """One a target."""
    chosen: Chosen | None
    """None before the first round."""
    doubt: tuple[DoubtCurve, ...]
    """Of the whole pool, of its parts where there are several, of the first test task."""

    @property
    def is_random(self) -> bool:
        """Whether it is what the others are compared to."""
        return self.name == RANDOM


@dataclass(frozen=True, kw_only=True, slots=True)
class Learning:
    """An experiment, as far as it is done."""

    path: str
    config: LearnConfig
    facts: dict[str, Any]
    tests: tuple[Test, ...]
    parts: tuple[PoolPart, ...]
    has_random: bool
    """Whether random is among the functions; without it nothing is compared."""
    compared: int
    """Functions compared to random."""
    level: float
    """Of each interval of a comparison to random, so that those of all functions hold at once in 95% of cases."""
    own_level: float
    """The same of what is judged of every function for itself: the slopes of doubt and the share of noise."""
    targets: tuple[Target, ...]
    functions: tuple[Function, ...]
    """Random first."""
    overlaps: tuple[Overlap, ...]

    @property
    def seeds(self) -> int:
        """Repetitions."""
        return len(self.config.seeds)

    @property
    def others(self) -> tuple[Function, ...]:
        """The functions but random."""
        return tuple(function for function in self.functions if not function.is_random)

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON can hold it: what is not a finite number is null; NLL and entropies in nats."""
        from kvorum.report.learning.verdicts import verdicts

        found = _plain(self)
        for function, own in zip(found["functions"], self.functions, strict=True):
            for need, of in zip(function["needs"], own.needs, strict=True):
                need["told"] = of.told
            for curve, of in zip(function["doubt"], own.doubt, strict=True):
                for key in ("entropy", "mutual_information"):
                    curve[key]["verdict"] = getattr(of, key).verdict
        return found | {"verdicts": [_plain(verdict) for verdict in verdicts(self)]}


def analyse(learned: Learned) -> Learning:
    """Analyse an experiment, be it done or not; raises `KvorumError` for damaged files and where no round is done."""
    found = read(learned)
    random, first = found.random, learned.tests[0]
    compared = len(found.functions) - 1 if random else 0
    level, own_level = corrected(compared), corrected(len(found.functions))
    targets = targets_of(learned.config.targets, random, first)
    functions = tuple(
        Function(
            name=rounds.acquisition,
            rounds=len(rounds) - 1,
            labels=rounds.labels[-1],
            curves=tuple(curve_of(rounds, random, test, level) for test in found.tests),
            needs=tuple(need_of(rounds, random, found.tests[0], target, level) for target in targets),
            chosen=chosen_by(rounds, learned.parts, own_level),
            doubt=doubt_curves(rounds, learned.parts, first, own_level),
        )
        for rounds in found.functions
    )
    return Learning(
        path=str(learned.path),
        config=learned.config,
        facts=dict(learned.facts),
        tests=found.tests,
        parts=pool_parts(found.functions[0].records[0], learned.parts),
        has_random=random is not None,
        compared=compared,
        level=level,
        own_level=own_level,
        targets=targets,
        functions=functions,
        overlaps=overlaps(found.functions),
    )


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)
