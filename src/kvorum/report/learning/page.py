"""The page of an experiment in active learning, and its figures beside it."""

from importlib import metadata
from pathlib import Path
from typing import Any

from markupsafe import Markup

from kvorum.active.records import Learned
from kvorum.files import atomic
from kvorum.report.figures.palette import DARK, LIGHT, css_variables
from kvorum.report.figures.sheet import Sheet, save
from kvorum.report.learning.analyse import Learning, analyse
from kvorum.report.learning.choice_figure import draw_chosen
from kvorum.report.learning.choice_tables import chosen_grid, overlaps_grid, subjects_grid
from kvorum.report.learning.figures import draw_differences, draw_doubt, draw_learning_curves
from kvorum.report.learning.tables import doubt_grid, ends_grid, needs_grid, rounds_grid
from kvorum.report.learning.told import essentials, lead, settings
from kvorum.report.learning.verdicts import notes, verdicts
from kvorum.report.learning.words import FIGURES, READING
from kvorum.report.template import template, text

BADGES = {
    "better": "seen",
    "worse": "unseen",
    "cannot be told apart": "partly",
    "too few seeds": "untested",
    "baseline": "untested",
    "not compared": "untested",
}
"""Class that colours each standing."""


def write_learning(learned: Learned, folder: Path | None = None) -> Path:
    """Write `index.html`, which holds everything and runs no script, and its figures beside it as SVG and PNG.

    Into `report/` of the experiment, or into another folder; of an experiment that is not done, what is done of it.
    Returns the path of the page. Raises `KvorumError` for damaged files, and where no round is done.
    """
    learning = analyse(learned)
    folder = learned.path / "report" if folder is None else Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    html = template("learning.html.jinja").render(
        name=learned.path.resolve().name,
        lead=lead(learning),
        notes=notes(learning),
        verdicts=verdicts(learning),
        badges=BADGES,
        sections=_sections(learning, folder),
        essentials=essentials(learning),
        settings=settings(learning),
        reading=READING,
        style=text("page.css") + text("learning.css"),
        light=css_variables(LIGHT),
        dark=css_variables(DARK),
        version=metadata.version("kvorum"),
    )
    page = folder / "index.html"
    with atomic(page) as path:
        path.write_text(html, encoding="utf-8")
    return page


def _sections(learning: Learning, folder: Path) -> list[dict[str, Any]]:
    """Those that there is something to show in."""
    scores = {"learning-1": draw_learning_curves(learning), "learning-2": draw_differences(learning)}
    return [
        {
            "key": "scores",
            "title": "How fast they learn",
            "figures": _figures(scores, folder),
            "grids": _present(needs_grid(learning), ends_grid(learning)),
            "folded": [rounds_grid(learning)],
        },
        {
            "key": "chosen",
            "title": "What they choose",
            "figures": _figures({"learning-3": draw_chosen(learning)}, folder),
            "grids": _present(chosen_grid(learning), overlaps_grid(learning)),
            "folded": _present(subjects_grid(learning)),
        },
        {
            "key": "doubt",
            "title": "Whether doubt falls",
            "figures": _figures({"learning-4": draw_doubt(learning)}, folder),
            "grids": [doubt_grid(learning)],
            "folded": [],
        },
    ]


def _figures(sheets: dict[str, Sheet | None], folder: Path) -> list[dict[str, Any]]:
    return [
        {
            "stem": stem,
            "title": FIGURES[stem][0],
            "reading": FIGURES[stem][1:],
            "inches": f"{sheet.width:.2f}",
            "svg": Markup(save(folder, stem, sheet)),
        }
        for stem, sheet in sheets.items()
        if sheet is not None
    ]


def _present(*grids: Any) -> list[Any]:
    return [grid for grid in grids if grid is not None]
