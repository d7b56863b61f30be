"""The page: everything of a run in one HTML file that needs no network."""

import base64
import hashlib
import inspect
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2

from kvorum.files import atomic
from kvorum.report.analysis import Analysis, StudyOptions, analyse
from kvorum.report.embed import embed, safe_json
from kvorum.report.evaluations import Evaluation, by_task
from kvorum.report.figures import draw_figures
from kvorum.report.palette import DARK, LIGHT, css_variables
from kvorum.report.sheet import save
from kvorum.report.tables import Cell, Row, columns_of, groups_of, table_of
from kvorum.report.words import GLOSSARY, READING, TABLES
from kvorum.run import Run

HERE = Path(__file__).parent


def write(run: Run, options: StudyOptions | None = None) -> Path:
    """Write a run's report: `index.html`, which holds everything, and its figures beside it as SVG and PNG.

    Returns the path of the page. Raises `KvorumError` for an epoch to mark that is not scored.
    """
    analysis = analyse(run, options)
    evaluations = analysis.evaluations
    folder = run.report_folder
    folder.mkdir(parents=True, exist_ok=True)
    figures = [
        {
            "stem": figure.stem,
            "number": figure.stem.rpartition("-")[2],
            "title": figure.title,
            "note": figure.note,
            "reading": READING.get(figure.stem, ()),
            "inches": f"{figure.sheet.width:.2f}",
            "svg": save(folder, figure.stem, figure.sheet),
        }
        for figure in _drawn(analysis)
    ]
    page = folder / "index.html"
    with atomic(page) as path:
        path.write_text(_html(run, evaluations, figures), encoding="utf-8")
    return page


def _drawn(analysis: Analysis) -> list[Any]:
    by_analysis = "analysis" in inspect.signature(draw_figures).parameters
    return draw_figures(analysis if by_analysis else analysis.evaluations)  # pyright: ignore


