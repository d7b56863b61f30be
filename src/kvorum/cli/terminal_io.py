"""What all commands share: the two consoles, a run opened and a posterior loaded for a command."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from kvorum.active.records import is_experiment
from kvorum.bounded import CONTROLS
from kvorum.errors import KvorumError
from kvorum.run import CHECKED_BY_ALL, Run
from kvorum.terminal_safe import PlainConsole

if TYPE_CHECKING:
    from kvorum.posterior.posterior import Posterior

OPTIONS = (tyro.conf.FlagCreatePairsOff, tyro.conf.OmitArgPrefixes, tyro.conf.DisallowNone)

# Into a file or a pipe nothing is cut to the width of a terminal that is not there.
out = PlainConsole(soft_wrap=True, width=None if sys.stdout.isatty() else 120)
err = PlainConsole(stderr=True, soft_wrap=True)


def quiet() -> None:
    """Keep transformers from drawing bars and telling what is none of a user's concern."""
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()
    transformers_logging.set_verbosity_error()


SHOWN = 8
"""Damaged files that are named one by one."""


def open_run(path: Path) -> Run:
    """The run in a directory, with a warning of every file that is not as it was written."""
    if is_experiment(path):
        raise KvorumError(f"{path} holds an experiment of kvorum learn, for kvorum show and report; it is no run")
    run = Run.open(path)
    warn_of_damage(run)
    return run


def warn_of_damage(run: Run) -> None:
    """Name the files of a run that are not as they were written."""
    found = run.damage(most=CHECKED_BY_ALL)
    if len(found) > SHOWN:
        err.print(f"[bold]warning:[/] {len(found)} files are damaged or missing; the first:", highlight=False)
    for damage in found[:SHOWN]:
        err.print(
            f"[bold]warning:[/] {escape(f'{run.path}: {damage}')}; kvorum check {escape(str(run.path))} --repair "
            "computes it again",
            highlight=False,
        )


def refuse_untrusted(file: Path | str, whose: str) -> None:
    """Raise `KvorumError` for a file that asks to run a model's code, which only the command line can allow."""
    raise KvorumError(
        f"{file} asks to run Python code that comes with {whose}; where you have read and trust that code, say so "
        "yourself: --trust-remote-code"
    )


def load_posterior(
    run: Run,
    epoch: int | str,
    *,
    device: str = "auto",
    trust_remote_code: bool = False,
    fitted_on: frozenset[tuple[str, tuple[str, ...]]] | None = None,
) -> "Posterior":
    """The posterior of a run after an epoch."""
    with err.status("loading"):
        from kvorum.posterior.posterior import load

        quiet()
        return load(run, epoch, device=device, trust_remote_code=trust_remote_code, fitted_on=fitted_on)


def print_json(value: Any) -> None:
    """Print a value for a script."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    sys.stdout.write(CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n")


@contextmanager
def scoring_bar(description: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, moved by being told of questions done and questions in all."""
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        bar = bars.add_task(description, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)
