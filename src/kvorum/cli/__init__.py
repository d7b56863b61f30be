"""The command line: made from the settings and the public functions."""

import logging
import sys
from collections.abc import Sequence

import tyro
from rich.markup import escape

from kvorum.cli.computing import check, demo, evaluate, fit_with, study
from kvorum.cli.deciding import calibrate, serve
from kvorum.cli.exchanging import export, fetch, import_, push
from kvorum.cli.labelling import label
from kvorum.cli.learning import acquire, learn
from kvorum.cli.reading import ask, compare, questions, report, show
from kvorum.cli.terminal_io import OPTIONS, err, out
from kvorum.errors import KvorumError

LONGEST_ERROR = 4000

DESCRIPTION = (
    "Fine-tune a language model as an ensemble of LoRA adapters, in one pass over one frozen base model, and know how "
    "sure each answer is and why."
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a user's mistake ends with one line and exit status 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[_ToConsole()])
    for noisy in ("httpx", "transformers", "datasets", "filelock", "uvicorn"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    arguments = _with_ray(sys.argv[1:] if arguments is None else arguments)
    try:
        if arguments[:1] == ["fit"]:
            fit_with(arguments[1:])
        elif arguments[:1] == ["lm-eval"]:
            from kvorum.harness.command import run

            run(arguments[1:])
        elif arguments[:1] == ["--version"]:
            import kvorum

            out.print(f"kvorum {kvorum.__version__}", highlight=False)
        else:
            app.cli(args=arguments, prog="kvorum", description=DESCRIPTION, config=OPTIONS, sort_subcommands=False)
    except KvorumError as error:
        err.print(f"[bold red]kvorum:[/] {escape(_cut(str(error)))}", highlight=False)
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
        said = f"{stop}; the same command goes on from there" if str(stop) else "stopped; what was saved before is kept"
        err.print(escape(said), highlight=False)
        sys.exit(128 + getattr(stop, "signal", 2))


def fit() -> None:
    """Fit an ensemble on a task, scoring tasks before the first epoch and after each."""
    # Only here so that `kvorum --help` lists it: its flags depend on the YAML file, so `main` takes it first.


def lm_eval() -> None:
    """Score a run on the tasks of lm-evaluation-harness: its own command and flags, with --model kvorum."""
    # Only here so that `kvorum --help` lists it: `main` hands its flags on as they are.


app = tyro.extras.SubcommandApp()
COMMANDS = {
    command.__name__.strip("_").replace("_", "-"): command
    for command in (
        fit,
        evaluate,
        show,
        report,
        questions,
        compare,
        study,
        check,
        calibrate,
        acquire,
        label,
        learn,
        ask,
        serve,
        export,
        import_,
        push,
        fetch,
        lm_eval,
        demo,
    )
}
for name, command in COMMANDS.items():
    app.command(name=name)(command)


def _with_ray(arguments: Sequence[str]) -> list[str]:
    """The words of a command, where `--ray` without an address stands for `--ray auto`."""
    found: list[str] = []
    for word, after in zip(arguments, [*arguments[1:], "--"], strict=True):
        found += [word, "auto"] if word == "--ray" and after.startswith("-") else [word]
    return found


def _cut(text: str) -> str:
    """An error's words, however long what they quote."""
    return text if len(text) <= LONGEST_ERROR else f"{text[:LONGEST_ERROR]}..."


class _ToConsole(logging.Handler):
    """Log lines above a progress bar instead of through it."""

    def emit(self, record: logging.LogRecord) -> None:
        err.print(escape(self.format(record)), highlight=False)
