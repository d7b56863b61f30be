"""The page of a comparison, and its sections alone for a page that holds more."""

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from markupsafe import Markup

from kvorum.files import atomic
from kvorum.report.comparison.compare import Comparison
from kvorum.report.comparison.figures import draw_comparison_curves, draw_differences
from kvorum.report.comparison.tables import COMPARED, against, heading_of, lines_of, setting_in_words
from kvorum.report.comparison.words import FIGURES, READING
from kvorum.report.figures.palette import DARK, LIGHT, css_variables
from kvorum.report.figures.sheet import save
from kvorum.report.template import template, text


def write_comparison(comparison: Comparison, folder: str | Path) -> Path:
    """Write `index.html`, which holds everything and runs no script, and its figures beside it as SVG and PNG.

    Returns the path of the page.
    """
    folder = Path(folder)
    sections = comparison_sections(comparison, folder)
    page = folder / "index.html"
    html = template("comparison.html.jinja").render(
        names=comparison.names,
        title=against(comparison),
        lead=_lead(comparison),
        contents=comparison_contents(),
        sections=sections,
        style=text("page.css") + comparison_style(),
        light=css_variables(LIGHT),
        dark=css_variables(DARK),
        version=metadata.version("kvorum"),
    )
    with atomic(page) as path:
        path.write_text(html, encoding="utf-8")
    return page


def comparison_sections(
    comparison: Comparison, folder: str | Path, *, stem: str = "comparison", heading: str = "", reading: bool = True
) -> Markup:
    """The sections of the page alone: `<section>` elements whose ids begin with `stem`.

    Writes their figures into the folder as `STEM-1` and `STEM-2`. `heading`, where given, stands before each section's
    own, for a page with more than one comparison; without `reading`, how to read it is left to another of them. The
    page that takes them in needs `comparison_style` besides its own.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    sheets = {1: draw_comparison_curves(comparison), 2: draw_differences(comparison)}
    figures = [
        {
            "stem": f"{stem}-{number}",
            "title": FIGURES[number][0],
            "reading": FIGURES[number][1:],
            "inches": f"{sheet.width:.2f}",
            "svg": Markup(save(folder, f"{stem}-{number}", sheet)),
        }
        for number, sheet in sheets.items()
    ]
    return Markup(
        template("comparison_sections.html.jinja").render(
            stem=stem,
            heading=f"{heading}: " if heading else "",
            names=comparison.names,
            runs=comparison.runs,
            settings=[(setting, setting_in_words(setting)) for setting in comparison.settings],
            notes=comparison.notes,
            figures=figures,
            columns=COMPARED,
            tasks=_tasks(comparison),
            reading=READING if reading else (),
        )
    )


def comparison_contents(stem: str = "comparison") -> list[tuple[str, str]]:
    """Anchor and name of each section, for a page's contents."""
    return [
        (f"{stem}-runs", "What differs"),
        (f"{stem}-figures", "Figures"),
        (f"{stem}-numbers", "Numbers"),
        (f"{stem}-reading", "How to read it"),
    ]


def comparison_style() -> str:
    """What the sections need beside page.css."""
    return text("comparison.css")


def _lead(comparison: Comparison) -> str:
    tasks = [f"{task.task} ({task.questions:,})" for task in comparison.tasks]
    return (
        f"{len(comparison.runs)} runs on the same questions of {', '.join(tasks)}. Differences are to "
        f"{comparison.names[0]}, question by question."
    )


def _tasks(comparison: Comparison) -> list[Mapping[str, Any]]:
    return [
        {
            "heading": heading_of(comparison, task),
            "ends": lines_of(comparison, task.ends),
            "epochs": lines_of(comparison, task.epochs),
        }
        for task in comparison.tasks
    ]
