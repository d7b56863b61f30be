"""Commands about what to label next: acquire, learn."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from kvorum.acquisition import AcquisitionName
from kvorum.active.records import Learned
from kvorum.active.to_label import check_place
from kvorum.cli.reading import show
from kvorum.cli.terminal_io import err, load_posterior, open_run, out, print_json, quiet, refuse_untrusted, scoring_bar
from kvorum.cluster.options import LearnRayOptions
from kvorum.cluster.storage import is_url, shown
from kvorum.errors import KvorumError
from kvorum.terminal_acquired import acquired_dict, acquired_table

if TYPE_CHECKING:
    from kvorum.active.config import LearnConfig


def acquire(
    run: tyro.conf.Positional[Path],
    /,
    pool: str,
    count: int = 50,
    by: AcquisitionName = "mutual_information",
    out_: Annotated[Path | None, tyro.conf.arg(name="out")] = None,
    epoch: str = "last",
    seed: int = 0,
    pool_limit: int | None = None,
    leave_out_tested: bool = False,
    skip_bad_rows: bool = False,
    data_root: str | None = None,
    device: str = "auto",
    trust_remote_code: bool = False,
    json: bool = False,
) -> None:
    """Choose the questions of a pool that are most worth a label, and write them to a file to be labelled.

    Args:
        run: The run directory.
        pool: A .jsonl, .csv or .parquet file of questions, or a named task, whose training questions are taken.
        count: How many to choose.
        by: The acquisition function.
        out_: The file to write, .jsonl or .csv; default: the pool's name and -to-label.jsonl.
        epoch: Which epoch's members choose: last, or a number.
        seed: What draws the lots.
        pool_limit: Choose among N questions of the pool only: the first, or a random sample where the run's limit_to
            says so.
        leave_out_tested: Leave out questions that the run is scored on, instead of refusing the pool.
        skip_bad_rows: Leave out, count and report the rows of the pool's file that are wrong, instead of stopping.
        data_root: A local mirror of the question sets; default: the one of the run.
        device: cpu, cuda, cuda:1, ...; auto: that of the run.
        trust_remote_code: Run Python code that comes with the base model.
        json: Print JSON.
    """
    place = check_place(out_ or Path(f"{Path(pool).stem}-to-label.jsonl"))
    opened = open_run(run)
    (number,) = opened.resolve_epochs(epoch)[-1:]
    with err.status("loading"):
        from kvorum.active.acquire import acquire as acquired
        from kvorum.active.acquire import check_asked
        from kvorum.active.pool import pool_of, tested_by, without_tested
        from kvorum.posterior.posterior import questions_fitted
        from kvorum.tasks import load_task
        from kvorum.tasks.same import same
        from kvorum.tasks.sample import limit

        check_asked(count, by, seed)
        if pool_limit is not None and pool_limit < 1:
            raise KvorumError(f"pool_limit is {pool_limit}; it must be at least 1")
        task = load_task(pool, data_root=data_root or opened.config.data_root, skip_bad_rows=skip_bad_rows)
        given = limit(pool_of(task), pool_limit, opened.config.limit_to)
        fitted = questions_fitted(opened)
        known = {same(*one) for one in fitted}
        tested = {name: questions - known for name, questions in tested_by(opened).items()}
        given = without_tested(given, tested, leave_out=leave_out_tested)
    posterior = load_posterior(opened, number, device=device, trust_remote_code=trust_remote_code, fitted_on=fitted)
    with scoring_bar(f"scoring {task.name}") as progress:
        found = acquired(posterior, given, count=count, by=by, seed=seed, progress=progress)
    found.save(place)
    if json:
        print_json({"run": str(run), "epoch": number, "out": str(place)} | acquired_dict(found))
        return
    out.print(acquired_table(found))
    out.print(
        f"{len(found.questions)} of {found.pool:,} questions into {place}; next: kvorum label {place}",
        highlight=False,
        markup=False,
    )


def learn(
    file: tyro.conf.Positional[Path],
    /,
    out_: Annotated[str | None, tyro.conf.arg(name="out")] = None,
    dry_run: bool = False,
    trust_remote_code: bool = False,
    json: bool = False,
    cluster: Annotated[LearnRayOptions, tyro.conf.arg(name="")] = LearnRayOptions(),  # noqa: B008 - frozen
) -> None:
    """Compare ways to choose what to label: rounds of choosing, revealing, fitting; what is done is skipped.

    Args:
        file: The experiment: out, settings, pool, test, acquisitions, initial, batch, rounds, seeds, members, ...
        out_: Its directory; default: the file's.
        dry_run: Only say what would be labelled, and what is done and left to do; load no model.
        trust_remote_code: Run Python code that comes with the base model, where the experiment asks for it.
        json: Print JSON.
        cluster: Where it is done.
    """
    from kvorum.active.config import read_learn_config

    config = read_learn_config(file, out=out_)
    if config.fit.trust_remote_code and not trust_remote_code:
        refuse_untrusted(file, "the base model")
    if dry_run:
        from kvorum.active.dry_run import describe, described

        if json:
            print_json(described(config))
        else:
            for line in describe(config):
                out.print(line, highlight=False, markup=False)
        return
    quiet()
    if cluster.ray is not None:
        _learn_spread(config, cluster, json=json)
        return
    if is_url(config.out):
        raise KvorumError(f"out is {shown(config.out)}: without --ray an experiment goes into a folder of this machine")
    from kvorum.active.loop import learn as learned
    from kvorum.active.progress import RoundBars

    found = learned(config, RoundBars(err))
    _show_experiment(found, json=json)


def _learn_spread(config: "LearnConfig", options: LearnRayOptions, *, json: bool) -> None:
    """Run an experiment on a cluster."""
    from kvorum.cluster.learn import ask, learn_in_parts, on_ray
    from kvorum.cluster.ray_cluster import connected
    from kvorum.cluster.view import View

    with err.status("reading"):
        experiment = ask(config)
    with (
        connected(options, [config.fit.device]) as cluster,
        learn_in_parts(experiment, on_ray(cluster, View(err)), per_worker=options.seeds_per_worker) as learned,
    ):
        _show_experiment(learned, json=json, where=shown(config.out))


def _show_experiment(learned: Learned, *, json: bool = False, where: str | None = None) -> None:
    """Write an experiment's page, and print what it comes to; `where` it lies, if that is not where it was read."""
    from kvorum.report import write_learning
    from kvorum.report.learning.analyse import analyse

    with err.status("drawing"):
        page = str(write_learning(learned))
    where = where or str(learned.path)
    page = page.replace(str(learned.path), where, 1)
    if json:
        print_json({"out": where, "report": page} | analyse(learned).as_dict())
        return
    show(learned.path)
    out.print(page, highlight=False, markup=False)
