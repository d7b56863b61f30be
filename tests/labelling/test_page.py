"""The page in a real browser, against a real server and a real file."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]

httpx = pytest.importorskip("httpx")
pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

from kvorum.labelling import LabelFile  # noqa: E402
from kvorum.labelling.page import page  # noqa: E402
from tests.labelling.conftest import answers, listening, rows, write_jsonl  # noqa: E402

HOSTILE = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextmanager
def tab_at(browser: Any, address: str, *refused: str, **how: Any) -> Iterator[Any]:
    """A page, open; at the end nothing may have failed, been blocked or been sought elsewhere, but for what was to be
    refused, of which the browser makes a note."""
    size = {"viewport": {"width": 1180, "height": 800}}
    tab = browser.new_page(**size | how) if hasattr(browser, "new_context") else browser.new_page()
    problems: list[str] = []
    tab.on("console", lambda note: None if any(one in note.text for one in refused) else problems.append(note.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("request", lambda sent: problems.append(sent.url) if not sent.url.startswith((address, "data:")) else None)
    tab.goto(address)
    tab.wait_for_selector("#card:not([hidden])")
    yield tab
    assert tab.evaluate("window.hacked") is None
    assert problems == []
    tab.close()


@pytest.fixture
def opened(browser: Any, file: Path) -> Iterator[Any]:
    with LabelFile(file) as held, listening(held) as (address, _), tab_at(browser, address) as tab:
        yield tab


def at(tab: Any, number: int) -> None:
    """Wait until the page shows a question, by its number from 1."""
    tab.wait_for_function(
        "text => document.querySelector('#where').textContent.startsWith(text)", arg=f"Question {number} "
    )


def states(tab: Any) -> list[str]:
    return tab.eval_on_selector_all("#list button", "all => all.map(one => one.dataset.state)")


def held_back(tab: Any, pattern: str) -> list[Any]:
    """The requests that match, which go nowhere until the test lets them."""
    waiting: list[Any] = []

    def hold(route: Any) -> None:
        waiting.append(route)

    tab.route(pattern, hold)
    return waiting


def chosen(tab: Any) -> list[str]:
    return tab.locator(".choice[aria-pressed=true] .text").all_inner_texts()


def test_keys_choose_skip_go_back_clear_and_undo(opened: Any, file: Path) -> None:
    at(opened, 1)
    assert opened.inner_text("#question") == "Which is 0?" and opened.inner_text("#subject") == "numbers"
    assert "0.25" not in opened.inner_text("body"), "what a model thinks of it sways nobody"
    opened.keyboard.press("b")
    at(opened, 2)
    assert answers(file)[0] == "1" and "1 of 5 labelled, 4 left" in opened.inner_text("#count")
    assert "Saved: question 1, 1" in opened.inner_text("#status")
    opened.keyboard.press(" ")
    at(opened, 3)
    opened.keyboard.press("ArrowRight")
    at(opened, 4)
    for key in ("z", "1", "Control+b", "Alt+a", "ArrowUp"):
        opened.keyboard.press(key)
    assert states(opened) == ["labelled", "skipped", "skipped", "open", "open"] and answers(file)[1:] == [None] * 4
    for number in (3, 2, 1):
        opened.keyboard.press("ArrowLeft")
        at(opened, number)
    assert chosen(opened) == ["1"] and opened.inner_text("#on") == "Next →"
    opened.keyboard.press("C")
    at(opened, 2)
    assert answers(file)[0] == "none"
    opened.keyboard.press("Control+z")
    at(opened, 1)
    assert answers(file)[0] == "1" and chosen(opened) == ["1"]
    opened.keyboard.press("Delete")
    opened.wait_for_selector(".choice[aria-pressed=true]", state="detached")
    assert answers(file) == [None] * 5
    opened.keyboard.press("Control+z")
    opened.wait_for_selector(".choice[aria-pressed=true]")
    opened.keyboard.press("Control+z")
    opened.wait_for_selector(".choice[aria-pressed=true]", state="detached")
    assert answers(file) == [None] * 5 and opened.is_disabled("#undo")


def test_all_of_it_can_be_done_with_a_mouse_and_the_end_is_said(opened: Any, file: Path) -> None:
    opened.click("#on")
    at(opened, 2)
    opened.click("#back")
    at(opened, 1)
    opened.click("#list button >> nth=3")
    at(opened, 4)
    for number in (5, 1, 2, 3):
        opened.click(".choice >> nth=0")
        at(opened, number)
    assert opened.is_hidden("#done")
    opened.click(".choice >> nth=2")
    opened.wait_for_selector("#done:not([hidden])")
    assert answers(file) == ["0", "1", "none", "3", "4"] and states(opened) == ["labelled"] * 5
    opened.click("#clear")
    opened.wait_for_selector("#done", state="hidden")
    opened.click("#undo")
    opened.wait_for_selector("#done:not([hidden])")
    assert answers(file)[2] == "none"


def test_a_reload_comes_back_to_the_question_and_what_was_skipped(opened: Any, file: Path) -> None:
    opened.keyboard.press("a")
    at(opened, 2)
    opened.keyboard.press(" ")
    at(opened, 3)
    opened.keyboard.press("ArrowLeft")
    at(opened, 2)
    opened.reload()
    at(opened, 2)
    assert states(opened) == ["labelled", "skipped", "open", "open", "open"]
    opened.goto(opened.url.partition("#")[0] + "#4")
    at(opened, 4)


def test_it_opens_at_the_first_question_without_a_label(browser: Any, file: Path) -> None:
    made = rows(4)
    made[0]["answer"], made[1]["answer"] = "b", 0
    write_jsonl(file, made)
    with LabelFile(file) as held, listening(held) as (address, _), tab_at(browser, address) as tab:
        at(tab, 3)
        assert states(tab) == ["labelled", "labelled", "open", "open"]


def test_a_choice_outlives_a_server_that_has_stopped(browser: Any, file: Path) -> None:
    with LabelFile(file) as held, listening(held) as (address, stop), tab_at(browser, address, "net::ERR_") as tab:
        tab.on("dialog", lambda asked: asked.accept())
        at(tab, 1)
        stop()
        tab.keyboard.press("b")
        tab.wait_for_selector("#unsaved:not([hidden])")
        said = tab.inner_text("#unsaved-words")
        assert "Not saved: the choice of question 1." in said and "cannot be reached" in said
        assert chosen(tab) == ["1"] and states(tab)[0] == "unsaved" and answers(file)[0] is None
        tab.click("#list button >> nth=2")
        at(tab, 3)
        tab.keyboard.press("c")
        tab.wait_for_function("() => document.querySelector('#unsaved-words').textContent.includes('questions 1, 3')")
        port = int(address.rpartition(":")[2])
        with listening(held, port):
            tab.reload()
            at(tab, 3)
            tab.wait_for_selector("#unsaved:not([hidden])")
            assert states(tab) == ["unsaved", "open", "unsaved", "open", "open"]
            tab.click("#retry")
            tab.wait_for_selector("#unsaved", state="hidden")
            assert answers(file) == ["1", None, "none", None, None]
            assert states(tab) == ["labelled", "open", "labelled", "open", "open"]


def test_a_file_that_another_program_changes_is_said_and_its_answer_shown(browser: Any, file: Path) -> None:
    with LabelFile(file) as held, listening(held) as (address, _), tab_at(browser, address, "status of 409") as tab:
        at(tab, 1)
        made = rows(5)
        made[0]["answer"], made[1]["question"] = "none", "Another?"
        write_jsonl(file, made)
        tab.keyboard.press("a")
        tab.wait_for_selector("#unsaved:not([hidden])")
        assert "somebody else has given another answer, 'none'," in tab.inner_text("#unsaved-words").lower()
        assert chosen(tab) == ["0"] and answers(file)[0] == "none"
        tab.click("#drop")
        tab.wait_for_selector("#unsaved", state="hidden")
        assert chosen(tab) == ["none"] and states(tab) == ["labelled", "gone", "open", "open", "open"]
        tab.click("#list button >> nth=1")
        at(tab, 2)
        tab.keyboard.press("a")
        tab.wait_for_selector("#unsaved:not([hidden])")
        assert "no row is certain to hold this question" in tab.inner_text("#unsaved-words")
        tab.click("#drop")
        assert answers(file) == ["none", None, None, None, None]


def restarted(path: Path, address: str) -> Any:
    """The file opened again, and a server on the same port."""
    stack = ExitStack()
    stack.enter_context(listening(stack.enter_context(LabelFile(path)), int(address.rpartition(":")[2])))
    return stack


def test_a_page_left_open_labels_no_other_file(browser: Any, file: Path) -> None:
    made = [{"question": f"Other {one}?", "choices": ["x", "y", "z"], "answer": None} for one in range(8)]
    other = write_jsonl(file.parent / "other.jsonl", made)
    with ExitStack() as stack:
        held = stack.enter_context(LabelFile(file))
        address, stop = stack.enter_context(listening(held))
        tab = stack.enter_context(tab_at(browser, address, "net::ERR_", "status of 409"))
        tab.keyboard.press("a")
        at(tab, 2)
        stop()
        tab.keyboard.press("b")
        tab.wait_for_selector("#unsaved:not([hidden])")
        port = address.rpartition(":")[2]
        assert f"--web --port {port}" in tab.inner_text("#unsaved-words"), "which makes trying again possible"
        with restarted(other, address):
            tab.click("#retry")
            tab.wait_for_function("() => document.querySelector('#file').textContent === 'other.jsonl'")
            tab.wait_for_selector("#unsaved", state="hidden")
            assert "Another file is open here now: other.jsonl. 1 choice not saved" in tab.inner_text("#status")
            assert tab.inner_text("#question") == "Other 0?" and len(states(tab)) == 8 and tab.is_disabled("#undo")
            tab.keyboard.press("c")
            at(tab, 2)
            assert answers(other) == ["z"] + [None] * 7
        held.close()
        with restarted(file, address):
            tab.keyboard.press("a")
            tab.wait_for_function("() => document.querySelector('#file').textContent === 'mine.jsonl'")
            assert answers(other) == ["z"] + [None] * 7 and answers(file) == ["0"] + [None] * 4
            assert states(tab) == ["labelled", "unsaved", "open", "open", "open"], "what was kept for this file"
            tab.click("#retry")
            tab.wait_for_selector("#unsaved", state="hidden")
            assert answers(file) == ["0", "2", None, None, None]


def test_rows_that_moved_between_two_openings_are_followed(browser: Any, file: Path) -> None:
    with ExitStack() as stack:
        held = stack.enter_context(LabelFile(file))
        address, stop = stack.enter_context(listening(held))
        tab = stack.enter_context(tab_at(browser, address, "net::ERR_", "status of 409"))
        tab.keyboard.press("a")
        at(tab, 2)
        stop()
        held.close()
        tab.keyboard.press("b")
        tab.wait_for_selector("#unsaved:not([hidden])")
        made = rows(5)
        made[0]["answer"] = "0"
        write_jsonl(file, [made[4], made[3], made[0], made[1]])
        with restarted(file, address):
            tab.keyboard.press("c")
            at(tab, 4)
            assert tab.inner_text("#question") == "Which is 1?" and chosen(tab) == ["none"]
            assert answers(file) == [None, None, "0", None], "the page was another's"
            tab.click("#retry")
            tab.wait_for_selector("#unsaved", state="hidden")
            assert answers(file) == [None, None, "0", "none"]
            for left in ("0", None):
                tab.keyboard.press("Control+z")
                tab.wait_for_function("() => document.querySelector('#status').textContent.includes('Undone')")
                assert answers(file)[2:] == [left, None]
                tab.evaluate("document.querySelector('#status').textContent = ''")


def test_of_two_tabs_neither_overwrites_what_it_has_not_shown(browser: Any, file: Path) -> None:
    with (
        LabelFile(file) as held,
        listening(held) as (address, _),
        tab_at(browser, address) as first,
        tab_at(browser, address, "status of 409") as second,
    ):
        first.keyboard.press("a")
        at(first, 2)
        second.keyboard.press("b")
        second.wait_for_selector("#unsaved:not([hidden])")
        assert "given another answer, '0'," in second.inner_text("#unsaved-words") and answers(file)[0] == "0"
        second.click("#retry")
        second.wait_for_selector("#unsaved", state="hidden")
        assert answers(file)[0] == "1", "once it is said"


def test_an_undo_that_was_not_written_is_not_confirmed(browser: Any, file: Path) -> None:
    with LabelFile(file) as held, ExitStack() as stack:
        address, stop = stack.enter_context(listening(held))
        tab = stack.enter_context(tab_at(browser, address, "net::ERR_", "status of 409"))
        for number in (2, 3):
            tab.keyboard.press("a")
            at(tab, number)
        held.label(1, 2)
        tab.keyboard.press("Control+z")
        tab.wait_for_selector("#unsaved:not([hidden])")
        assert "given another answer, 'none'," in tab.inner_text("#unsaved-words")
        assert "Undone" not in tab.inner_text("#status") and answers(file)[1] == "none"
        tab.click("#drop")
        stop()
        tab.keyboard.press("Control+z")
        tab.wait_for_selector("#unsaved:not([hidden])")
        assert "Undone" not in tab.inner_text("#status") and answers(file)[0] == "0"
        tab.click("#drop")


@pytest.mark.parametrize("arrives", [True, False])
def test_what_is_dropped_while_it_is_tried_again_is_not_written(browser: Any, file: Path, arrives: bool) -> None:
    with LabelFile(file) as held, ExitStack() as stack:
        address, _ = stack.enter_context(listening(held))
        tab = stack.enter_context(tab_at(browser, address, "net::ERR_"))
        tab.route("**/api/questions/*", lambda route: route.abort())
        for number, place in ((1, 0), (2, 1), (3, 2)):
            tab.click(f"#list button >> nth={place}")
            at(tab, number)
            tab.keyboard.press("b")
            tab.wait_for_function(f"() => document.querySelectorAll('#list [data-state=unsaved]').length === {number}")
        tab.unroute("**/api/questions/*")
        waiting = held_back(tab, "**/api/questions/*")
        tab.click("#retry")
        while not waiting:
            tab.wait_for_timeout(10)
        tab.click("#drop")
        if arrives:
            waiting[0].continue_()
            tab.wait_for_function("() => document.querySelector('#status').textContent.includes('Dropped, but for')")
            assert "question 1, which was saved" in tab.inner_text("#status")
        else:
            waiting[0].abort()
            tab.wait_for_selector("#card:not([aria-busy])")
            assert tab.inner_text("#status") == "Dropped"
        assert answers(file) == ["1" if arrives else None, None, None, None, None] and len(waiting) == 1
        assert states(tab) == ["labelled" if arrives else "open", "open", "open", "open", "open"]
        assert tab.is_hidden("#unsaved")


def test_keys_are_taken_while_answers_are_looked_up_again(browser: Any, file: Path) -> None:
    with LabelFile(file) as held, listening(held) as (address, _), tab_at(browser, address) as tab:
        asked: list[str] = []
        waiting = held_back(tab, "**/api/answers")
        tab.on("request", lambda sent: asked.append(sent.url.rpartition("/api/")[2]))
        tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        while not waiting:
            tab.wait_for_timeout(10)
        reply = waiting[0].fetch()
        tab.keyboard.press("a")
        at(tab, 2)
        waiting[0].fulfill(response=reply)
        tab.wait_for_timeout(50)
        assert states(tab)[0] == "labelled", "what came was older than the label"
        tab.unroute("**/api/answers")
        made = rows(5)
        made[0]["answer"], made[3]["answer"] = "0", "none"
        write_jsonl(file, made)
        tab.keyboard.press("Tab")
        tab.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
        tab.wait_for_function("() => document.querySelectorAll('#list [data-state=labelled]').length === 2")
        assert tab.evaluate("document.activeElement.className") == "choice", "the focus stays"
        assert asked == ["answers", "questions/0", "answers"], "and not all the questions"


def test_a_label_that_is_being_written_is_said_to_be(browser: Any, file: Path) -> None:
    with LabelFile(file) as held, listening(held) as (address, _), tab_at(browser, address) as tab:
        waiting = held_back(tab, "**/api/questions/*")
        tab.keyboard.press("a")
        tab.wait_for_selector("#card[aria-busy=true]")
        waiting[0].continue_()
        at(tab, 2)
        tab.wait_for_selector("#card:not([aria-busy])")


def test_a_browser_that_keeps_nothing_labels_all_the_same(browser: Any, file: Path) -> None:
    with LabelFile(file) as held, listening(held) as (address, stop):
        context = browser.new_context()
        context.add_init_script(
            "for (const [of, name] of [[window, 'sessionStorage'], [document, 'cookie']])\n"
            "  Object.defineProperty(of, name, { get() { throw new DOMException('no', 'SecurityError'); } });"
        )
        with tab_at(context, address, "net::ERR_") as tab:
            tab.keyboard.press("b")
            at(tab, 2)
            tab.keyboard.press(" ")
            at(tab, 3)
            assert answers(file)[0] == "1" and states(tab)[:2] == ["labelled", "skipped"]
            tab.uncheck("#letters")
            tab.keyboard.press("a")
            tab.check("#letters")
            stop()
            tab.keyboard.press("b")
            tab.wait_for_selector("#unsaved:not([hidden])")
            assert states(tab)[:3] == ["labelled", "skipped", "unsaved"] and answers(file)[2] is None
            tab.click("#drop")
        context.close()


def test_letters_can_be_turned_off_which_is_remembered(browser: Any, file: Path) -> None:
    with LabelFile(file) as held, ExitStack() as stack:
        context = browser.new_context()
        with listening(held) as (address, _), tab_at(context, address) as tab:
            tab.uncheck("text=Letter keys choose")
            tab.focus("#question")
            tab.keyboard.press("a")
            tab.keyboard.press("ArrowRight")
            at(tab, 2)
            assert answers(file)[0] is None and states(tab)[0] == "skipped" and tab.is_hidden(".by-letter")
        address, _ = stack.enter_context(listening(held))
        tab = stack.enter_context(tab_at(context, address))
        assert not tab.is_checked("#letters"), "on another port, too"
        tab.keyboard.press("a")
        tab.focus("#letters")
        tab.keyboard.press(" ")
        tab.keyboard.press("b")
        at(tab, 2)
        assert answers(file)[0] == "1" and states(tab)[1] == "open", "and the key that turned them on skipped nothing"
    context.close()


def test_texts_are_shown_as_text(browser: Any, file: Path) -> None:
    texts = {"question": HOSTILE, "choices": [HOSTILE + "1", "<b>bold</b>", "&amp;\nsecond"], "subject": HOSTILE}
    write_jsonl(file, [texts, texts | {"question": "ماذا يصنع النحل؟", "choices": ["عسل", "x" * 300]}])
    with LabelFile(file) as held, listening(held) as (address, _), tab_at(browser, address) as tab:
        assert tab.inner_text("#question") == HOSTILE and tab.inner_text("#subject") == HOSTILE
        assert tab.locator(".choice .text").all_inner_texts() == texts["choices"]
        tab.keyboard.press("a")
        at(tab, 2)
        assert HOSTILE in tab.inner_text("#status") and HOSTILE in tab.inner_text("#list")
        assert tab.locator("#question, #choices, #list, #status").locator("b, img, script").count() == 0
        assert tab.eval_on_selector("#question", "one => getComputedStyle(one).direction") == "rtl"
        assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_on_a_phone_nothing_is_cut_off_and_fingers_meet_what_they_aim_at(browser: Any, file: Path, scheme: str) -> None:
    made = rows(3)
    made[0] |= {"question": "w" * 200, "choices": ["x" * 200, "short"]}
    write_jsonl(file, made)
    phone = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True, "color_scheme": scheme}
    with LabelFile(file) as held, listening(held) as (address, _), tab_at(browser, address, **phone) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") == 360
        for box in [one.bounding_box() for one in tab.locator(".choice, #back, #on, .entry").all()]:
            assert box["height"] >= 40 and box["x"] >= 0 and box["x"] + box["width"] <= 360
        back = tab.eval_on_selector("body", "one => getComputedStyle(one).backgroundColor")
        assert (back == "rgb(14, 19, 25)") == (scheme == "dark")
        tab.tap(".choice >> nth=1")
        at(tab, 2)
        assert answers(file)[0] == "short"


def test_it_can_be_heard_and_reached_without_a_mouse(opened: Any, file: Path) -> None:
    at(opened, 1)
    assert opened.evaluate("document.activeElement.id") == "question", "which a screen reader reads, then"
    opened.keyboard.press("Tab")
    assert opened.evaluate("document.activeElement.className") == "choice"
    opened.keyboard.press("Tab")
    opened.keyboard.press("Enter")
    at(opened, 2)
    assert answers(file)[0] == "1", "by the button that has the focus"
    opened.keyboard.press("Tab")
    opened.keyboard.press(" ")
    at(opened, 3)
    assert answers(file)[1] == "1", "on a button, space presses it and skips nothing"
    assert (
        opened.get_attribute("#status", "aria-live") == "polite" and opened.get_attribute("#unsaved", "role") == "alert"
    )
    named = opened.locator("#list button >> nth=0")
    assert "labelled" in named.inner_text() and opened.locator("#list [tabindex='0']").count() == 1
    opened.locator("#list [tabindex='0']").focus()
    opened.keyboard.press("ArrowDown")
    opened.keyboard.press("Enter")
    at(opened, 4)
    assert opened.get_by_role("progressbar", name="2 of 5 labelled, 3 left").count() == 1
    assert opened.get_by_role("button", name="none").get_attribute("aria-pressed") == "false"


def test_more_choices_than_letters_are_clicked(browser: Any, file: Path) -> None:
    write_jsonl(file, [{"question": "?", "choices": [f"no. {one}" for one in range(40)], "answer": None}])
    with LabelFile(file) as held, listening(held) as (address, _), tab_at(browser, address) as tab:
        tab.click("text=no. 33")
        tab.wait_for_selector("#done:not([hidden])")
        assert answers(file) == ["no. 33"]


def test_a_key_that_is_held_down_labels_one_question(opened: Any, file: Path) -> None:
    opened.keyboard.down("a")
    at(opened, 2)
    for _ in range(5):
        opened.keyboard.down("a")
    opened.keyboard.up("a")
    opened.keyboard.press("b")
    at(opened, 3)
    assert answers(file) == ["0", "2", None, None, None]


def test_thousands_of_questions_are_no_burden(browser: Any, file: Path) -> None:
    write_jsonl(file, rows(2000))
    with LabelFile(file) as held, listening(held) as (address, _), tab_at(browser, address) as tab:
        for number in range(2, 7):
            tab.keyboard.press("a")
            at(tab, number)
        took = tab.evaluate("performance.getEntriesByType('resource').at(-1).responseEnd")
        began = tab.evaluate("performance.getEntriesByType('resource').at(-5).startTime")
        assert (took - began) / 5 < 1000, "milliseconds from one label to the next"
    assert answers(file)[:6] == ["0", "1", "2", "3", "4", None]


def test_the_page_is_small_and_bound_to_its_server(file: Path) -> None:
    with LabelFile(file) as held, listening(held) as (address, _):
        got = httpx.get(address)
    policy = got.headers["content-security-policy"]
    assert got.text == page().html and len(got.content) < 40_000
    assert policy == page().content_security and "unsafe" not in policy and "default-src 'none'" in policy
