"""The command line: made from the settings and the public functions."""

import dataclasses
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from rich.markup import escape

from kvorum.config import FIELDS, SETTINGS, CutOptions, FitConfig, StudyOptions, fit_config, read_yaml
from kvorum.errors import KvorumError
from kvorum.report.analysis import analyse
from kvorum.run import CHECKED_BY_ALL, Run, locked
from kvorum.terminal import answer_dict, answer_table, numbers_tables, run_dict
from kvorum.terminal_safe import PlainConsole
from kvorum.terminal_study import question_list, question_table, study_dict, study_tables

if TYPE_CHECKING:
    from kvorum.posterior.job import Job
    from kvorum.posterior.posterior import Posterior

OPTIONS = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes, tyro.conf.DisallowNone)
DEMO = {
    "model": "smollm2-135m",
    "task": "facts_capitals",
    "evaluate": ("facts_capitals", "facts_elements", "facts_opposites", "facts_sums"),
    "out": "runs/demo",
}

app = tyro.extras.SubcommandApp()
# Into a file or a pipe nothing is cut to the width of a terminal that is not there.
out = PlainConsole(soft_wrap=True, width=None if sys.stdout.isatty() else 120)
err = PlainConsole(stderr=True, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake ends with one line and exit status 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[_ToConsole()])
    for noisy in ("httpx", "transformers", "datasets", "filelock"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments[:1] == ["fit"]:
            _fit(arguments[1:])
        elif arguments[:1] == ["--version"]:
            import kvorum

            out.print(f"kvorum {kvorum.__version__}", highlight=False)
        else:
            app.cli(args=arguments, prog="kvorum", description=DESCRIPTION, config=OPTIONS, sort_subcommands=False)
    except KvorumError as error:
        err.print(f"[bold red]kvorum:[/] {escape(str(error))}", highlight=False)
        sys.exit(2)
    except OSError as error:
        # The disk's word, not a mistake in kvorum: full, read-only, no permission.
        logging.getLogger(__name__).debug("traceback", exc_info=True)
        said = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        err.print(
            f"[bold red]kvorum:[/] {escape(said)}; what was saved before is whole, and the same command goes on from "
            "there once that is mended",
            highlight=False,
        )
        sys.exit(1)
    except KeyboardInterrupt as stop:
        said = str(stop) or "stopped at once; what was saved before is kept"
        err.print(f"{escape(said)}; the same command goes on from there", highlight=False)
        sys.exit(128 + getattr(stop, "signal", 2))


DESCRIPTION = (
    "Fine-tune a language model as an ensemble of LoRA adapters, in one pass over one frozen base model, and know how "
    "sure each answer is and why."
)


@app.command
def fit() -> None:
    """Fit an ensemble on a task, scoring tasks before the first epoch and after each."""
    # Only here so that `kvorum --help` lists it: its flags depend on the YAML file, so `main` takes it first.


FIT_DESCRIPTION = (
    "Fit an ensemble of LoRA adapters on a task, and score tasks before the first epoch and after each. The same "
    "command again goes on where it stopped. CONFIG.yaml holds the same settings; flags win over it."
)


FIT_FLAGS = {
    "dry_run": "Show what would run, and one whole prompt with its tokens; fit nothing.",
    "repair": "Compute again what is damaged in the run directory or missing from it.",
    "allow_drift": "Go on although settings, questions, base model or version are others, and record what differs.",
}


def _fit(arguments: list[str]) -> None:
    file = arguments[0] if arguments and Path(arguments[0]).suffix in {".yaml", ".yml"} else None
    settings = read_yaml(file) if file else {}
    settings.pop("facts", None)  # a run's own config.yaml can be fitted again
    trusting = bool(settings.pop("trust_remote_code", False))
    if file:
        known = {name: settings.get(name, "to be named") for name in ("model", "task")}
        settings = {name: getattr(fit_config(settings | known, where=file), name) for name in settings}
    asked = tyro.cli(
        _flags(settings),
        args=arguments[1:] if file else arguments,
        prog="kvorum fit [CONFIG.yaml]",
        description=FIT_DESCRIPTION,
        config=OPTIONS,
    )
    config = fit_config({name: getattr(asked, name) for name in SETTINGS}, where="kvorum fit")
    if trusting and not config.trust_remote_code:
        raise KvorumError(
            f"{file} asks to run Python code that comes with {config.model}; where you have read and trust that code, "
            "say so yourself: --trust-remote-code"
        )
    job = _plan(config)
    if asked.dry_run:
        from kvorum.posterior.dry_run import describe

        out.print(escape(describe(job)), highlight=False)
        return
    _fit_job(job, repair=asked.repair, allow_drift=asked.allow_drift)
    out.print(f"fitted into {job.out}; next: kvorum report {job.out}", highlight=False)


def _flags(defaults: dict[str, Any]) -> type:
    """A dataclass of the settings and the flags of the command, with the help from the settings' own docstrings."""
    fields: list[Any] = []
    for name, info in FIELDS.items():
        kind = Annotated[info.annotation, tyro.conf.arg(help=info.description)]
        default = defaults.get(name, ... if info.is_required() else info.default)
        fields.append((name, kind) if default is ... else (name, kind, dataclasses.field(default=default)))
    fields += [
        (name, Annotated[bool, tyro.conf.arg(help=says)], dataclasses.field(default=False))
        for name, says in FIT_FLAGS.items()
    ]
    return dataclasses.make_dataclass("fit", fields, kw_only=True, frozen=True)


def _plan(config: FitConfig) -> "Job":
    with err.status("loading"):
        from kvorum.posterior.job import plan

        _quiet()
        job = plan(config)
    for task in job.evaluation:
        if task.name == job.task.name and task.tested_on_train:
            err.print(f"note: {task.name} is scored on the questions that it is fitted on", highlight=False)
    return job


def _quiet() -> None:
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


def _fit_job(job: "Job", *, repair: bool = False, allow_drift: bool = False) -> "Posterior":
    from kvorum.posterior.fit import fit_in_run_directory
    from kvorum.posterior.progress import Bars

    return fit_in_run_directory(job, Bars(err), repair=repair, allow_drift=allow_drift)


def _open(path: Path) -> Run:
    """The run in a directory, with a warning of every file that is not as it was written."""
    run = Run.open(path)
    for damage in run.damage(most=CHECKED_BY_ALL):
        err.print(
            f"[bold]warning:[/] {escape(f'{run.path}: {damage}')}; kvorum check {escape(str(run.path))} --repair "
            "computes it again",
            highlight=False,
        )
    return run


def _load(run: Run, epoch: int | str, *, trust_remote_code: bool = False) -> "Posterior":
    with err.status("loading"):
        from kvorum.posterior.posterior import load

        _quiet()
        return load(run, epoch, trust_remote_code=trust_remote_code)


@app.command
def evaluate(
    run: tyro.conf.Positional[Path],
    /,
    task: tuple[str, ...],
    epochs: str = "last",
    evaluate_limit: int | None = None,
    data_root: str | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Score tasks with a run's ensemble, and keep the predictions in the run.

    Args:
        run: The run directory.
        task: Named tasks, or .jsonl, .csv or .parquet files of questions.
        epochs: last, all, or numbers such as 0,3.
        evaluate_limit: Score N questions only: the first, or a random sample where the run's limit_to says so.
        data_root: A local mirror of the question sets; default: the one of the run.
        trust_remote_code: Run Python code that comes with the base model.
    """
    from kvorum.tasks import load_task

    opened = _open(run)
    root = data_root or opened.config.data_root
    tasks = [load_task(name, data_root=root, skip_bad_rows=opened.config.skip_bad_rows) for name in task]
    chosen = opened.resolve_epochs(epochs)
    posterior = _load(opened, chosen[0], trust_remote_code=trust_remote_code)
    from kvorum.posterior.evaluate import evaluate_epochs
    from kvorum.posterior.progress import Bars

    with locked(opened.path):
        evaluate_epochs(opened, posterior, tasks, chosen, limit=evaluate_limit, progress=Bars(err))


Shown = Annotated[StudyOptions, tyro.conf.arg(name="")]
Cut = Annotated[CutOptions, tyro.conf.arg(name="")]


@app.command
def show(
    run: tyro.conf.Positional[Path],
    /,
    shown: Shown = StudyOptions(),  # noqa: B008 - frozen
    study: bool = False,
    json: bool = False,
) -> None:
    """Every number of every epoch and task of a run.

    Args:
        run: The run directory.
        shown: What the study shows.
        study: The study's numbers instead: findings, sub-ensembles, quadrants, retention, diversity.
        json: Print JSON.
    """
    if not study and shown != StudyOptions():
        raise KvorumError("--mark, --sizes and the cuts are the study's; add --study")
    opened = _open(run)
    if study:
        with err.status("computing"):
            analysis = analyse(opened, shown)
            found = study_dict(analysis) if json else list(study_tables(analysis))
        if isinstance(found, dict):
            _print_json(found)
        else:
            for table in found:
                out.print(table)
    elif json:
        _print_json(run_dict(opened))
    else:
        for table in numbers_tables(opened):
            out.print(table)


@app.command
def report(
    run: tyro.conf.Positional[Path],
    /,
    shown: Shown = StudyOptions(),  # noqa: B008 - frozen
    out_: Annotated[Path | None, tyro.conf.arg(name="out")] = None,
) -> None:
    """Write a run's page, report/index.html, with its figures beside it, and print its path.

    Args:
        run: The run directory.
        shown: What the study shows.
        out_: Where to write the page; default: report/ in the run directory.
    """
    from kvorum.report import write

    opened = _open(run)
    with err.status("drawing"):
        page = write(opened, shown, out_)
    out.print(str(page), highlight=False, markup=False)


@app.command
def questions(
    run: tyro.conf.Positional[Path],
    /,
    task: str | None = None,
    epoch: str = "last",
    outcome: Literal["retained", "forgotten", "acquired", "never-known"] | None = None,
    quadrant: Literal["confident", "torn", "disputed"] | None = None,
    cut: Cut = CutOptions(),  # noqa: B008 - frozen
    json: bool = False,
) -> None:
    """The questions behind a number: what became of each since epoch 0, and what its doubt is.

    Args:
        run: The run directory.
        task: The task; default: the one fitted on.
        epoch: last, or a number.
        outcome: Only those retained, forgotten, acquired or never known, against epoch 0.
        quadrant: Only those on which the ensemble is confident, torn or disputed.
        cut: Where the plane is cut.
        json: Print JSON.
    """
    shown = StudyOptions(**dataclasses.asdict(cut))
    found = question_list(analyse(_open(run), shown), task=task, epoch=epoch, outcome=outcome, quadrant=quadrant)
    if json:
        _print_json(found)
    else:
        out.print(question_table(found))


@app.command
def compare(
    runs: tyro.conf.Positional[tuple[Path, ...]],
    /,
    members: int | None = None,
    out_: Annotated[Path | None, tyro.conf.arg(name="out")] = None,
    json: bool = False,
) -> None:
    """Set runs on the same questions side by side, with intervals of the differences to the first one.

    Args:
        runs: Two run directories or more; the first is the baseline.
        members: Only the first N members of each, so that runs of different sizes compare; default: all.
        out_: Where to write a page with figures; default: comparison/ in the first run's report.
        json: Print JSON.
    """
    from kvorum.report.comparison.compare import compare as compare_runs
    from kvorum.report.comparison.page import write_comparison
    from kvorum.terminal_comparison import comparison_tables

    with err.status("computing"):
        comparison = compare_runs([_open(run) for run in runs], members=members)
    folder = out_ or Path(runs[0]) / "report" / "comparison"
    # The numbers first: they are worth having where no page can be written.
    if json:
        _print_json(comparison.as_dict() | {"page": str(folder / "index.html")})
    else:
        for table in comparison_tables(comparison):
            out.print(table)
    try:
        with err.status("drawing"):
            page = write_comparison(comparison, folder)
    except OSError as error:
        raise KvorumError(f"no page is written: {error}; --out DIR writes it elsewhere") from None
    if not json:
        out.print(str(page), highlight=False, markup=False)


@app.command
def study(
    file: tyro.conf.Positional[Path],
    /,
    out_: Annotated[str | None, tyro.conf.arg(name="out")] = None,
    dry_run: bool = False,
    trust_remote_code: bool = False,
    json: bool = False,
) -> None:
    """Fit, score and compare the runs of a study's YAML file, and write one report; what is done is skipped.

    Args:
        file: The study: out, settings, runs, compare, report.
        out_: Its directory; default: the file's.
        dry_run: Only say what is done and what is left to do.
        trust_remote_code: Run Python code that comes with the base models, where the study asks for it.
        json: Print JSON: the runs' directories and the report.
    """
    from kvorum.study import Study, describe

    planned = Study.read(file, out=out_)
    if any(fit.trust_remote_code for fit in planned.fits.values()) and not trust_remote_code:
        raise KvorumError(
            f"{file} asks to run Python code that comes with a base model; where you have read and trust that code, "
            "say so yourself: --trust-remote-code"
        )
    if dry_run:
        if json:
            _print_json({name: {"done": planned.done(name) is not None} for name in planned.fits})
        else:
            for line in describe(planned):
                out.print(line, highlight=False, markup=False)
        return
    from kvorum.posterior.progress import Bars

    _quiet()
    done = planned.run_all(lambda: Bars(err), told=lambda line: err.print(line, highlight=False, markup=False))
    with err.status("drawing"):
        page = planned.report(done)
    if json:
        _print_json({"runs": {name: str(run.path) for name, run in done.items()}, "report": str(page)})
    else:
        out.print(str(page), highlight=False, markup=False)


@app.command
def check(
    run: tyro.conf.Positional[Path],
    /,
    repair: bool = False,
    trust_remote_code: bool = False,
    json: bool = False,
) -> None:
    """Hold every file of a run against its checksum; exit status 1 where one is damaged or missing.

    Args:
        run: The run directory.
        repair: Compute again what is damaged or missing, as far as the run's own settings tell how.
        trust_remote_code: Run Python code that comes with the base model.
        json: Print JSON.
    """
    from kvorum.run.relist import relist

    if repair:
        with locked(run):
            relist(run)
        _repair(run, trust_remote_code=trust_remote_code)
    opened = Run.open(run)
    with err.status("reading"):
        damage, files = opened.damage(), opened.manifest.files
    size = sum(seal.bytes for seal in files.values())
    if json:
        found = [dataclasses.asdict(one) for one in damage]
        _print_json({"run": str(run), "files": len(files), "bytes": size, "damage": found})
    else:
        for one in damage:
            out.print(f"{run}: {one}", highlight=False, markup=False)
        whole = f"{len(files)} files, {size / 2**20:,.1f} MiB: "
        out.print(f"{whole}{f'{len(damage)} damaged' if damage else 'all as they were written'}", highlight=False)
    if damage:
        sys.exit(1)


def _repair(path: Path, *, trust_remote_code: bool) -> None:
    opened = Run.open(path)
    damage = opened.damage()
    if not damage:
        return
    from kvorum.posterior.fit import repair_run_directory
    from kvorum.posterior.progress import Bars

    if opened.config.trust_remote_code and not trust_remote_code:
        raise KvorumError(f"{path}: its base model brings Python code of its own; add --trust-remote-code")
    # Where the run lies now, which need not be where it was begun.
    config = dataclasses.replace(opened.config, out=str(path), trust_remote_code=trust_remote_code)
    for task, epoch in repair_run_directory(_plan(config), Bars(err)):
        err.print(
            f"{task} at epoch {epoch} is not among the tasks that the run's own settings name; score it again with: "
            f"kvorum evaluate {path} --task {task} --epochs {epoch}",
            highlight=False,
            markup=False,
        )


@app.command
def ask(
    run: tyro.conf.Positional[Path],
    question: tyro.conf.Positional[str],
    /,
    choices: tuple[str, ...],
    subject: str = "",
    epoch: str = "last",
    trust_remote_code: bool = False,
    json: bool = False,
) -> None:
    """Ask a run's ensemble a question: the answer, probabilities, entropy, mutual information, the members' votes.

    Args:
        run: The run directory.
        question: What to ask.
        choices: The candidate answers, at least two.
        subject: Its subject, for prompts that name one.
        epoch: Which epoch's adapters answer: last, or a number.
        trust_remote_code: Run Python code that comes with the base model.
        json: Print JSON.
    """
    from kvorum.tasks.question import refuse_equal_choices

    refuse_equal_choices(choices)
    predictions = _load(_open(run), epoch, trust_remote_code=trust_remote_code).ask(question, choices, subject=subject)
    if json:
        _print_json(answer_dict(predictions))
    else:
        out.print(answer_table(predictions))


@app.command
def demo(out_: Annotated[str, tyro.conf.arg(name="out")] = "runs/demo", members: int = 5, epochs: int = 3) -> None:
    """A first run on built-in facts: fit on capitals, score other kinds of facts, show, report, ask.

    Args:
        out_: The run directory.
        members: Adapters in the ensemble.
        epochs: Passes over the training questions.
    """
    config = fit_config(DEMO | {"out": out_, "members": members, "epochs": epochs}, where="kvorum demo")
    posterior = _fit_job(_plan(config))
    show(Path(out_))
    for question, choices in DEMO_QUESTIONS:
        out.print(answer_table(posterior.ask(question, choices)))
    report(Path(out_))


DEMO_QUESTIONS = (
    ("What is the capital of Italy?", ("Milan", "Rome", "Naples", "Turin")),
    ("What is 38 + 47?", ("75", "85", "95", "86")),
)


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


class _ToConsole(logging.Handler):
    """Log lines above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        err.print(escape(self.format(record)), highlight=False)
