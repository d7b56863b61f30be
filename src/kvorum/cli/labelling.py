"""The command that labels: label."""

import importlib.util
import shlex
import sys
import threading
from pathlib import Path

import tyro

from kvorum.cli.terminal_io import err, out, print_json
from kvorum.errors import KvorumError
from kvorum.labelling.file import LabelFile
from kvorum.terminal_safe import PlainConsole


def label(
    file: tyro.conf.Positional[Path],
    /,
    web: bool = False,
    port: int = 0,
    no_open: bool = False,
    json: bool = False,
) -> None:
    """Give the questions of a file their answers, one at a time; each is in the file at once.

    Args:
        file: Questions, .jsonl or .csv, such as kvorum acquire writes; those without an answer are asked for.
        web: Label in a browser instead of the terminal.
        port: Port of the page, on this machine alone; 0: any that is free.
        no_open: Do not open the browser; its address is told anyway.
        json: Print JSON at the end, and all else to stderr.
    """
    console = err if json else out
    with LabelFile(file) as opened:
        if not opened.left and not web:
            console.print(f"{file}: nothing is left to label", highlight=False, markup=False)
        elif web:
            _in_browser(opened, port, no_open, console)
        else:
            from kvorum.labelling.terminal import label_in_terminal

            label_in_terminal(opened, PlainConsole(file=sys.stderr if json else None, highlight=False))
        if json:
            print_json({"file": str(file), "labelled": opened.labelled, "left": len(opened.left)})
            return
        for line in _ended(file, opened.given, opened.labelled, len(opened.left)):
            console.print(line, highlight=False, markup=False)


def _in_browser(opened: LabelFile, port: int, no_open: bool, console: PlainConsole) -> None:
    if importlib.util.find_spec("fastapi") is None or importlib.util.find_spec("uvicorn") is None:
        raise KvorumError("labelling in a browser needs packages that are not installed: pip install 'kvorum[serve]'")
    from kvorum.labelling.web import serve_labels

    def told(address: str) -> None:
        console.print(f"label at {address}; Ctrl-C ends it", highlight=False, markup=False)
        if not no_open:
            # Not here, where the page is served: some browsers return only when they are closed.
            threading.Thread(target=_open, args=(address, console), daemon=True).start()

    serve_labels(opened, port, told=told)


def _open(address: str, console: PlainConsole) -> None:
    import webbrowser

    if not webbrowser.open(address):
        console.print("no browser could be opened; open that address in one", highlight=False, markup=False)


def _ended(file: Path, given: int, labelled: int, left: int) -> list[str]:
    """What has come of it, and the next command."""
    name = shlex.quote(str(file))
    lines = [f"{given} labelled now, {labelled} of {labelled + left} in all"]
    if left:
        lines.append(f"{left} left: kvorum label {name} goes on there; kvorum fit leaves them out with --skip-bad-rows")
    else:
        lines.append(f"next: kvorum fit --model M --task {name}")
    return lines
