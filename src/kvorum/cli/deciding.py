"""Commands that act on doubt: calibrate, serve."""

import dataclasses
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from kvorum.cli.terminal_io import err, load_posterior, open_run, out, print_json
from kvorum.decisions.calibrate import calibrate as calibrated
from kvorum.decisions.calibrate import check_asked
from kvorum.decisions.kept import keep_calibration, kept_calibration
from kvorum.errors import KvorumError
from kvorum.predictions import Predictions
from kvorum.run import Run, locked
from kvorum.serve.options import ServeOptions
from kvorum.terminal_decisions import calibration_lines
from kvorum.uncertainty.doubt import Doubt

if TYPE_CHECKING:
    from kvorum.tasks import Task


def calibrate(
    run: tyro.conf.Positional[Path],
    /,
    task: str,
    target_risk: float | None = None,
    coverage: float | None = None,
    score: Doubt = "one_minus_top",
    confidence: float = 0.95,
    alpha: float = 0.1,
    temperature: bool = False,
    epoch: str = "last",
    data_root: str | None = None,
    trust_remote_code: bool = False,
    json: bool = False,
) -> None:
    """Find on held-out questions when to answer and when to abstain, and keep it in the run with its guarantee.

    Args:
        run: The run directory.
        task: Questions that the members were not fitted on, as near to those to come as can be had; scored if needed.
        target_risk: Answer as much as keeps the share of wrong answers at or below this, such as 0.1.
        coverage: Answer this share of the questions, such as 0.8.
        score: By which doubt to abstain.
        confidence: With which the guarantee holds.
        alpha: What share of conformal answer sets may miss the right answer.
        temperature: Fit a temperature to the ensemble's mean first.
        epoch: Which epoch's answers: last, or a number.
        data_root: A local mirror of the question sets; default: the one of the run.
        trust_remote_code: Run Python code that comes with the base model.
        json: Print JSON.
    """
    from kvorum.tasks import load_task

    check_asked(target_risk, coverage, confidence, alpha)
    opened = open_run(run)
    (number,) = opened.resolve_epochs(epoch)[-1:]
    root = data_root or opened.config.data_root
    asked = (
        task
        if task in opened.tasks(number)
        else load_task(task, data_root=root, skip_bad_rows=opened.config.skip_bad_rows)
    )
    with locked(opened.path):
        predictions = _answers(opened, number, asked, trust_remote_code=trust_remote_code)
        found = calibrated(
            predictions,
            target_risk=target_risk,
            coverage=coverage,
            score=score,
            confidence=confidence,
            alpha=alpha,
            temperature=temperature,
            fitted_ids=_fitted(opened, predictions),
        )
        found = keep_calibration(opened, number, found)
    if json:
        print_json({"run": str(run), "epoch": number, "calibration": found.as_dict()})
    else:
        for line in calibration_lines(found):
            out.print(line)
        out.print(f"kept in {opened.calibration_file(number)}; next: kvorum serve {run}", highlight=False, markup=False)


def _answers(run: Run, epoch: int, task: "Task | str", *, trust_remote_code: bool) -> Predictions:
    """The run's predictions on a task, scored now where they are not there."""
    if isinstance(task, str):
        return run.predictions(epoch, task)
    from kvorum.posterior.evaluate import evaluate_epochs
    from kvorum.posterior.job import digests_of_tests
    from kvorum.posterior.progress import Bars

    if run.scored(epoch, task.name) and run.questions_digest(epoch, task.name) == digests_of_tests([task])[task.name]:
        return run.predictions(epoch, task.name)
    if run.scored(epoch, task.name):
        raise KvorumError(
            f"{run.path} holds predictions on other questions under the name '{task.name}'; --task {task.name} "
            "calibrates on those, kvorum evaluate replaces them, and a file of another name stands beside them"
        )
    posterior = load_posterior(run, epoch, trust_remote_code=trust_remote_code)
    evaluate_epochs(run, posterior, [task], [epoch], progress=Bars(err))
    return run.predictions(epoch, task.name)


def _fitted(run: Run, predictions: Predictions) -> list[str]:
    """The ids of the questions that the members were fitted on."""
    if not predictions.facts.get("trained_on_questions"):
        return []
    from kvorum.posterior.posterior import questions_fitted

    fitted = questions_fitted(run)
    places = zip(predictions.ids, predictions.questions, predictions.choices, strict=True)
    found = [name for name, question, choices in places if (question, choices) in fitted]
    if len(found) == len(predictions):
        raise KvorumError(
            f"all {len(predictions)} questions of {predictions.facts.get('task')} are among those that the members "
            "were fitted on; calibrate on others"
        )
    if found:
        err.print(f"{len(found)} of {len(predictions)} questions were fitted on, and are left out", highlight=False)
    return found


Served = Annotated[ServeOptions, tyro.conf.arg(name="")]


def serve(
    run: tyro.conf.Positional[Path],
    /,
    listening: Served = ServeOptions(),  # noqa: B008 - frozen
    epoch: str = "last",
    device: str = "auto",
    compile: Literal["auto", "on", "off"] | None = None,
    trust_remote_code: bool = False,
) -> None:
    """Answer over HTTP: POST /v1/answers, and a page to try it at /.

    Args:
        run: The run directory.
        listening: How it listens and what it takes.
        epoch: Which epoch's adapters answer: last, or a number.
        device: cpu, cuda, cuda:1, ...; auto: that of the run.
        compile: Whether the model's layers are compiled before it listens; default: the run's setting.
        trust_remote_code: Run Python code that comes with the base model.
    """
    if importlib.util.find_spec("fastapi") is None or importlib.util.find_spec("uvicorn") is None:
        raise KvorumError("serving needs packages that are not installed: pip install 'kvorum[serve]'")
    listening.accepted()  # a mistake in it does not wait for the model
    opened = open_run(run)
    (number,) = opened.resolve_epochs(epoch)[-1:]
    calibration = kept_calibration(opened, number)
    if calibration is None:
        err.print(
            f"note: not calibrated, so it always answers; kvorum calibrate {run} --task T --target-risk 0.1 changes "
            "that",
            highlight=False,
            markup=False,
        )
    # Whether a question was fitted on is told of no answer, so that nothing is fetched for it.
    posterior = load_posterior(
        opened, number, device=device, trust_remote_code=trust_remote_code, fitted_on=frozenset()
    )
    if compile is not None:
        posterior = dataclasses.replace(posterior, compile=compile)
    from kvorum.serve.served import Served as Serving
    from kvorum.serve.server import serve as listen

    served = Serving(posterior=posterior, calibration=calibration, run=opened, epoch=number)
    listen(served, listening, told=lambda address: out.print(f"answering at {address}", highlight=False, markup=False))
