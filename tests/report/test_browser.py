"""The page in a real browser: what its script does with the questions."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvorum.report import write
from kvorum.report.analysis import analyse
from kvorum.uncertainty.plane import QUADRANTS
from kvorum.uncertainty.retention import OUTCOMES

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
    assert len(questions(opened)) == 25
    assert opened.inner_text("#count") == "1–25 of 80 found among 80 questions"


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
    assert np.allclose(found, np.sort(values)[::-1][:25], atol=1e-3)
    heading.click()
    assert opened.get_attribute(f'#table th[data-sort="{key}"]', "aria-sort") == "ascending"
    assert np.allclose(numbers(opened, measure.replace("_", " ")), np.sort(values)[:25], atol=1e-3)


def test_sorting_by_confidence_from_the_list(run, opened):
    opened.select_option("#pick-sort", "confidence")
    confidence = run.predictions(3, "facts_capitals").mean.max(axis=1)
    assert np.allclose(numbers(opened, "confidence"), np.sort(confidence)[::-1][:25], atol=1e-3)
    opened.click("#pick-direction")
    assert np.allclose(numbers(opened, "confidence"), np.sort(confidence)[:25], atol=1e-3)


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


def listed(tab) -> int:
    """How many questions the list holds, by its own account."""
    found = tab.inner_text("#count")
    return 0 if found.startswith("No question") else int(found.split(" of ")[1].split(" found")[0].replace(",", ""))


@pytest.mark.parametrize("key", ["quadrants", "outcomes", "crossed", "claim"])
def test_every_count_leads_to_a_list_of_that_length(opened, key):
    links = opened.locator(f'h3#table-{key} ~ .gridded[aria-labelledby="table-{key}"] td a')
    addresses = links.evaluate_all("links => links.map(link => [link.hash, link.textContent])")
    assert addresses
    for address, count in addresses:
        opened.evaluate("address => { location.hash = address; }", address)
        opened.wait_for_function("address => location.hash === address", arg=address)
        assert listed(opened) == int(count), address


def test_counts_of_a_task_of_any_name_lead_to_its_list(opened):
    link = opened.locator(f'tr:has-text("{HOSTILE_TASK.split("&")[0]}") ~ tr td a').last
    count = int(link.inner_text())
    link.focus()
    opened.keyboard.press("Enter")
    opened.wait_for_function("() => location.hash.startsWith('#questions&')")
    assert opened.locator("#pick-task option:checked").inner_text() == HOSTILE_TASK
    assert listed(opened) == count
    assert opened.evaluate("document.activeElement.id") == "count"
    # Again: the address stays as it is, and the page must still go there.
    opened.evaluate("scrollTo({ top: 0, behavior: 'instant' })")
    link.press("Enter")
    opened.wait_for_function("() => document.querySelector('#questions').getBoundingClientRect().top < innerHeight")


def test_an_address_names_its_list(browser, run, page):
    tab = browser.new_page()
    tab.goto(page.as_uri() + "#questions&task=facts_elements&epoch=2&show=wrong&sort=entropy&order=up&search=rivers")
    predictions = run.predictions(2, "facts_elements")
    wrong = [row for row in np.flatnonzero(~predictions.correct) if "rivers" in predictions.questions[row]]
    first = min(wrong, key=lambda row: predictions.predictive_entropy[row])
    assert listed(tab) == len(wrong)
    assert questions(tab)[0] == predictions.questions[first]
    tab.select_option("#pick-quadrant", "disputed")
    tab.wait_for_function("() => location.hash.includes('quadrant=disputed')")
    count, address = listed(tab), tab.url
    tab.close()
    other = browser.new_page()
    other.goto(address)
    assert listed(other) == count
    assert other.input_value("#search") == "rivers"
    other.goto(page.as_uri() + "#questions&task=nobody&epoch=77&outcome=lost&sort=luck")
    other.reload()
    assert listed(other) == 80
    other.close()


def test_what_became_of_a_question_and_how_far_it_moved(run, opened):
    of = analyse(run).tasks[1][-1]
    assert of.change is not None
    opened.select_option("#pick-task", "1")
    for key, values in (("kl", of.change.kl), ("tv", of.change.tv)):
        opened.select_option("#pick-sort", key)
        order = np.argsort(-values)
        assert questions(opened)[0] == of.evaluation.predictions.questions[order[0]]
        place = 0 if key == "kl" else 1
        moved = [float(text.split("KL ")[1].split(", TV ")[place].replace("<", "")) for text in shown(opened, ".tags")]
        assert np.allclose(moved, values[order][:25], atol=1e-3)
    outcomes = [text.replace(" ", "-") for text in shown(opened, ".tags .tag:first-child")]
    assert outcomes == [OUTCOMES[of.change.outcome[row]].replace(" ", "-") for row in order[:25]]
    assert shown(opened, ".tags .tag:nth-child(2)") == [QUADRANTS[of.quadrant[row]] for row in order[:25]]
    opened.select_option("#pick-epoch", "0")
    assert opened.input_value("#pick-sort") == "information"
    assert opened.locator(".tags", has_text="moved").count() == 0


def test_without_epoch_0_nothing_is_said_of_it(browser, make_run):
    page = write(make_run({"facts_capitals": {"questions": 8, "unknown": 8}}, epochs=[2]))
    tab = browser.new_page()
    tab.goto(page.as_uri() + "#questions&outcome=forgotten&sort=kl")
    assert listed(tab) == 8
    assert tab.locator("#pick-outcome option:not(:disabled)").count() == 1
    tab.locator("#rows .open").first.click()
    assert "epoch 0" not in tab.inner_text(".detail")
    tab.close()


def test_epochs_between_the_marked_ones_show_on_demand(browser, make_run):
    page = write(make_run({"facts_capitals": {"questions": 30}}, epochs=range(9)))
    tab = browser.new_page(java_script_enabled=False)
    tab.goto(page.as_uri())
    rows = tab.locator('.gridded[aria-labelledby="table-scores"] tbody tr:not(.task)')
    assert rows.count() == 9
    assert rows.locator("visible=true").count() < 6
    tab.check("#all-scores")
    assert rows.locator("visible=true").count() == 9
    tab.close()


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
    seen = questions(opened)
    assert opened.is_disabled("#back")
    for count in ("26–50", "51–75", "76–80"):
        opened.click("#next")
        assert opened.inner_text("#count") == f"{count} of 80 found among 80 questions"
        seen += questions(opened)
    assert opened.is_disabled("#next")
    assert opened.evaluate("document.activeElement.id") == "count"
    assert sorted(seen) == sorted(run.predictions(3, "facts_capitals").questions)


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


@pytest.mark.parametrize(("width", "seen"), [(640, 0), (1280, 5)])
def test_headings_that_are_not_seen_cannot_be_tabbed_to(opened, width, seen):
    opened.set_viewport_size({"width": width, "height": 800})
    opened.focus("#search")
    stops = 0
    for _ in range(8):
        opened.keyboard.press("Tab")
        stops += opened.evaluate("document.activeElement.matches('#table thead button')")
    assert stops == seen


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
