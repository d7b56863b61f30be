"""Commands that compute and write into a run: fit, evaluate, study, check, demo."""

import contextlib
import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro
from rich.markup import escape

from kvorum.cli.reading import report, show
from kvorum.cli.terminal_io import (
    OPTIONS,
    err,
    load_posterior,
    open_run,
    out,
    print_json,
    quiet,
    refuse_untrusted,
    warn_of_damage,
)
from kvorum.cluster.options import GroupOptions, RayOptions
from kvorum.config import FIELDS, SETTINGS, FitConfig, fit_config, read_yaml
from kvorum.errors import KvorumError
from kvorum.run import Run, locked, relist, run_and_epoch
from kvorum.run.directory import is_run
from kvorum.terminal import answer_table

if TYPE_CHECKING:
    from kvorum.cluster.fit import Asked, Runner
    from kvorum.cluster.ray_cluster import Cluster
    from kvorum.posterior.job import Job
    from kvorum.posterior.posterior import Posterior
    from kvorum.study import Study
    from kvorum.tasks import Task

DEMO = {
    "model": "smollm2-135m",
    "task": "facts_capitals",
    "evaluate": ("facts_capitals", "facts_elements", "facts_opposites", "facts_sums"),
    "out": "runs/demo",
}


FIT_DESCRIPTION = (
    "Fit an ensemble of LoRA adapters on a task, and score tasks before the first epoch and after each. The same "
    "command again goes on where it stopped. CONFIG.yaml holds the same settings; flags win over it."
)


FIT_FLAGS = {
    "dry_run": "Show what would run, and one whole prompt with its tokens; fit nothing.",
    "repair": "Compute again what is damaged in the run directory or missing from it.",
    "allow_drift": "Go on although settings, questions, base model or version are others, and record what differs.",
}


SHARED = (
    "model",
    "revision",
    "answer_format",
    "normalisation",
    "prompt",
    "chat",
    "members",
    "rank",
    "alpha",
    "targets",
    "quantize",
)
"""What a fit takes over from the run that it goes on from, unless it is told otherwise."""


def fit_with(arguments: list[str]) -> None:
    """`kvorum fit` with the words that follow it."""
    file = arguments[0] if arguments and Path(arguments[0]).suffix in {".yaml", ".yml"} else None
    settings = read_yaml(file) if file else {}
    settings.pop("facts", None)  # a run's own config.yaml can be fitted again
    trusting = bool(settings.pop("trust_remote_code", False))
    if file:
        known = {name: settings.get(name, "to be named") for name in ("model", "task")}
        settings = {name: getattr(fit_config(settings | known, where=file), name) for name in settings}
    asked = tyro.cli(
        _flags(_of_warm_start(arguments, settings) | settings),
        args=arguments[1:] if file else arguments,
        prog="kvorum fit [CONFIG.yaml]",
        description=FIT_DESCRIPTION,
        config=OPTIONS,
    )
    config = fit_config({name: getattr(asked, name) for name in SETTINGS}, where="kvorum fit")
    if trusting and not config.trust_remote_code:
        refuse_untrusted(str(file), config.model)
    if asked.cluster.wanted:
        _fit_spread(config, asked.cluster, dry_run=asked.dry_run, alone=asked.repair or asked.allow_drift)
        return
    job = _plan(config, weights=not asked.dry_run)
    if asked.dry_run:
        from kvorum.posterior.dry_run import describe

        out.print(escape(describe(job)), highlight=False)
        return
    _fit_job(job, repair=asked.repair, allow_drift=asked.allow_drift)
    out.print(f"fitted into {job.out}; next: kvorum report {job.out}", highlight=False)


def _fit_spread(config: FitConfig, options: GroupOptions, *, dry_run: bool, alone: bool) -> None:
    """Fit groups of members, on a cluster or one after another."""
    from kvorum.cluster.fit import ask, fit_in_groups
    from kvorum.cluster.ray_cluster import connected
    from kvorum.cluster.storage import is_url

    if alone:
        raise KvorumError(
            "--repair and --allow-drift go with a fit in one process; leave out --ray and --members-per-worker"
        )
    quiet()
    asked = ask(config)
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(connected(options, [config.device])) if options.ray is not None else None
        if dry_run:
            _describe_spread(asked, options, cluster)
            return
        slots = cluster.slots if cluster is not None else 1
        fit_in_groups(asked, _runner(cluster), per_worker=options.members_per_worker, slots=slots)
    following = "fetch" if is_url(asked.out) else "report"
    place = asked.config.out
    out.print(f"fitted into {place}; next: kvorum {following} {place}", highlight=False, markup=False)


