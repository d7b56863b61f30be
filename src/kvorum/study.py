"""A study: several fits that differ in a few settings, scored on the same questions, in one directory with one report.

```
OUT/NAME/                 a run directory for each run
OUT/report/index.html     the first run studied in full, and the others beside it
```
"""

import dataclasses
import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo

from kvorum.config import FitConfig, StudyOptions, describe_errors, fit_config, read_yaml
from kvorum.errors import KvorumError, nearest
from kvorum.run import CHECKED_BY_ALL, Run, differing_settings, run_and_epoch
from kvorum.run.directory import describe as describe_damage
from kvorum.run.drift import RESULTS_VERSION, differing_facts
from kvorum.tasks import default_template, load_template

if TYPE_CHECKING:
    from kvorum.engine import BaseModel
    from kvorum.posterior.job import Questions
    from kvorum.posterior.progress import Progress

ASKED = ("task", "evaluate", "train_limit", "evaluate_limit", "limit_to", "data_root", "skip_bad_rows")
"""Settings that say which questions there are."""
BASE = ("model", "revision", "device", "dtype", "trust_remote_code", "quantize", "device_map")
"""Settings that name a base model: runs that share them, one after another, share it in memory."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class StudyConfig:
    """What to fit, what to compare, and what to show of it."""

    out: str
    """The directory: a run directory for each run, and report/ beside them."""
    settings: dict[str, Any]
    """Of every run: any setting of a fit but `out`."""
    runs: dict[str, dict[str, Any] | None]
    """Each run's name and the settings in which it differs; the first is studied in full."""
    compare: tuple[tuple[str, ...], ...] = ()
    """Lists of runs to set side by side, the first of each being the baseline; empty: all runs in one."""
    report: StudyOptions = dataclasses.field(default_factory=StudyOptions)
    """What the report shows: mark, sizes, entropy_cut, mi_cut, cut_epoch, as in kvorum report."""

    def __post_init__(self) -> None:
        if not self.runs:
            raise KvorumError("runs is empty; name at least one, such as 'product: {}'")
        for name in self.runs:
            if not name or name in (".", "..", "report") or any(letter in name for letter in "/\\"):
                raise KvorumError(f"'{name}' is no name for a run; it becomes a directory beside report/")
        for group in self.compare:
            for name in group:
                if name not in self.runs:
                    raise KvorumError(f"compare names '{name}', which is no run{nearest(name, tuple(self.runs))}")
            if len(set(group)) < 2:
                raise KvorumError(f"compare holds {list(group)}; a comparison needs two runs or more")

    @property
    def comparisons(self) -> tuple[tuple[str, ...], ...]:
        """The lists of runs to compare, the default filled in."""
        return self.compare or ((tuple(self.runs),) if len(self.runs) > 1 else ())


STUDY_FIELDS: dict[str, FieldInfo] = vars(StudyConfig)["__pydantic_fields__"]
"""Of every key of a study's file: its type, default and description."""


