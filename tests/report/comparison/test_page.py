import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from tests.report.conftest import HOSTILE_TASK, make

from kvorum.report.comparison.compare import Comparison, compare
from kvorum.report.comparison.figures import FOREST, draw_comparison_curves, draw_differences
from kvorum.report.comparison.page import comparison_contents, comparison_sections, write_comparison
from kvorum.report.comparison.tables import COMPARED, Shift, lines_of
from kvorum.report.figures.palette import LIGHT, RUNS

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
TASKS = {
    "facts_capitals": {"questions": 40},
    HOSTILE_TASK: {"questions": 12, "skill": 0.1, "unknown": 1, "trained_on": 4},
}
NAMES = ("base", "<b>&\"$x$'", "_third")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    folder = tmp_path_factory.mktemp("compared")
    other = {task: {**settings, "spread": 1.5} for task, settings in TASKS.items()}
    runs = [
        make(folder / name, tasks, epochs=range(epochs))
        for name, tasks, epochs in (("a", TASKS, 3), ("b", other, 3), ("c", TASKS, 2))
    ]
    runs[1].config = replace(runs[1].config, prior="none")
    runs[2].facts["prompt_template"] = "<script>window.hacked = 1</script>"
    return compare(runs, names=NAMES)


@pytest.fixture(scope="module")
def page(comparison: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_comparison(comparison, tmp_path_factory.mktemp("page") / "comparison")


class Elements(HTMLParser):
    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def html(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_the_page_and_its_figures_lie_in_the_folder(page):
    figures = {f"comparison-{number}.{kind}" for number in (1, 2) for kind in ("svg", "png")}
    assert {file.name for file in page.parent.iterdir()} == {"index.html"} | figures


def test_no_script_no_network_and_hostile_names_stay_text(html):
    tags = Elements(html).tags
    assert not {tag for tag, _ in tags} & {"script", "b", "link", "img", "iframe", "object", "form"}
    assert not [name for _, of in tags for name in of if name.startswith("on")]
    assert "&lt;script&gt;window.hacked" in html
    (policy,) = [of["content"] for _, of in tags if of.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; base-uri")
    for _, of in tags:
        for name in ("href", "xlink:href"):
            assert re.fullmatch(r"#[\w.-]+|comparison-\d\.(svg|png)", of.get(name, "#x"))


def test_every_number_and_difference_is_on_the_page(comparison, html):
    lines = [line for task in comparison.tasks for line in lines_of(comparison, task.moments)]
    assert len(lines) == (3 * 2 + 2 * 3) * len(comparison.tasks)  # two shared epochs, best and last; three runs
    for line in lines:
        for cell, shift in line.cells:
            assert f">{cell.text.replace('<', '&lt;')}<" in html
            assert cell.interval.replace("<", "&lt;") in html
            if shift is not None:
                assert f">{shift.text}</span>" in html
                assert shift.interval in html


def test_what_differs_and_the_notes_are_said(comparison, html):
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', html[: html.index('comparison-figures">\n<h2')])
    assert rows[0] == ("prior", "<td>product</td><td>none</td><td>product</td>")
    assert "epochs" in [name for name, _ in rows]
    assert len(comparison.notes) == 4  # an epoch that one run lacks, and what each of the three was fitted on
    assert html.count('class="notice"') == len(comparison.notes)


def test_a_page_can_hold_several(comparison, tmp_path):
    first = comparison_sections(comparison, tmp_path, stem="priors", heading="Priors")
    second = comparison_sections(comparison, tmp_path, stem="ranks")
    assert {file.name for file in tmp_path.iterdir()} == {
        f"{stem}-{number}.{kind}" for stem in ("priors", "ranks") for number in (1, 2) for kind in ("svg", "png")
    }
    identifiers = [of["id"] for _, of in Elements(first + second).tags if "id" in of]
    assert len(identifiers) == len(set(identifiers))
    assert "<h2>Priors: What differs</h2>" in first
    for stem in ("priors", "ranks"):
        assert {anchor for anchor, _ in comparison_contents(stem=stem)} <= set(identifiers)


def test_the_same_comparison_gives_the_same_page(comparison, page, tmp_path):
    assert write_comparison(comparison, tmp_path).read_bytes() == page.read_bytes()


@pytest.mark.parametrize(
    ("interval", "better", "verdict", "text", "words"),
    [
        ((0.0526, 0.039, 0.0676), "lower", "worse", "+0.0526", "+0.0390 to +0.0676"),
        ((-0.124, -0.2, -0.01), "lower", "better", "−0.124", "−0.200 to −0.010"),
        ((0.2, 0.1, 0.3), "", "differs", "+0.200", "+0.100 to +0.300"),
        ((-0.01, -0.02, 0.0), "higher", "", "−0.0100", "−0.0200 to 0.0000"),
        ((2e-16, 1e-16, 3e-16), "lower", "", "0.000", "0.000 to 0.000"),
        ((None, None, None), "higher", "", "–", ""),
    ],
)
def test_a_difference_in_words(interval, better, verdict, text, words):
    shift = Shift.of(dict(zip(("value", "low", "high"), interval, strict=True)), better)
    assert (shift.verdict, shift.text, shift.interval) == (verdict, text, words)
    assert shift.beyond == bool(verdict)


def test_curves_hold_every_run_at_all_its_epochs(comparison):
    axes = draw_comparison_curves(comparison).figure.axes
    assert len(axes) == 4 * len(comparison.tasks)
    nll = axes[1]
    for place, side in enumerate(("a", "b", "c")):
        (container,) = [each for each in nll.containers if each.lines[0].get_gid() == f"run-{place}"]
        line = container.lines[0]
        expected = [standing.numbers["nll"]["value"] for standing in comparison.tasks[0].curve(place)]
        assert np.allclose(line.get_ydata(), expected)
        assert len(expected) == (2 if side == "c" else 3)
        assert line.get_color() == LIGHT[RUNS[place]]


def test_differences_beyond_their_interval_are_drawn_strongly(comparison):
    axes = draw_differences(comparison).figure.axes
    assert len(axes) == len(FOREST) * len(comparison.tasks)
    better = {column.key: column.better for column in COMPARED}
    seen = set()
    for task, row in zip(comparison.tasks, np.array(axes).reshape(-1, len(FOREST)), strict=True):
        for key, panel in zip(FOREST, row, strict=True):
            marks = [line for line in panel.get_lines() if (line.get_gid() or "").startswith(("beyond", "within"))]
            shifts = [
                Shift.of(standing.difference[key], better[key])
                for moment in task.ends
                for standing in moment.standings[1:]
            ]
            shifts = [shift for shift in shifts if shift.value is not None]
            assert [line.get_xdata()[0] for line in marks] == pytest.approx([shift.value for shift in shifts])
            assert [line.get_gid().startswith("beyond") for line in marks] == [shift.beyond for shift in shifts]
            assert panel.get_xlim()[0] < 0 < panel.get_xlim()[1]
            assert 0 in panel.get_xticks()
            seen |= {shift.beyond for shift in shifts}
    assert seen == {True, False}


def test_a_ninth_run_still_has_a_line_of_its_own(comparison):
    many = replace(
        comparison,
        runs=comparison.runs * 3,
        tasks=tuple(
            replace(
                task,
                in_domain=task.in_domain * 3,
                others=task.others * 3,
                moments=tuple(replace(moment, standings=moment.standings * 3) for moment in task.moments),
            )
            for task in comparison.tasks
        ),
    )
    containers = draw_comparison_curves(many).figure.axes[0].containers
    looks = [(each.lines[0].get_color(), each.lines[0].get_linestyle()) for each in containers]
    assert len(set(looks)) == 9


def test_computing_a_comparison_needs_neither_torch_nor_matplotlib():
    code = (
        "import sys; import kvorum.report.comparison.compare, kvorum.terminal_comparison; "
        "print([name for name in ('torch', 'transformers', 'matplotlib', 'sklearn', 'scipy') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [360, 1280])
def test_it_opens_in_a_browser_without_a_script(page, width):
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    problems: list[str] = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page()
        tab.set_viewport_size({"width": width, "height": 800})
        tab.on("console", lambda message: problems.append(message.text))
        tab.on("pageerror", lambda error: problems.append(str(error)))
        tab.on("request", lambda request: problems.append(request.url) if request.url != page.as_uri() else None)
        tab.goto(page.as_uri())
        for details in tab.locator("details").all():
            assert not details.locator("table").is_visible()
            details.locator("summary").click()
            assert details.locator("table").is_visible()
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        assert tab.evaluate("window.hacked") is None
        colours = []
        for scheme in ("light", "dark"):
            tab.emulate_media(color_scheme=scheme)
            text = tab.locator("#comparison-1 svg text").first
            colours.append(text.evaluate("element => getComputedStyle(element).fill"))
        assert colours[0] != colours[1]
        browser.close()
    assert problems == []
