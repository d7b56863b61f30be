"""Commands that read what a run has predicted, or ask it something more: show, report, questions, compare, ask."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from kvorum.active.records import Learned, is_experiment
from kvorum.cli.terminal_io import err, load_posterior, open_run, out, print_json
from kvorum.config import CutOptions, StudyOptions
from kvorum.decisions.kept import kept_calibration
from kvorum.errors import KvorumError
from kvorum.report.analysis import analyse
from kvorum.terminal import answer_dict, answer_table, numbers_tables, run_dict
from kvorum.terminal_decisions import decision_dict
from kvorum.terminal_study import question_list, question_table, study_dict, study_tables

Shown = Annotated[StudyOptions, tyro.conf.arg(name="")]
Cut = Annotated[CutOptions, tyro.conf.arg(name="")]


def show(
    run: tyro.conf.Positional[Path],
    /,
    shown: Shown = StudyOptions(),  # noqa: B008 - frozen
    study: bool = False,
    json: bool = False,
) -> None:
    """Every number of every epoch and task of a run.

    Args:
        run: The run directory, or that of an experiment of kvorum learn.
        shown: What the study shows.
        study: The study's numbers instead: findings, sub-ensembles, quadrants, retention, diversity.
        json: Print JSON.
    """
    if not study and shown != StudyOptions():
        raise KvorumError("--mark, --sizes and the cuts are the study's; add --study")
    if is_experiment(run):
        _refuse_of_experiment(run, study)
        from kvorum.report.learning.analyse import analyse as analyse_learning
        from kvorum.terminal_learning import learning_tables

        learning = analyse_learning(Learned.open(run))
        if json:
            print_json(learning.as_dict())
        else:
            for table in learning_tables(learning):
                out.print(table)
        return
    opened = open_run(run)
    if study:
        with err.status("computing"):
            analysis = analyse(opened, shown)
            found = study_dict(analysis) if json else list(study_tables(analysis))
        if isinstance(found, dict):
            print_json(found)
        else:
            for table in found:
                out.print(table)
    elif json:
        print_json(run_dict(opened))
    else:
        for table in numbers_tables(opened):
            out.print(table)


def _refuse_of_experiment(path: Path, asked: bool) -> None:
    if asked:
        raise KvorumError(f"{path} holds an experiment of kvorum learn, of which there is no study to choose from")


def report(
    run: tyro.conf.Positional[Path],
    /,
    shown: Shown = StudyOptions(),  # noqa: B008 - frozen
    out_: Annotated[Path | None, tyro.conf.arg(name="out")] = None,
) -> None:
    """Write a run's page, report/index.html, with its figures beside it, and print its path.

    Args:
        run: The run directory, or that of an experiment of kvorum learn.
        shown: What the study shows.
        out_: Where to write the page; default: report/ in the run directory.
    """
    from kvorum.report import write, write_learning

    if is_experiment(run):
        _refuse_of_experiment(run, shown != StudyOptions())
        with err.status("drawing"):
            page = write_learning(Learned.open(run), out_)
    else:
        opened = open_run(run)
        with err.status("drawing"):
            page = write(opened, shown, out_)
    out.print(str(page), highlight=False, markup=False)


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
    found = question_list(analyse(open_run(run), shown), task=task, epoch=epoch, outcome=outcome, quadrant=quadrant)
    if json:
        print_json(found)
    else:
        out.print(question_table(found))


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
        comparison = compare_runs([open_run(run) for run in runs], members=members)
    folder = out_ or Path(runs[0]) / "report" / "comparison"
    # The numbers first: they are worth having where no page can be written.
    if json:
        print_json(comparison.as_dict() | {"page": str(folder / "index.html")})
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
    opened = open_run(run)
    (number,) = opened.resolve_epochs(epoch)[-1:]
    calibration = kept_calibration(opened, number)
    predictions = load_posterior(opened, number, trust_remote_code=trust_remote_code).ask(
        question, choices, subject=subject
    )
    decision = decision_dict(predictions, calibration) if calibration else None
    if json:
        print_json(answer_dict(predictions) | {"decision": decision})
    else:
        out.print(answer_table(predictions))
        if decision:
            out.print(decision["why"], highlight=False, markup=False)
