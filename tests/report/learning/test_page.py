"""The page and figures of an experiment: what they hold, what they escape, how they look in a real browser."""

import dataclasses
import re
import shutil
from collections.abc import Iterator
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvorum.active.records import Learned
from kvorum.files import sha256
from kvorum.predictions import Predictions
from kvorum.report import write_learning
from kvorum.report.figures.palette import LIGHT, RUNS
from kvorum.report.learning.analyse import Learning, analyse
from kvorum.report.learning.choice_figure import draw_chosen
from kvorum.report.learning.estimate import Estimate
from kvorum.report.learning.figures import draw_differences, draw_doubt, draw_learning_curves
from kvorum.report.learning.numbers import basis, labels, needed_by_mean, number, shift, times
from kvorum.report.learning.verdicts import notes, verdicts

from .conftest import HOSTILE_PART, HOSTILE_SUBJECT, make, realistic

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FIGURES = {f"learning-{place}.{kind}" for place in (1, 2, 3, 4) for kind in ("svg", "png")}


class Elements(HTMLParser):
    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module")
def learning(experiment: Learned) -> Learning:
    return analyse(experiment)


@pytest.fixture(scope="module")
def page(experiment: Learned) -> Path:
    return write_learning(experiment)


@pytest.fixture(scope="module")
def html(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def rows_of(html: str, key: str) -> list[list[str]]:
    """The cells of a table's rows, headings first; what is under a number stands after a bar."""
    table = html[html.index(f'id="table-{key}"') :].partition("</table>")[0]
    rows = []
    for row in re.findall(r"<tr[^>]*>(.*?)</tr>", table.split("</thead>")[1], flags=re.DOTALL):
        cells = re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, flags=re.DOTALL)
        rows.append([unescape(re.sub(r"<[^>]+>", "", cell.replace("<small>", "|"))) for cell in cells])
    return rows


def of(estimate: Estimate) -> str:
    within = basis(estimate)
    return number(estimate.value) + (f"|{within}" if within else "")