def _runner(cluster: "Cluster | None") -> "Runner":
    """What fits groups of members: the workers of a cluster, or this process."""
    from kvorum.cluster.fit import on_ray, one_after_another
    from kvorum.cluster.view import View
    from kvorum.posterior.progress import Bars

    if cluster is not None:
        return on_ray(cluster, View(err))
    return one_after_another(lambda: Bars(err), told=_tell)


def _tell(line: str) -> None:
    err.print(line, highlight=False, markup=False)


def _describe_spread(asked: "Asked", options: GroupOptions, cluster: "Cluster | None") -> None:
    from kvorum.cluster.dry_run import as_on_workers, placed, rows
    from kvorum.posterior.dry_run import describe

    job = as_on_workers(asked, cluster)
    more = rows(placed(asked, job, options, cluster), cluster)
    out.print(escape(describe(job, more, out=asked.config.out)), highlight=False)


def _of_warm_start(arguments: list[str], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings that a fit shares with the run that it goes on from, where none are given."""
    named = settings.get("warm_start")
    for place, word in enumerate(arguments):
        name, _, value = word.partition("=")
        if name.replace("_", "-") == "--warm-start":
            named = value or next(iter(arguments[place + 1 : place + 2]), None)
    if not isinstance(named, str) or not is_run(path := run_and_epoch(named)[0]):
        return {}  # what is wrong with it is said where it is read
    config = Run.open(path).config
    return {name: getattr(config, name) for name in SHARED}


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
    fields.append(("cluster", GroupOptions, dataclasses.field(default=GroupOptions())))
    return dataclasses.make_dataclass("fit", fields, kw_only=True, frozen=True)


def _plan(config: FitConfig, *, weights: bool = True) -> "Job":
    with err.status("loading"):
        from kvorum.posterior.job import plan

        quiet()
        job = plan(config, weights=weights)
    for task in job.evaluation:
        if task.name == job.task.name and task.tested_on_train:
            err.print(f"note: {task.name} is scored on the questions that it is fitted on", highlight=False)
    return job


def _fit_job(job: "Job", *, repair: bool = False, allow_drift: bool = False) -> "Posterior":
    from kvorum.posterior.fit import fit_in_run_directory
    from kvorum.posterior.progress import Bars

    return fit_in_run_directory(job, Bars(err), repair=repair, allow_drift=allow_drift)


def evaluate(
    run: tyro.conf.Positional[str],
    /,
    task: tuple[str, ...],
    epochs: str = "last",
    evaluate_limit: int | None = None,
    data_root: str | None = None,
    trust_remote_code: bool = False,
    cluster: RayOptions = RayOptions(),  # noqa: B008 -- it is frozen
) -> None:
    """Score tasks with a run's ensemble, and keep the predictions in the run.

    Args:
        run: The run directory; with --ray also a URL.
        task: Named tasks, or .jsonl, .csv or .parquet files of questions.
        epochs: last, all, or numbers such as 0,3.
        evaluate_limit: Score N questions only: the first, or a random sample where the run's limit_to says so.
        data_root: A local mirror of the question sets; default: the one of the run.
        trust_remote_code: Run Python code that comes with the base model.
        cluster: Where it is computed.
    """
    from kvorum.cluster.storage import Storage, is_url
    from kvorum.tasks import load_task

    def asked(opened: Run) -> "tuple[list[Task], tuple[int, ...]]":
        root, skip = data_root or opened.config.data_root, opened.config.skip_bad_rows
        return [load_task(name, data_root=root, skip_bad_rows=skip) for name in task], opened.resolve_epochs(epochs)

    if cluster.ray is not None:
        _evaluate_spread(run, asked, cluster, limit=evaluate_limit, trust_remote_code=trust_remote_code)
        return
    if is_url(run):
        raise KvorumError(
            f"{Storage(run)} is a URL, where a run is scored by the workers of a cluster alone (--ray); kvorum fetch "
            f"{Storage(run)} brings it here"
        )
    opened = open_run(Path(run))
    tasks, chosen = asked(opened)
    posterior = load_posterior(opened, chosen[0], trust_remote_code=trust_remote_code)
    from kvorum.posterior.evaluate import evaluate_epochs
    from kvorum.posterior.progress import Bars

    with locked(opened.path):
        evaluate_epochs(opened, posterior, tasks, chosen, limit=evaluate_limit, progress=Bars(err))


def _evaluate_spread(
    path: str,
    asked: "Callable[[Run], tuple[list[Task], tuple[int, ...]]]",
    options: RayOptions,
    *,
    limit: int | None,
    trust_remote_code: bool,
) -> None:
    """Score tasks on a cluster."""
    from kvorum.cluster.evaluate import evaluate_in_shards, on_ray
    from kvorum.cluster.ray_cluster import connected, ray
    from kvorum.cluster.view import View
    from kvorum.cluster.whole import standing_run
    from kvorum.posterior.progress import Bars

    quiet()
    with standing_run(path) as opened:
        warn_of_damage(opened)
        tasks, chosen = asked(opened)
        with connected(options) as cluster:
            evaluate_in_shards(
                opened,
                tasks,
                chosen,
                on_ray(cluster, View(err, each=False)),
                slots=cluster.slots,
                put=ray().put,
                limit=limit,
                trust_remote_code=trust_remote_code,
                progress=Bars(err),
            )


def study(
    file: tyro.conf.Positional[Path],
    /,
    out_: Annotated[str | None, tyro.conf.arg(name="out")] = None,
    dry_run: bool = False,
    trust_remote_code: bool = False,
    json: bool = False,
    cluster: GroupOptions = GroupOptions(),  # noqa: B008 -- it is frozen
) -> None:
    """Fit, score and compare the runs of a study's YAML file, and write one report; what is done is skipped.

    Args:
        file: The study: out, settings, runs, compare, report.
        out_: Its directory; default: the file's.
        dry_run: Only say what is done and what is left to do.
        trust_remote_code: Run Python code that comes with the base models, where the study asks for it.
        json: Print JSON: the runs' directories and the report.
        cluster: Where it is computed.
    """
    from kvorum.study import Study, describe

    planned = Study.read(file, out=out_)
    if any(fit.trust_remote_code for fit in planned.fits.values()) and not trust_remote_code:
        refuse_untrusted(file, "a base model")
    if dry_run:
        if json:
            print_json({name: {"done": planned.done(name) is not None} for name in planned.fits})
        else:
            for line in describe(planned):
                out.print(line, highlight=False, markup=False)
        return
    from kvorum.posterior.progress import Bars

    quiet()
    done = _study_spread(planned, cluster) if cluster.wanted else planned.run_all(lambda: Bars(err), told=_tell)
    with err.status("drawing"):
        page = planned.report(done)
    if json:
        print_json({"runs": {name: str(run.path) for name, run in done.items()}, "report": str(page)})
    else:
        out.print(str(page), highlight=False, markup=False)


def _study_spread(planned: "Study", options: GroupOptions) -> dict[str, Run]:
    """Fit the runs of a study in groups of members, on a cluster or one after another."""
    from kvorum.cluster.ray_cluster import connected
    from kvorum.cluster.study import fit_study, refuse_unspread

    refuse_unspread(planned)
    devices = [fit.device for fit in planned.fits.values()]
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(connected(options, devices)) if options.ray is not None else None
        return fit_study(planned, _runner(cluster), per_worker=options.members_per_worker, told=_tell)


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
    if repair:
        if not is_run(run):
            Run.open(run)  # says that there is none
        with locked(run):
            relist(run)
        _repair(run, trust_remote_code=trust_remote_code)
    opened = Run.open(run)
    with err.status("reading"):
        damage, files = opened.damage(), opened.manifest.files
    size = sum(seal.bytes for seal in files.values())
    if json:
        found = [{"file": one.file, "why": one.why} for one in damage]
        print_json({"run": str(run), "files": len(files), "bytes": size, "damage": found})
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
    if opened.facts.get("imported"):
        from kvorum.interchange.imported import repair_imported

        with locked(path):
            _say_unscored(path, repair_imported(opened), "is let go of")
        return
    from kvorum.posterior.fit import repair_run_directory
    from kvorum.posterior.progress import Bars

    if opened.config.trust_remote_code and not trust_remote_code:
        raise KvorumError(f"{path}: its base model brings Python code of its own; add --trust-remote-code")
    # Where the run lies now, which need not be where it was begun.
    config = dataclasses.replace(opened.config, out=str(path), trust_remote_code=trust_remote_code)
    unscored = repair_run_directory(_plan(config), Bars(err))
    _say_unscored(path, unscored, "is not among the tasks that the run's own settings name")


def _say_unscored(path: Path, unscored: list[tuple[str, int]], why: str) -> None:
    for task, epoch in unscored:
        err.print(
            f"{task} at epoch {epoch} {why}; score it again with: kvorum evaluate {path} --task {task} "
            f"--epochs {epoch}",
            highlight=False,
            markup=False,
        )


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