class Study:
    """The runs of a study, and what is done of them."""

    def __init__(self, config: StudyConfig, *, where: str = "study") -> None:
        self.config = config
        self.where = where
        self.path = Path(config.out)
        self.fits = {name: self._fit_config(name, own, where) for name, own in config.runs.items()}
        self._refuse_what_the_report_cannot_show()

    @classmethod
    def read(cls, path: str | Path, *, out: str | None = None) -> "Study":
        """The study in a YAML file; `out` wins over the file's.

        Raises `KvorumError` for unknown keys and wrong values, in any of its runs.
        """
        settings = read_yaml(path) | ({"out": out} if out else {})
        for name in settings:
            if name not in STUDY_FIELDS:
                known = f"there is no key '{name}' in a study{nearest(str(name), tuple(STUDY_FIELDS))}"
                raise KvorumError(f"{path}: {known}; settings of the fits stand under 'settings'")
        try:
            config = TypeAdapter(StudyConfig).validate_python(settings)
        except ValidationError as error:
            raise KvorumError(f"{path}: {describe_errors(error)}") from None
        return cls(config, where=str(path))

    def _fit_config(self, name: str, own: Mapping[str, Any] | None, where: str) -> FitConfig:
        both = self.config.settings | dict(own or {})
        settings = {str(key).replace("-", "_"): value for key, value in both.items()}
        if "out" in settings:
            raise KvorumError(f"{where}, run '{name}': 'out' is the study's, not a run's")
        return fit_config(settings | {"out": str(self.path / name)}, where=f"{where}, run '{name}'")

    def _refuse_what_the_report_cannot_show(self) -> None:
        """Now, not when hours of fitting are over; the first run must have what is asked for."""
        report, where = self.config.report, self.where
        name, fit = next(iter(self.fits.items()))
        for epoch in (*report.mark, *(() if report.cut_epoch is None else (report.cut_epoch,))):
            if not 0 <= epoch <= fit.epochs:
                raise KvorumError(f"{where}: report names epoch {epoch}, but {name} has epochs 0 to {fit.epochs}")
        for size in report.sizes:
            if size > fit.members:
                raise KvorumError(f"{where}: report names a size of {size}, but {name} has {fit.members} members")

    @cached_property
    def questions(self) -> "dict[str, Questions]":
        """What each run is fitted on and scored on.

        Raises `KvorumError` for a task that cannot be read, and for a comparison of runs that share no task, or are
        scored on other questions of one.
        """
        from kvorum.posterior.job import read_questions

        known: dict[tuple[Any, ...], Questions] = {}
        found: dict[str, Questions] = {}
        for name, config in self.fits.items():
            key = tuple(getattr(config, setting) for setting in ASKED)
            found[name] = known[key] = known.get(key) or read_questions(config)
        for names in self.config.comparisons:
            _refuse_other_questions({name: found[name].evaluation_digests for name in names}, self.where)
        return found

    def done(self, name: str) -> Run | None:
        """The run, if it is there with these settings and questions, all its epochs and all its scores.

        Raises `KvorumError` for one that was fitted further than the study asks for, or is damaged.
        """
        config, questions = self.fits[name], self.questions[name]
        path = self.path / name
        if not (path / "config.yaml").is_file():
            return None
        run = Run.open(path)
        if differing_settings(run.config, config):
            return None  # fitting says which setting differs, and refuses
        template = load_template(config.prompt) if config.prompt else default_template(config.answer_format)
        if differing_facts(run.facts, run.facts | {"prompt_template": template, "results_version": RESULTS_VERSION}):
            return None
        if damage := run.damage(most=CHECKED_BY_ALL):
            raise KvorumError(f"{path}: {describe_damage(damage)}; kvorum check {path} --repair computes it again")
        if run.epochs and run.epochs[-1] > config.epochs:
            raise KvorumError(
                f"{path} is fitted to epoch {run.epochs[-1]}, and {self.where} asks for {config.epochs}: raise its "
                "epochs, or remove the run"
            )
        if run.facts.get("train_digest") != questions.digest or not questions.answered(run, config.epochs):
            return None
        return run

    def start_of(self, name: str) -> str | None:
        """The run of the study that a run goes on from, if it does from one."""
        start = self.fits[name].warm_start
        if start is None:
            return None
        path = run_and_epoch(start)[0].resolve()
        return next((other for other in self.fits if (self.path / other).resolve() == path), None)

    def run_all(
        self, progress: Callable[[], "Progress"] | None = None, *, told: Callable[[str], None] = log.info
    ) -> dict[str, Run]:
        """Every run, fitted and scored; what is done is left as it is."""
        from kvorum.posterior.fit import fit_in_run_directory
        from kvorum.posterior.job import plan
        from kvorum.posterior.progress import Silent

        # Before anything is computed: a mistake in the last run would cost what the others took.
        _ = self.questions
        base: BaseModel | None = None
        held: tuple[Any, ...] = ()
        runs: dict[str, Run] = {}
        for number, (name, config) in enumerate(self.fits.items(), start=1):
            head = f"run {number} of {len(self.fits)}, {name}"
            if (run := self.done(name)) is not None:
                told(f"{head}: done already, in {run.path}")
            else:
                told(f"{head}: into {self.path / name}")
                key = tuple(getattr(config, setting) for setting in BASE)
                if key != held:
                    # Two of them need not fit, and what refers to itself is not freed by being let go of.
                    base, held = None, key
                    gc.collect()
                job = plan(config, base=base)
                base = job.base
                fit_in_run_directory(job, (progress or Silent)())
                del job
                run = Run.open(self.path / name)
            runs[name] = run
        return runs

    def report(self, runs: Mapping[str, Run]) -> Path:
        """Write every run's own page and the study's; returns the path of the study's."""
        from kvorum.report import write, write_study

        for run in runs.values():
            write(run, self._options_for(run))
        return write_study(runs, self.path / "report", comparisons=self.config.comparisons, options=self.config.report)

    def _options_for(self, run: Run) -> StudyOptions:
        """The study's options, as far as they fit a run of fewer epochs or members."""
        report = self.config.report
        return dataclasses.replace(
            report,
            mark=tuple(epoch for epoch in report.mark if epoch in run.epochs),
            sizes=tuple(size for size in report.sizes if size <= run.config.members),
            cut_epoch=report.cut_epoch if report.cut_epoch in run.epochs else None,
        )


def _refuse_other_questions(runs: Mapping[str, Mapping[str, str]], where: str) -> None:
    """Where runs, by name, whose tasks have these digests do not compare."""
    (first, ours), *others = runs.items()
    shared = set(ours).intersection(*(set(tasks) for _, tasks in others))
    if not shared:
        raise KvorumError(f"{where}: {', '.join(runs)} are to be compared, but no task is scored in all of them")
    for name, theirs in others:
        if differ := [task for task in ours if task in shared and ours[task] != theirs[task]]:
            raise KvorumError(
                f"{where}: {first} and {name} are to be compared, but are scored on other questions of {differ[0]}: "
                "give them the same evaluate_limit, limit_to and question set"
            )


def describe(study: Study) -> Sequence[str]:
    """A line a run: what is done, and what is left to do."""
    lines = []
    for name, config in study.fits.items():
        own = (
            ", ".join(f"{key} {value}" for key, value in (study.config.runs[name] or {}).items())
            or "the shared settings"
        )
        state = "done" if study.done(name) is not None else "to do"
        lines.append(f"{name}: {state}; {own}; {config.members} members, {config.epochs} epochs")
    return lines
