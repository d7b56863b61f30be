"""The page of a study: its first run in full, and its comparisons."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from kvorum.config import StudyOptions
from kvorum.report.analysis import analyse
from kvorum.report.comparison.compare import compare, members_to_compare
from kvorum.report.comparison.page import comparison_sections, comparison_style
from kvorum.report.comparison.settings import differing_settings
from kvorum.report.comparison.tables import setting_in_words
from kvorum.report.page import Beside, write_page
from kvorum.report.template import template
from kvorum.run import Run


def write(
    runs: Mapping[str, Run],
    folder: Path,
    *,
    comparisons: Sequence[Sequence[str]] = (),
    options: StudyOptions | None = None,
) -> Path:
    """Write `index.html` with figures beside it; it links to each run's own page."""
    first, *_ = runs.values()
    sections = [_runs_section(runs)]
    contents = [("runs", "The study")]
    for number, names in enumerate(comparisons, start=1):
        stem = f"comparison-{number}"
        title = f"{' and '.join(names[1:])} against {names[0]}"
        chosen = [runs[name] for name in names]
        comparison = compare(chosen, members=members_to_compare(chosen), names=names)
        # What holds for all of them is said once, after the last.
        last = number == len(comparisons)
        sections.append(comparison_sections(comparison, folder, stem=stem, heading=title, reading=last))
        contents.append((f"{stem}-figures", title))
    beside = Beside(sections=Markup("\n").join(sections), contents=contents, style=comparison_style())
    return write_page(analyse(first, options), folder, beside)


def _runs_section(runs: Mapping[str, Run]) -> Markup:
    differing = differing_settings(list(runs.values()))
    lines: list[dict[str, Any]] = []
    for place, (name, run) in enumerate(runs.items()):
        own = [f"{setting.name.replace('_', ' ')} {setting_in_words(setting)[place]}" for setting in differing]
        lines.append({"name": name, "link": f"../{quote(run.path.name)}/report/index.html", "own": own})
    return Markup(template("study_runs.html.jinja").render(lines=lines, first=next(iter(runs))))
