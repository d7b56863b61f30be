"""A report of 20 members, 11 epochs and 7,500 questions: how long it takes, how large it is, how quickly it answers.

    python benchmarks/report_scale.py --members 20 --epochs 11 --rounds 3 --json FILE

The run is made of noise with the shape of a real one: members that begin alike, learn, drift apart, and grow too sure.
Every report is written by a process of its own, whose peak memory is its resident memory's: first cold, with no number
kept beside the predictions, then warm. The page is opened from its file in a Chromium started for it, as often as
asked for, up to the end of the load event, by when the table of questions is drawn. A search or a sort is timed from
the input handler's first line to the frame that shows it. On a machine that others use too, the least says what the
work takes, and the median what one would have waited.

Needs playwright and Chromium for the page, and says so where they are missing: --chromium PATH.
"""

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kvorum.config import FitConfig
from kvorum.predictions import Predictions
from kvorum.report import write
from kvorum.run import Run

TASKS = {"commonsense_qa": (1221, 5), "mmlu_stem": (3153, 4), "mmlu_social_sciences": (3126, 4)}
"""Questions and choices of each."""
WORDS = 3000
SEARCHES = ("a", "the", "question", "zq", "subject 3", "b c", "xo", "e r t", "mmlu 77", "nothing at all of this kind")
SORTS = ("information", "entropy", "expected", "confidence", "kl", "tv", "place")
FRAME = """change => new Promise(done => {
  const begin = performance.now();
  const control = document.getElementById(change.id);
  control.value = change.value;
  control.dispatchEvent(new Event(change.event, { bubbles: true }));
  requestAnimationFrame(() => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = () => done(performance.now() - begin);
    port2.postMessage(null);
  });
})"""