def _html(run: Run, evaluations: Sequence[Evaluation], figures: Sequence[Mapping[str, Any]]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    script = (HERE / "page.js").read_text(encoding="utf-8")
    rows = table_of(evaluations)
    return environment.get_template("page.html.jinja").render(
        task=_task(run),
        model=run.config.model,
        version=metadata.version("kvorum"),
        light=css_variables(LIGHT),
        dark=css_variables(DARK),
        style=(HERE / "page.css").read_text(encoding="utf-8"),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
        sections=_sections(evaluations),
        lead=_lead(run, evaluations),
        notices=_notices(run, evaluations),
        glance=_glance(evaluations),
        essentials=_essentials(run, evaluations),
        settings=_settings(run),
        template=run.facts.get("prompt_template", ""),
        figures=figures,
        tables=[_table(key, title, hint, rows) for key, title, hint in TABLES],
        glossary=GLOSSARY,
        data=[(name, safe_json(block)) for name, block in embed(evaluations).items()] if evaluations else [],
    )


def _task(run: Run) -> str:
    return str(run.facts.get("task", run.config.task))


def _sections(evaluations: Sequence[Evaluation]) -> list[tuple[str, str]]:
    found = [("run", "What was run"), ("words", "What the words mean")]
    if evaluations:
        found[:0] = [("glance", "At a glance")]
        found[2:2] = [("figures", "Figures"), ("numbers", "Numbers"), ("questions", "Questions")]
    return found


def _lead(run: Run, evaluations: Sequence[Evaluation]) -> str:
    members = run.config.members
    words = f"{_count(members, 'LoRA adapter')} on one frozen base model"
    if evaluations:
        tasks, epochs = by_task(evaluations), sorted({evaluation.epoch for evaluation in evaluations})
        span = f"epoch {epochs[0]}" if len(epochs) == 1 else f"epochs {epochs[0]} to {epochs[-1]}"
        words += f", scored on {_count(len(tasks), 'task')} at {span}"
    return f"{words}. Where members that saw the same questions disagree, they have learned different things from them."


def _notices(run: Run, evaluations: Sequence[Evaluation]) -> list[str]:
    found = []
    for task in by_task(evaluations):
        most = max(task, key=lambda evaluation: evaluation.fitted_on)
        if most.fitted_on:
            share = "all" if most.fitted_on >= len(most.predictions) else f"{most.fitted_on:,}"
            found.append(
                f"{most.task} was evaluated on {share} of {_count(len(most.predictions), 'question')} that the members "
                "were fitted on: its numbers say how well they remember, not how they do on new questions."
            )
    return found + [f"{left_out} Its answers count in nothing from then on." for left_out in _left_out(evaluations)]


def _left_out(evaluations: Sequence[Evaluation]) -> list[str]:
    """A sentence a member that diverged, with the first epoch that does without it."""
    first: dict[int, Evaluation] = {}
    for evaluation in sorted(evaluations, key=lambda each: each.epoch):
        for member in evaluation.diverged:
            first.setdefault(member, evaluation)
    return [
        f"Member {member} diverged by {of.diverged[member]}, and is left out from epoch {of.epoch} on."
        for member, of in sorted(first.items())
    ]


def _glance(evaluations: Sequence[Evaluation]) -> list[dict[str, Any]]:
    lines = []
    for task in by_task(evaluations):
        first, last = task[0], task[-1]
        before = _headline(first) if len(task) > 1 else [None] * len(_headline(last))
        lines.append(
            {
                "title": last.title,
                "epochs": f"{first.epoch} → {last.epoch}" if len(task) > 1 else str(last.epoch),
                "questions": f"{len(last.predictions):,}",
                "changes": list(zip(before, _headline(last), strict=True)),
            }
        )
    return lines


def _headline(evaluation: Evaluation) -> list[str]:
    numbers = evaluation.numbers
    found = [numbers["ensemble"][key] for key in ("accuracy", "nll", "ece")]
    found += [numbers[key]["all"]["mean"] for key in ("predictive_entropy", "mutual_information")]
    return [Cell.of(interval).text for interval in found]


def _essentials(run: Run, evaluations: Sequence[Evaluation]) -> list[tuple[str, str]]:
    config, facts = run.config, run.facts
    tasks = [task[-1] for task in by_task(evaluations)]
    left_out = _left_out(evaluations)
    fitted = f" ({_count(facts['train_questions'], 'question')})" if "train_questions" in facts else ""
    versions = [f"{name} {facts[name]}" for name in ("kvorum", "torch", "transformers") if name in facts]
    return [
        ("base model", config.model),
        ("revision of the base model", str(facts.get("base_revision") or "–")[:12]),
        ("fitted on", f"{_task(run)}{fitted}"),
        (
            "evaluated on",
            "\n".join(f"{each.task} ({_count(len(each.predictions), 'question')})" for each in tasks) or "–",
        ),
        ("members", str(config.members)),
        ("members left out", "\n".join(left_out) or "none"),
        ("adapter", f"rank {config.rank}, alpha {config.alpha:g}, {', '.join(config.targets)}"),
        ("prior", config.prior if config.prior == "none" else f"{config.prior}, l2 {config.l2:g}"),
        ("fitting", f"{_count(config.epochs, 'epoch')}, batches of {config.batch_size}, learning rate {config.lr:g}"),
        ("answer format", config.answer_format),
        ("seed", str(config.seed)),
        ("versions", "\n".join(versions) or "–"),
    ]


def _settings(run: Run) -> list[tuple[str, str]]:
    facts = {name: value for name, value in run.facts.items() if name != "prompt_template"}
    found = {**_flat(run.config.as_dict()), **{f"found: {name}": value for name, value in _flat(facts).items()}}
    return [(name.replace("_", " "), value) for name, value in found.items()]


def _flat(values: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Nested mappings as one, names joined by a blank; lists and tuples as words."""
    found: dict[str, str] = {}
    for key, value in values.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            found |= _flat(value, f"{name} ")
        elif isinstance(value, list | tuple):
            found[name] = ", ".join(map(_word, value)) or "–"
        else:
            found[name] = _word(value)
    return found


def _word(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _table(key: str, title: str, hint: str, rows: Sequence[Row]) -> dict[str, Any]:
    columns = columns_of(key)
    firsts: dict[str, str] = {}
    tasks: dict[str, list[Row]] = {}
    for column in columns:
        firsts.setdefault(column.group, column.key)
    for row in rows:
        tasks.setdefault(row.task, []).append(row)
    return {
        "key": key,
        "title": title,
        "hint": hint,
        "columns": columns,
        "groups": groups_of(columns),
        "firsts": set(firsts.values()),
        "better": {column.group: column.better for column in columns},
        "tasks": [(_heading(of), of) for of in tasks.values()],
    }


def _heading(rows: Sequence[Row]) -> str:
    last = rows[-1]
    words = f"{last.task} (in domain)" if last.in_domain else last.task
    words += f": {_count(last.questions, 'question')}"
    if last.labelled != last.questions:
        words += f", {last.labelled:,} with a known answer"
    return words + (", fitted on" if last.fitted_on_itself else "")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