def beside(estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    said = shift(estimate)
    return said.text + (f"|{said.basis}" if said.basis else "")


def test_the_page_and_its_figures_lie_in_the_report_of_the_experiment(experiment, page):
    assert page == experiment.path / "report" / "index.html"
    assert {file.name for file in page.parent.iterdir()} == {"index.html"} | FIGURES


def test_the_same_experiment_gives_the_same_page(experiment, page, tmp_path):
    assert write_learning(experiment, tmp_path / "elsewhere").read_bytes() == page.read_bytes()


def test_no_script_no_network_and_hostile_names_stay_text(html):
    tags = Elements(html).tags
    assert not {tag for tag, _ in tags} & {"script", "b", "link", "img", "iframe", "object", "form"}
    assert not [name for _, attributes in tags for name in attributes if name.startswith("on")]
    assert "&lt;script&gt;window.hacked" in html
    assert "&lt;b onclick=x&gt;" in html
    assert HOSTILE_PART not in html
    assert HOSTILE_SUBJECT in [row[0] for row in rows_of(html, "subjects")]
    (policy,) = [of["content"] for _, of in tags if of.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; base-uri")
    identifiers = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(identifiers) == len(set(identifiers))
    for _, attributes in tags:
        for name in ("href", "xlink:href"):
            target = attributes.get(name)
            assert target is None or re.fullmatch(r"#[\w.-]+|learning-\d\.(svg|png)", target)
            assert target is None or not target.startswith("#") or target[1:] in identifiers


def test_every_area_that_is_filled_with_a_pattern_has_it(html):
    wanted = set(re.findall(r"url\(#([\w.-]+)\)", html))
    assert any(name.startswith("learning-3") for name in wanted)
    assert wanted <= {attributes.get("id") for _, attributes in Elements(html).tags}


def test_the_end_and_every_round_are_those_of_the_analysis(learning, html):
    ends, rounds = iter(rows_of(html, "ends")), iter(rows_of(html, "rounds"))
    for place, test in enumerate(learning.tests):
        assert next(ends) == [f"{test.task}: 200 questions"]
        for function in learning.functions:
            curve = function.curves[place]
            last = curve.points[-1]
            scores = [of(last.accuracy), of(last.nll), beside(last.accuracy_difference), beside(last.nll_difference)]
            areas = [beside(curve.accuracy_area), beside(curve.nll_area)]
            assert next(ends) == [function.name, f"{function.labels:,}", *scores, *areas]
            assert next(rounds) == [f"{function.name} on {test.task}"]
            for point in curve.points:
                scores = [of(point.accuracy), of(point.nll)]
                differences = [beside(point.accuracy_difference), beside(point.nll_difference)]
                assert next(rounds) == [str(point.labels), *scores, *differences]
    assert next(ends, None) is next(rounds, None) is None


def test_the_labels_needed_are_those_of_the_analysis(learning, html):
    rows = rows_of(html, "needs")[1:]
    seen = set()
    for function, row in zip(learning.functions, rows, strict=True):
        assert row[0] == function.name
        for place, need in enumerate(function.needs):
            median, by_mean, ratio = (cell.split("|") for cell in row[1 + 3 * place : 4 + 3 * place])
            known = need.median is not None
            assert median[0] == (labels(need.median) if known else f"> {need.within}")
            if need.reached < learning.seeds and need.reached:
                assert median[1].endswith(f"{need.reached} of 3 reach it")
            assert by_mean[0] == needed_by_mean(need)
            assert by_mean[0].lstrip("≤ ") == ("> 180" if need.by_mean is None else labels(need.by_mean))
            assert ratio[0] == ("–" if need.ratio is None else f"{times(need.ratio.value)} ×")
            if need.ratio is not None and need.ratio.low is not None:
                assert ratio[1].startswith(f"{times(need.ratio.low)} to {times(need.ratio.high)}")
            seen.add((known, need.ratio is not None, need.reached))
    assert {(True, True, 3), (False, False, 0)} <= seen


def test_what_was_chosen_and_doubt_are_those_of_the_analysis(learning, html):
    for function, row in zip(learning.functions, rows_of(html, "chosen")[1:], strict=True):
        chosen = function.chosen
        expected = [function.name, "480", *(of(part.share) for part in chosen.parts), of(chosen.noise)]
        expected.append(f"{number(chosen.repeats_share.value)}|{chosen.repeats} in all")
        for doubt in (chosen.entropy, chosen.mutual_information):
            expected += [of(doubt.chosen), beside(doubt.difference)]
        assert row == expected
    rows = iter(rows_of(html, "doubt"))
    for function in learning.functions:
        assert next(rows) == [function.name]
        for curve in function.doubt:
            _, *cells = next(rows)
            expected = []
            for key in ("mutual_information", "entropy"):
                trend = getattr(curve, key)
                ends = [of(getattr(curve.points[place], key)) for place in (0, -1)]
                expected += [*ends, beside(trend.slope), trend.verdict]
            assert cells == expected
    shared = {frozenset((each.first, each.second)): of(each.jaccard) for each in learning.overlaps}
    names = [function.name for function in learning.functions]
    for row in rows_of(html, "overlaps")[1:]:
        assert row[1:] == ["–" if name == row[0] else shared[frozenset((row[0], name))] for name in names]


def test_the_lead_says_what_was_done(html):
    lead = unescape(re.search(r'class="lead">(.*?)</p>', html)[1])
    # After the start 240, 140 and 110 are left; two questions of the first part were drawn for it.
    assert f"facts_capitals (242 questions), facts_elements (140 questions) and {HOSTILE_PART} (110 questions" in lead
    assert f"{HOSTILE_PART} (110 questions, noise)" in lead
    for words in ("2 members on smollm2-135m", "20 questions drawn by lot", "8 rounds", "3 seeds", "(200 questions)"):
        assert words in lead


def test_verdicts_and_notes_are_on_the_page(learning, html):
    said = unescape(html)
    for verdict in verdicts(learning):
        assert f">{verdict.standing}</span>" in said
        for sentence in verdict.sentences:
            assert f"<p>{sentence}</p>" in said
    for note in notes(learning):
        assert f"<li>{note}</li>" in said
    standings = [verdict.standing for verdict in verdicts(learning)]
    assert standings == ["baseline", "worse", "better", "better", "cannot be told apart"]


def test_figures_hold_the_numbers_of_the_analysis(learning):
    axes = draw_learning_curves(learning).figure.axes
    assert len(axes) == 2 * len(learning.tests)
    looks = set()
    for panel, key in zip(axes, ["accuracy", "nll"] * 2, strict=True):
        lines = {line.get_gid(): line for line in panel.get_lines()}
        for place, function in enumerate(learning.functions):
            line = lines[f"function-{place}"]
            points = function.curves[0].points
            assert list(line.get_xdata()) == [point.labels for point in points]
            assert list(line.get_ydata()) == [getattr(point, key).value for point in points]
            assert line.get_color() == LIGHT[RUNS[place]]
            looks.add((line.get_color(), line.get_marker()))
    assert len(looks) == len({marker for _, marker in looks}) == len(learning.functions)
    panels = draw_differences(learning).figure.axes
    assert len(panels) == 2 * 2 * len(learning.others)
    for panel, function in zip(panels[: len(learning.others)], learning.others, strict=True):
        (line,) = [line for line in panel.get_lines() if line.get_gid() == "difference"]
        points = function.curves[0].points
        assert list(line.get_ydata()) == [point.accuracy_difference.value for point in points]
        assert len([line for line in panel.get_lines() if line.get_gid() == "seed"]) == 3
    panel = draw_doubt(learning).figure.axes[0]
    (line,) = [line for line in panel.get_lines() if line.get_gid() == "function-2"]
    points = learning.functions[2].doubt[0].points
    assert list(line.get_ydata()) == [point.mutual_information.value for point in points]
    panel = draw_chosen(learning).figure.axes[1]
    bars = {place: [bar for bar in panel.patches if bar.get_gid() == f"part-{place}"] for place in range(3)}
    rounds = learning.functions[1].chosen.rounds
    for place, of_part in bars.items():
        assert [bar.get_height() for bar in of_part] == pytest.approx([each.shares[place] for each in rounds])
    assert all(bar.get_hatch() and bar.get_y() == 0 for bar in bars[2])
    assert not any(bar.get_hatch() for bar in bars[0])
    (line,) = [line for line in panel.get_lines() if line.get_gid() == "noise"]
    assert line.get_ydata()[0] == pytest.approx(learning.parts[2].share)


@pytest.mark.parametrize(
    "config",
    [
        {"seeds": [3], "rounds": 2},
        {"done": {name: 0 for name in ("random", "entropy")}, "acquisitions": ["random", "entropy"], "seeds": [0, 1]},
        {"acquisitions": ["entropy", "k_centre"], "rounds": 1, "seeds": [0, 1]},
        {"done": {"entropy": 0, "random": 2}, "acquisitions": ["random", "entropy"], "rounds": 2, "seeds": [0, 1]},
    ],
    ids=["one seed", "the start only", "no random", "one function at the start"],
)
def test_a_page_of_any_prefix(tmp_path, config):
    learned = realistic(tmp_path / "experiment", **config)
    html = write_learning(learned).read_text(encoding="utf-8")
    assert "nan" not in re.findall(r">(nan|None|inf)<", html)
    written = {file.stem for file in (learned.path / "report").iterdir()} - {"index"}
    compared = "random" in learned.config.acquisitions and learned.rounds("entropy") > 1
    chosen = any(learned.rounds(name) > 1 for name in learned.config.acquisitions)
    expected = {"learning-1", "learning-4"} | ({"learning-2"} if compared else set())
    assert written == expected | ({"learning-3"} if chosen else set())
    assert ('id="table-needs"' in html) == ("random" in learned.config.acquisitions and learned.rounds("random") > 1)
    assert ("minus random" in html) == ("random" in learned.config.acquisitions)


def test_a_test_task_without_known_answers_has_no_score(tmp_path):
    learned = make(tmp_path / "a", lambda name, number, seed: 0.5, rounds=1)
    for file in learned.path.rglob("*-test-*.parquet"):
        found = Predictions.load(file)
        dataclasses.replace(found, answers=np.full(len(found), -1)).save(file)
        record = file.parent / f"{file.name.split('-test-')[0]}.json"
        record.write_text(re.sub(r'(parquet": ")[0-9a-f]{64}', rf"\g<1>{sha256(file)}", record.read_text()))
    found = analyse(learned)
    assert found.functions[1].curves[0].accuracy_area.value is None
    assert found.tests[0].known == 0
    html = write_learning(learned).read_text(encoding="utf-8")
    assert "No right answer on facts_capitals is known, so" in unescape(html)
    assert "does not rise" not in html
    assert "no known answers" in html
    assert rows_of(html, "ends")[1][1:3] == ["40", "–"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


# What reaches beyond its own box, unless some box around it scrolls; and texts whose boxes lie upon each other.
CUT = """() => [...document.querySelectorAll('p, li, h1, h2, h3, th, td, dt, dd, summary, a, span, small')]
  .filter(node => node.checkVisibility() && !node.closest('svg') && !node.matches('.hidden, .skip'))
  .filter(node => {
    const box = node.getBoundingClientRect();
    const clipped = node.closest('thead') && getComputedStyle(node.closest('thead')).position === 'absolute';
    const scrolls = node.closest('.scroll');
    const beyond = !scrolls && (box.right > innerWidth + 0.5 || box.left < -0.5);
    const own = getComputedStyle(node).display !== 'inline' && node.scrollWidth > node.clientWidth + 1;
    return !clipped && (beyond || own);
  }).map(node => node.tagName + ': ' + node.textContent.slice(0, 60))"""
OVERLAPPING = """() => {
  const found = [];
  for (const row of document.querySelectorAll('.numbers tr')) {
    const cells = [...row.children].filter(cell => cell.checkVisibility());
    const texts = cells.map(cell => { const range = document.createRange(); range.selectNodeContents(cell);
      return range.getBoundingClientRect(); });
    texts.forEach((one, place) => { const next = texts[place + 1];
      if (!cells[0].closest('.scroll').scrollLeft && next && next.width && one.width && one.right > next.left + 0.5)
        found.push(cells[place].textContent + ' / ' + cells[place + 1].textContent); });
  }
  for (const svg of document.querySelectorAll('svg')) {
    const texts = [...svg.querySelectorAll('text')].map(node => [node, node.getBoundingClientRect()]);
    const frame = svg.getBoundingClientRect();
    for (const [node, box] of texts) {
      if (box.right > frame.right + 1 || box.left < frame.left - 1 || box.bottom > frame.bottom + 1)
        found.push('beyond the figure: ' + node.textContent);
      for (const [other, beside] of texts)
        if (node !== other && box.left < beside.right - 1 && beside.left < box.right - 1
            && box.top < beside.bottom - 2 && beside.top < box.bottom - 2)
          found.push(node.textContent + ' / ' + other.textContent);
    }
  }
  return found;
}"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("width", [360, 1280])
def test_it_opens_in_a_browser_whole_and_without_a_script(browser, page, width):
    problems: list[str] = []
    tab = browser.new_page(viewport={"width": width, "height": 800})
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("request", lambda request: problems.append(request.url) if request.url != page.as_uri() else None)
    tab.goto(page.as_uri())
    for details in tab.locator("details").all():
        details.locator("summary").click()
        assert details.locator("table, dl").first.is_visible()
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate(CUT) == []
    assert tab.evaluate(OVERLAPPING) == []
    assert tab.evaluate("window.hacked") is None
    colours = []
    for scheme in ("light", "dark"):
        tab.emulate_media(color_scheme=scheme)
        for figure in range(1, 5):
            text = tab.locator(f"#learning-{figure} svg text").first
            colours.append(text.evaluate("element => getComputedStyle(element).fill"))
    assert not set(colours[:4]) & set(colours[4:])
    # Nothing on the page has a colour of its own that does not follow the theme.
    assert not re.findall(r"(?:fill|stroke): ?#[0-9a-f]{6}", page.read_text(encoding="utf-8"))
    tab.close()
    assert problems == []