def main() -> None:
    options = _options()
    if options.write:
        print(json.dumps(_write(options.write)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        run = noise_run(Path(scratch) / "run", options.members, options.epochs)
        found: dict[str, Any] = {"machine": _machine(), "members": options.members, "epochs": options.epochs}
        found["report"] = {"cold": [], "warm": []}
        for _ in range(options.rounds):
            forget(run)
            for each in found["report"].values():
                each.append(in_a_process(run))
        page = run / "report" / "index.html"
        found["page_mb"] = page.stat().st_size / 1e6
        found["browser"] = in_browser(page, options.chromium, options.opens, options.repeats)
    for line in lines_of(found):
        print(line)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


def noise_run(folder: Path, members: int, epochs: int) -> Path:
    """A run directory whose predictions are noise that behaves as a fit does."""
    config = FitConfig(model="noise", task="commonsense_qa", evaluate=tuple(TASKS), members=members, epochs=epochs - 1)
    run = Run(folder, config, {"task": "commonsense_qa", "evaluation_tasks": list(TASKS), "train_questions": 9741})
    run.save_config()
    random = np.random.default_rng(0)
    words = ["".join(random.choice(list("abcdefghijklmnopqrstuvwxyz"), size)) for size in random.integers(2, 9, WORDS)]
    for epoch in range(epochs):
        run.epoch_folder(epoch).mkdir(parents=True)
        run.adapters_file(epoch).touch()
        run.keep(run.adapters_file(epoch))
    for task in TASKS:
        for epoch, predictions in enumerate(_task(task, members, epochs, words, random)):
            run.save_predictions(epoch, task, predictions)
    return folder


def _task(
    task: str, members: int, epochs: int, words: Sequence[str], random: np.random.Generator
) -> Iterator[Predictions]:
    questions, candidates = TASKS[task]

    def say(count: int) -> str:
        return " ".join(random.choice(words, count))

    answers = random.integers(0, candidates, questions)
    texts = tuple(f"{say(length)}?" for length in random.integers(8, 45, questions))
    choices = tuple(tuple(say(3) for _ in range(candidates)) for _ in range(questions))
    prior = random.normal(size=(questions, candidates)) * 0.7
    own = random.normal(size=(members, questions, candidates))
    # How much of a question is learned; of tasks other than the one fitted on, little of most.
    learned = random.random(questions) ** (1 if task == "commonsense_qa" else 3)
    for epoch in range(epochs):
        logits = prior + own * 0.25 * epoch * learned[:, None]
        logits[:, np.arange(questions), answers] += 0.5 + 1.2 * min(epoch, 4) * learned
        logits *= (1 + 0.25 * epoch * learned)[:, None]
        probs = np.exp(logits - logits.max(axis=2, keepdims=True))
        probs /= probs.sum(axis=2, keepdims=True)
        yield Predictions(
            probs=probs,
            rest=np.zeros(probs.shape[:2]),
            answers=answers,
            ids=tuple(f"{task}/{row}" for row in range(questions)),
            subjects=tuple(f"subject {row % 19}" if task != "commonsense_qa" else "" for row in range(questions)),
            questions=texts,
            choices=choices,
            facts={"task": task, "epoch": epoch, "members": list(range(members)), "trained_on_questions": 0},
        )


def forget(run: Path) -> None:
    """Remove the numbers that are kept beside the predictions."""
    for kept in run.glob("epochs/*/predictions/*.numbers.json"):
        kept.unlink()


def in_a_process(run: Path) -> dict[str, float]:
    """Seconds and peak memory of writing a report, in a process of its own."""
    done = subprocess.run([sys.executable, __file__, "--write", str(run)], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def _write(run: Path) -> dict[str, float]:
    begin, busy = time.perf_counter(), time.process_time()
    write(Run.open(run))
    return {
        "seconds": time.perf_counter() - begin,
        "cpu_seconds": time.process_time() - busy,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }


def in_browser(page: Path, chromium: str | None, opens: int, repeats: int) -> dict[str, Any] | None:
    """Milliseconds of opening the page, of searches and of sorts, and the browser; None where there is none."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("the page is not timed: playwright is not installed", file=sys.stderr)
        return None
    if chromium is None:
        print("the page is not timed: no Chromium found; name one by --chromium", file=sys.stderr)
        return None
    found: dict[str, Any] = {"open": [], "search": [], "sort": []}
    with sync_playwright() as playwright:
        for last in [False] * (opens - 1) + [True]:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            tab = browser.new_page(viewport={"width": 1280, "height": 900})
            tab.goto(page.as_uri())
            tab.wait_for_selector("#rows .row")
            # Of all tasks the one with most questions; the questions in sight, as when somebody types.
            found["open"].append(tab.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
            if last:
                tab.select_option("#pick-task", label="mmlu_stem")
                tab.evaluate("document.getElementById('tools').scrollIntoView({ behavior: 'instant' })")
                tab.wait_for_timeout(2000)
                for _ in range(repeats):
                    for words in SEARCHES:
                        change = {"id": "search", "event": "input", "value": words}
                        found["search"].append(tab.evaluate(FRAME, change))
                    tab.fill("#search", "")
                    for key in SORTS:
                        change = {"id": "pick-sort", "event": "change", "value": key}
                        found["sort"].append(tab.evaluate(FRAME, change))
            found["browser"] = f"Chromium {browser.version}"
            browser.close()
    return found


def lines_of(found: dict[str, Any]) -> list[str]:
    """What was measured as a Markdown table."""
    lines = [f"{found['members']} members, {found['epochs']} epochs, 7,500 questions; {found['machine']}", ""]
    lines += ["| | least | median | worst | times |", "|---|---|---|---|---|"]
    for when, rounds in found["report"].items():
        for key, unit, digits in (("seconds", "s", 1), ("cpu_seconds", "CPU s", 1), ("peak_mb", "peak MB", 0)):
            lines.append(_line(f"report, {when}, {unit}", [of[key] for of in rounds], digits))
    lines.append(_line("page, MB", [found["page_mb"]], 1))
    timed = found["browser"] or {}
    lines += [_line(f"{what}, ms", timed[what], 0) for what in ("open", "search", "sort") if what in timed]
    return lines


def _line(what: str, values: Sequence[float], digits: int) -> str:
    shown = (f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    return f"| {what} | {' | '.join(shown)} | {len(values)} |"


def _machine() -> dict[str, Any]:
    # Not at the top: writing a report needs no torch, and the processes that are measured import this file.
    from measure import machine

    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return machine() | {"load at the start": load}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=11, help="the untouched model's included")
    parser.add_argument("--rounds", type=int, default=3, help="times that the report is written, cold and warm")
    parser.add_argument("--opens", type=int, default=5, help="times the page is opened")
    parser.add_argument("--repeats", type=int, default=4, help="times that every search and sort is done")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    parser.add_argument("--chromium", default=found, help="path of the browser")
    parser.add_argument("--json", type=Path, help="file to write the measurements to")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
