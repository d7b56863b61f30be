"""The page in a real browser: what its script does with the questions."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvorum.report import write

from .conftest import HOSTILE, HOSTILE_TASK

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@pytest.fixture
def opened(browser, page: Path) -> Iterator[Any]:
    """The page, open; at the end nothing may have failed, been blocked, or been fetched."""
    tab = browser.new_page(viewport={"width": 1280, "height": 900})
    problems: list[str] = []
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("request", lambda request: problems.append(request.url) if request.url != page.as_uri() else None)
    tab.goto(page.as_uri())
    yield tab
    assert tab.evaluate("window.hacked") is None
    assert problems == []
    tab.close()


def shown(tab, cell: str) -> list[str]:
    return tab.locator(f"#rows > .row {cell}").all_text_contents()


def questions(tab) -> list[str]:
    return shown(tab, ".text .clamp")


def numbers(tab, name: str) -> list[float]:
    return [float(text.replace("<", "")) for text in shown(tab, f'[data-name="{name}"]')]


def test_it_starts_with_the_most_disputed_question_of_the_task_fitted_on(run, opened):
    predictions = run.predictions(3, "facts_capitals")
    order = np.argsort(-predictions.mutual_information)
    assert questions(opened)[0] == predictions.questions[order[0]]
    assert len(questions(opened)) == 50
    assert opened.inner_text("#count") == "1–50 of 80 found among 80 questions"


@pytest.mark.parametrize(
    ("key", "measure"),
    [
        ("entropy", "predictive_entropy"),
        ("expected", "expected_entropy"),
        ("information", "mutual_information"),
    ],
)
def test_sorting_by_a_heading(run, opened, key, measure):
    values = getattr(run.predictions(3, "facts_capitals"), measure)
    predictions = run.predictions(3, "facts_capitals")
    heading = opened.locator(f'#table th[data-sort="{key}"] button')
    if key != "information":
        heading.click()
    assert opened.get_attribute(f'#table th[data-sort="{key}"]', "aria-sort") == "descending"
    assert questions(opened)[0] == predictions.questions[int(values.argmax())]
    found = numbers(opened, measure.replace("_", " "))
    assert np.allclose(found, np.sort(values)[::-1][:50], atol=1e-3)
    heading.click()
    assert opened.get_attribute(f'#table th[data-sort="{key}"]', "aria-sort") == "ascending"
    assert np.allclose(numbers(opened, measure.replace("_", " ")), np.sort(values)[:50], atol=1e-3)


def test_sorting_by_confidence_from_the_list(run, opened):
    opened.select_option("#pick-sort", "confidence")
    confidence = run.predictions(3, "facts_capitals").mean.max(axis=1)
    assert np.allclose(numbers(opened, "confidence"), np.sort(confidence)[::-1][:50], atol=1e-3)
    opened.click("#pick-direction")
    assert np.allclose(numbers(opened, "confidence"), np.sort(confidence)[:50], atol=1e-3)


def test_search_finds_words_anywhere_without_regard_to_case_and_accents(run, opened):
    opened.fill("#search", "MOUNTAINS 4")
    expected = [text for text in run.predictions(3, "facts_capitals").questions if "mountains" in text and "4" in text]
    ids = [f"facts_capitals/{row}" for row in range(80) if row % 3 == 0 and "4" in str(row)]
    assert len(ids) >= len(expected) > 0
    found = questions(opened)
    assert set(expected) <= set(found)
    assert all("mountains" in text for text in found)
    opened.fill("#search", "ubergroße")
    assert questions(opened)[0].startswith("<script>window.hacked = 1</script>")
    opened.fill("#search", "choice a77")
    assert "number 77" in questions(opened)[0]
    opened.fill("#search", "geography 77")
    assert len(questions(opened)) == 1
    opened.fill("#search", "nowhere to be found")
    assert questions(opened) == []
    assert opened.inner_text("#count") == "No question of 80 fits."


def test_right_and_wrong_and_disputed(run, opened):
    predictions = run.predictions(3, "facts_elements")
    opened.select_option("#pick-task", "1")
    votes = predictions.probs.argmax(axis=2)
    for kind, chosen in (
        ("right", predictions.correct),
        ("wrong", ~predictions.correct),
        ("split", (votes != votes[0]).any(axis=0)),
    ):
        opened.select_option("#pick-show", kind)
        total = int(chosen.sum())
        assert f"of {total} found among 60 questions" in opened.inner_text("#count")
        expected = {predictions.ids[row] for row in np.flatnonzero(chosen)}
        assert {text.split(" · ")[-1] for text in shown(opened, ".meta")} <= expected


def test_a_row_opens_to_its_choices_and_members(run, opened):
    predictions, before = run.predictions(2, "facts_elements"), run.predictions(0, "facts_elements")
    opened.select_option("#pick-task", "1")
    opened.select_option("#pick-epoch", "2")
    opened.fill("#search", "facts_elements/17")
    assert len(questions(opened)) == 1
    votes = [text.strip() for text in opened.locator("#rows .vote").all_inner_texts()]
    assert votes == ["abcde"[vote] for vote in predictions.probs[:, 17].argmax(axis=1)]
    good = opened.locator("#rows .vote.good").count()
    assert good == int((predictions.probs[:, 17].argmax(axis=1) == predictions.answers[17]).sum())
    opened.locator("#rows .open").focus()
    opened.keyboard.press("Enter")
    assert opened.get_attribute("#rows .open", "aria-expanded") == "true"
    lines = opened.locator(".detail tbody tr").all()
    width = len(predictions.choices[17])
    assert len(lines) == width + 1
    for number, line in enumerate(lines):
        values = [float(text.replace("<", "")) for text in line.locator("td").all_inner_texts()]
        alone = predictions.probs[:, 17, number] if number < width else predictions.rest[:, 17]
        was = before.mean[17, number] if number < width else before.mean_rest[17]
        assert np.allclose(values, [was, alone.mean(), *alone], atol=1e-3)
        heading = line.locator("th").inner_text()
        assert heading.startswith(
            f"{'abcde'[number]}: {predictions.choices[17][number]}" if number < width else "anything"
        )
        assert heading.endswith("✓") == (number == predictions.answers[17])
    opened.keyboard.press("Enter")
    assert opened.locator(".detail").count() == 0


def test_pages_turn(run, opened):
    first = questions(opened)
    assert opened.is_disabled("#back")
    opened.click("#next")
    assert opened.inner_text("#count") == "51–80 of 80 found among 80 questions"
    assert opened.is_disabled("#next")
    assert sorted(first + questions(opened)) == sorted(run.predictions(3, "facts_capitals").questions)


def test_hostile_text_is_shown_as_it_is(opened):
    opened.select_option("#pick-task", label=HOSTILE_TASK)
    said = "4 of these 6 questions are among those that the members were fitted on."
    assert opened.inner_text("#fitted") == said
    opened.fill("#search", "window.hacked")
    opened.click("#rows .open")
    full = opened.locator(".detail .full").evaluate("element => element.textContent")
    assert full == HOSTILE
    assert opened.locator("main img").count() == 0


def test_an_unknown_answer_is_neither_right_nor_wrong(opened):
    opened.select_option("#pick-task", label=HOSTILE_TASK)
    opened.select_option("#pick-show", "unknown")
    assert shown(opened, ".open") == ["?"]


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_the_page_is_never_wider_than_the_screen(opened, width):
    opened.set_viewport_size({"width": width, "height": 800})
    opened.locator("#rows .open").first.click()
    assert opened.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [390, 1100, 1280])
def test_many_members_scroll_inside_their_row(browser, make_run, width):
    page = write(make_run({"facts_capitals": {"questions": 4, "members": range(20)}}, epochs=[1]))
    tab = browser.new_page(viewport={"width": width, "height": 800})
    tab.goto(page.as_uri())
    tab.locator("#rows .open").first.click()
    assert tab.locator(".detail thead th").count() == 22
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.locator("#table").bounding_box()["width"] <= width
    tab.close()


def test_figures_follow_the_theme(opened):
    def ink() -> str:
        text = opened.locator("#figure-1 svg text").first
        return text.evaluate("element => getComputedStyle(element).fill")

    opened.emulate_media(color_scheme="light")
    light = ink()
    opened.emulate_media(color_scheme="dark")
    dark = ink()
    opened.emulate_media(color_scheme="dark", media="print")
    assert ink() == light != dark
