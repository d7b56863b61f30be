"""The page: everything of a run in one HTML file that needs no network."""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from markupsafe import Markup

from kvorum.files import atomic
from kvorum.report.analysis import Analysis, StudyOptions, analyse
from kvorum.report.decision_grids import decided_grid, detection_grid, selective_grid
from kvorum.report.embed import embed, safe_json
from kvorum.report.figures.choose import FigureOf, draw_figures
from kvorum.report.figures.palette import DARK, LIGHT, css_variables
from kvorum.report.figures.sheet import save
from kvorum.report.findings import findings
from kvorum.report.glance import glance, lead, notices
from kvorum.report.grid import Grid
from kvorum.report.ran import essentials, settings, task_of
from kvorum.report.score_grids import gains_grid, numbers_grid, subensembles_grid
from kvorum.report.study_grids import (
    VERDICTS,
    claim_grid,
    crossed_grid,
    diversity_grid,
    movement_grid,
    outcomes_grid,
    quadrants_grid,
)
from kvorum.report.template import template, text
from kvorum.report.words import GLOSSARY, READING, SECTIONS
from kvorum.run import Run

SCRIPTS = ("questions.js", "rows.js", "page.js")
"""One script on the page, in this order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A part of the study: figures, then tables."""

    key: str
    title: str
    hint: str
    figures: Sequence[Mapping[str, Any]]
    grids: Sequence[Grid]


@dataclass(frozen=True, kw_only=True, slots=True)
class Beside:
    """What a study's page holds besides its first run: sections between what that shows and its figures."""

    sections: Markup
    contents: Sequence[tuple[str, str]]
    """Anchor and name of those that the contents list."""
    style: str


def write(run: Run, options: StudyOptions | None = None, folder: Path | None = None) -> Path:
    """Write a run's report: `index.html`, which holds everything, and its figures beside it as SVG and PNG.

    Into `report/` in the run directory, or into another folder.

    Returns the path of the page. Raises `KvorumError` for an epoch to mark that is not scored.
    """
    return write_page(analyse(run, options), folder or run.report_folder)


def write_page(analysis: Analysis, folder: Path, beside: Beside | None = None) -> Path:
    """Write the page of what is analysed already, with what a study puts beside it, into a folder."""
    analysis.compute()
    folder.mkdir(parents=True, exist_ok=True)
    figures = [(figure.section, _figure(figure, folder)) for figure in draw_figures(analysis)]
    page = folder / "index.html"
    with atomic(page) as path:
        path.write_text(_html(analysis, _sections(analysis, figures), beside), encoding="utf-8")
    return page


def _html(analysis: Analysis, sections: Sequence[Section], beside: Beside | None) -> str:
    run, evaluations, found = analysis.run, analysis.evaluations, findings(analysis)
    script = "".join(map(text, SCRIPTS))
    return template("page.html.jinja").render(
        task=task_of(run),
        model=run.config.model,
        version=metadata.version("kvorum"),
        light=css_variables(LIGHT),
        dark=css_variables(DARK),
        style=text("page.css") + (beside.style if beside else ""),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii"),
        contents=_contents(bool(evaluations), bool(found), sections, beside),
        beside=beside.sections if beside else "",
        lead=lead(run, evaluations),
        notices=notices(analysis),
        glance=glance(evaluations),
        findings=found,
        findings_words=SECTIONS["findings"],
        verdicts=VERDICTS,
        sections=sections,
        essentials=essentials(run, evaluations),
        settings=settings(run),
        template=run.facts.get("prompt_template", ""),
        glossary=GLOSSARY,
        data=[(name, safe_json(block)) for name, block in embed(analysis.tasks).items()] if evaluations else [],
    )


def _figure(figure: FigureOf, folder: Path) -> dict[str, Any]:
    return {
        "stem": figure.stem,
        "number": figure.stem.rpartition("-")[2],
        "title": figure.title,
        "note": figure.note,
        "reading": READING[figure.stem],
        "inches": f"{figure.sheet.width:.2f}",
        "svg": save(folder, figure.stem, figure.sheet),
    }


def _sections(analysis: Analysis, figures: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Section]:
    """Those for which the run has anything to show."""
    if not analysis.tasks:
        return []
    grids = {
        "scores": [numbers_grid(analysis, "scores"), subensembles_grid(analysis), gains_grid(analysis)],
        "doubt": [
            numbers_grid(analysis, "uncertainty"),
            quadrants_grid(analysis),
            numbers_grid(analysis, "ranking"),
        ],
        "retention": [
            outcomes_grid(analysis),
            crossed_grid(analysis),
            movement_grid(analysis),
            claim_grid(analysis),
        ],
        "diversity": [diversity_grid(analysis)],
        "decisions": [decided_grid(analysis), selective_grid(analysis), detection_grid(analysis)],
    }
    found = []
    for key, of in grids.items():
        title, hint = SECTIONS[key]
        drawn = [figure for section, figure in figures if section == key]
        tables = [grid for grid in of if grid is not None]
        if drawn or tables:
            found.append(Section(key=key, title=title, hint=hint, figures=drawn, grids=tables))
    return found


def _contents(scored: bool, tested: bool, sections: Sequence[Section], beside: Beside | None) -> list[tuple[str, str]]:
    found = [("glance", "At a glance")] if scored else []
    found += [("findings", SECTIONS["findings"][0])] if tested else []
    found += beside.contents if beside else []
    found += [(section.key, section.title) for section in sections]
    found += [("run", "What was run")]
    found += [("questions", "Questions")] if scored else []
    return [*found, ("words", "What the words mean")]
