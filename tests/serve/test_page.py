"""The page at / in a real browser, against a real server."""

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
]

httpx = pytest.importorskip("httpx")
uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("fastapi")

import kvorum  # noqa: E402
from kvorum.decisions import calibrate  # noqa: E402
from kvorum.decisions.words import at_least, at_most  # noqa: E402
from kvorum.run import Run  # noqa: E402
from kvorum.serve.app import build_app  # noqa: E402
from kvorum.serve.options import ServeOptions  # noqa: E402
from kvorum.serve.page import page  # noqa: E402
from kvorum.serve.served import Served  # noqa: E402

TOKEN = "a-token-of-the-tests-only"
HOSTILE = "<img src=x onerror='window.hacked=1'><script>window.hacked=1</script>"
ODD = [
    {"question": HOSTILE, "choices": ["</li><script>window.hacked=1</script>", "<b>bold</b>", "&amp;"], "answer": 1},
    {"question": "ماذا يصنع النحل؟", "choices": ["عسل", "حرير", "ورق"], "answer": 0},
    {"question": "w" * 60, "choices": ["x" * 50, "y" * 50, "z"], "answer": 2},
    {"question": "What nobody knows?\nSecond line", "choices": ["this", "that"]},
]
"""Questions of the held-out task: the first ones in its order."""


def write_questions(path: Path, begin: int, count: int, odd: list[dict[str, Any]]) -> Path:
    draw = np.random.default_rng(begin)
    words = ["honey", "silk", "paper", "stone", "iron", "glass"]
    rows = list(odd)
    for place in range(begin, begin + count):
        choices = [str(word) for word in draw.permutation(words)[: 3 + place % 2]]
        rows.append({"question": f"Number {place}: what is it?", "choices": choices, "answer": place % 3})
    lines = [json.dumps({"id": f"{path.stem}{place}"} | row) for place, row in enumerate(rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def run(tiny_model, tmp_path_factory) -> Run:
    folder = tmp_path_factory.mktemp("served")
    kvorum.fit(
        tiny_model,
        str(write_questions(folder / "seen.jsonl", 0, 30, [])),
        evaluate=[str(write_questions(folder / "held.jsonl", 100, 60, ODD))],
        members=3,
        rank=4,
        lr=0.02,
        epochs=2,
        out=str(folder / "run"),
        compile="off",
    )
    return Run.open(folder / "run")


@pytest.fixture(scope="module")
def calibrated(run) -> Served:
    calibration = calibrate(run.predictions(2, "held"), coverage=0.5)
    return Served(posterior=kvorum.load(run), calibration=calibration, run=run, epoch=2)


@contextmanager
def listening(served: Served, tokens: tuple[str, ...] = (), **options: Any) -> Iterator[str]:
    app = build_app(served, ServeOptions(port=0, **options), tokens)
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, lifespan="on"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not start"
        time.sleep(0.02)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/"
    server.should_exit = True
    thread.join(timeout=30)


@pytest.fixture(scope="module")
def address(calibrated) -> Iterator[str]:
    with listening(calibrated, max_characters=200, max_choices=6) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


@contextmanager
def tab_at(
    browser, address: str, *refused: int, prepare: Callable[[Any], None] = lambda _: None, **how
) -> Iterator[Any]:
    """A page, open; at the end nothing may have failed, been blocked or been sought elsewhere, but for statuses that
    were to be refused, of which the browser makes a note."""
    tab = browser.new_page(**{"viewport": {"width": 1280, "height": 900}} | how)
    problems: list[str] = []
    notes = [f"the server responded with a status of {status} " for status in refused]
    if 0 in refused:
        notes.append("net::ERR_")
    tab.on("console", lambda message: problems.append(message.text) if not any(n in message.text for n in notes) else 0)
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.on("request", lambda sent: problems.append(sent.url) if not sent.url.startswith((address, "data:")) else None)
    tab.add_init_script(
        "window.shifted = 0; new PerformanceObserver((list) => { for (const one of list.getEntries())"
        " if (!one.hadRecentInput) window.shifted += one.value; }).observe({ type: 'layout-shift', buffered: true });"
    )
    prepare(tab)
    tab.goto(address)
    yield tab
    assert tab.evaluate("window.hacked") is None
    assert problems == []
    tab.close()


@pytest.fixture
def opened(browser, address) -> Iterator[Any]:
    with tab_at(browser, address) as tab:
        tab.wait_for_selector("#drawing svg")
        yield tab


def fill(tab, question: str, *choices: str) -> None:
    tab.fill("#question", question)
    fields = tab.locator("#candidates textarea")
    while fields.count() > max(2, len(choices)):
        tab.locator("#candidates button").last.click()
    for place, choice in enumerate(choices):
        if place == fields.count():
            tab.click("#add")
        fields.nth(place).fill(choice)


def answered(tab) -> None:
    tab.wait_for_function("() => document.querySelector('#answer').getAttribute('aria-busy') === 'false'")


def ask(tab, question: str, *choices: str) -> None:
    fill(tab, question, *choices)
    tab.click("#send")
    answered(tab)


def pick(tab, place: int) -> None:
    """Ask the question at a place of the held-out task."""
    if not tab.locator("#pick[open]").count():
        tab.click("#pick summary")
    tab.wait_for_selector("#listed button")
    for _ in range(place // 6):
        before = tab.inner_text("#which")
        tab.click("#next")
        tab.wait_for_function("before => document.querySelector('#which').innerText !== before", arg=before)
    tab.locator("#listed button").nth(place % 6).click()
    tab.keyboard.press("Enter")
    answered(tab)


def reply(address: str, question: str, *choices: str) -> dict[str, Any]:
    body = {"questions": [{"question": question, "choices": list(choices)}]}
    return httpx.post(f"{address}v1/answers", json=body, timeout=60).raise_for_status().json()["answers"][0]


def held(address: str) -> list[dict[str, Any]]:
    return httpx.get(f"{address}v1/tasks/held/questions?limit=100").json()["questions"]


def first_of(address: str, abstains: bool) -> tuple[int, dict[str, Any], dict[str, Any]]:
    for place, one in enumerate(held(address)):
        found = reply(address, one["question"], *one["choices"])
        if (found["answer"] is None) == abstains and one["answer"] is not None:
            return place, one, found
    raise AssertionError("no question is decided so")


def number(text: str) -> float:
    return float(text.replace("<", "").replace("nats", ""))


def check_shown(tab, found: dict[str, Any], choices: list[str]) -> None:
    """Probabilities, votes, entropies and sets on the page are those of a reply."""
    rows = tab.locator(".choice")
    assert rows.count() == len(choices)
    for place, choice in enumerate(choices):
        row = rows.nth(place)
        assert row.locator(".named [dir]").text_content() == choice
        assert number(row.locator(".p").inner_text()) == pytest.approx(found["probabilities"][place], abs=6e-4)
        width = row.locator(".part").bounding_box()["width"] / row.locator(".bar").bounding_box()["width"]
        assert width == pytest.approx(found["probabilities"][place], abs=0.01)
        votes = [member["member"] for member in found["members"] if member["vote"] == place]
        assert [int(m) for m in row.locator(".vote").evaluate_all("all => all.map((v) => v.dataset.member)")] == votes
    for name, key in (("total", "predictive"), ("expected", "expected"), ("information", "mutual_information")):
        shown = number(tab.locator(f".entropies .{name} b").inner_text())
        assert shown == pytest.approx(found["entropy"][key], abs=6e-4)
    sets = tab.locator(".sets dd")
    for place, (method, members) in enumerate(found["decision"]["sets"].items()):
        assert tab.locator(".sets dt").nth(place).inner_text().startswith(method)
        assert sets.nth(place).locator(".named [dir]").all_text_contents() == [choices[one] for one in members]


def test_asking_by_keyboard_alone_gives_what_the_api_gives(opened, address):
    keys = opened.keyboard
    keys.press("Tab")
    assert opened.evaluate("document.activeElement.className") == "skip"
    keys.press("Enter")
    assert opened.evaluate("document.activeElement.id") == "question"
    keys.type("What do bees make?")
    keys.press("Tab")
    for choice in ("honey", "silk", "paper"):
        keys.type(choice)
        keys.press("Enter")
    assert opened.locator("#candidates textarea").count() == 4, "Enter in the last adds one"
    assert opened.evaluate("document.activeElement === document.querySelectorAll('#candidates textarea')[3]")
    keys.press("Enter")
    answered(opened)
    opened.wait_for_selector(".choice")
    found = reply(address, "What do bees make?", "honey", "silk", "paper")
    check_shown(opened, found, ["honey", "silk", "paper"])
    assert opened.inner_text(".verdict") == (found["answer"] or "Abstains")
    assert ["honey", "silk", "paper"][found["top"]] in opened.text_content("#status")
    assert found["decision"]["why"] in opened.inner_text(".why")


def test_every_control_has_a_name_and_can_be_reached_and_left_by_tab(opened):
    opened.click("#pick summary")
    opened.wait_for_selector("#listed button")
    ask(opened, "What is it?", "honey", "silk", "paper")
    opened.focus(".skip")
    seen = []
    for _ in range(60):
        opened.keyboard.press("Tab")
        name = opened.evaluate(
            "() => { const e = document.activeElement; if (e === document.body) return null;"
            " const style = getComputedStyle(e);"
            " if (style.outlineStyle === 'none' || !parseFloat(style.outlineWidth)) return 'no focus is seen';"
            " return e.getAttribute('aria-label') || (e.labels?.[0] ?? e).textContent.trim() || 'nameless'; }"
        )
        if name is None:
            break
        seen.append(name)
    else:
        raise AssertionError(f"there is no way out: {seen}")
    assert "nameless" not in seen and "no focus is seen" not in seen
    order = ["Question", "Choice a", "Remove choice a", "Choice b", "Ask", "Random", "What each member says"]
    places = [seen.index(name) for name in order]
    assert places == sorted(places)
    assert sum(name.startswith("member") for name in seen) == 1, "the votes are one stop"


def test_arrows_go_from_vote_to_vote_and_say_what_a_member_says_alone(opened, address):
    ask(opened, "What is it?", "honey", "silk", "paper")
    found = reply(address, "What is it?", "honey", "silk", "paper")
    order = [m for place in range(3) for m in found["members"] if m["vote"] == place]
    opened.locator(".vote").first.focus()
    for place, member in enumerate(order):
        if place:
            opened.keyboard.press("ArrowRight")
        said = opened.inner_text(".alone")
        assert said.startswith(f"Member {member['member']} alone: a ")
        shares = [number(part.split()[1]) for part in said.split(": ")[1].split(", ")]
        assert shares == pytest.approx(member["probabilities"], abs=6e-4)
        marks = opened.locator(".own.seen").evaluate_all(
            "all => all.map((one) => Number(one.style.getPropertyValue('--at')))"
        )
        assert marks == pytest.approx(member["probabilities"])
    opened.keyboard.press("ArrowRight")
    assert opened.inner_text(".alone").startswith(f"Member {order[-1]['member']} ")


@pytest.mark.parametrize("abstains", [False, True])
def test_a_picked_question_is_answered_and_judged(opened, address, abstains):
    place, one, found = first_of(address, abstains)
    pick(opened, place)
    check_shown(opened, found, one["choices"])
    assert opened.text_content(".asked [dir]") == one["question"]
    assert f"question {place + 1} of held" in opened.inner_text(".asked")
    right = found["top"] == one["answer"]
    truth = one["choices"][one["answer"]]
    assert "✓ right answer" in opened.locator(".choice").nth(one["answer"]).inner_text()
    said = opened.inner_text(".known")
    assert right or truth in said
    if abstains:
        assert opened.inner_text(".verdict") == "Abstains"
        assert one["choices"][found["top"]] in opened.inner_text("#shown")
        assert opened.inner_text(".why").count("Abstains: ") == 1
        assert said.startswith(f"That would have been {'right' if right else 'wrong'}")
    else:
        assert opened.text_content(".verdict") == found["answer"]
        assert said.startswith("✓ Right" if right else "✗ Wrong")
    tone = opened.locator(".why .tag").evaluate("e => e.style.getPropertyValue('--tone')")
    assert tone == f"var(--fig-{found['decision']['kind']})"


def test_a_picked_question_that_is_changed_is_no_longer_judged(opened):
    pick(opened, 5)
    assert opened.locator(".known").count() == 1
    opened.locator("#candidates textarea").first.fill("something else")
    opened.click("#send")
    answered(opened)
    assert opened.locator(".known").count() == 0
    assert opened.locator(".truth").count() == 0


def test_a_question_of_unknown_answer_is_not_judged_and_keeps_its_lines(opened):
    pick(opened, 3)
    assert opened.text_content(".asked [dir]") == ODD[3]["question"]
    assert opened.locator(".known").count() == 0


def test_random_picks_one_of_the_task(opened, address):
    opened.click("#pick summary")
    opened.wait_for_selector("#listed button")
    opened.click("#random")
    opened.wait_for_selector("#listed [aria-current]")
    assert opened.input_value("#question") in [one["question"] for one in held(address)]
    assert opened.evaluate("document.activeElement.id") == "send"


def test_lists_of_the_task_turn(opened, address):
    opened.click("#pick summary")
    opened.wait_for_selector("#listed button")
    seen = []
    while True:
        seen += opened.locator("#listed button").all_text_contents()
        if opened.is_disabled("#next"):
            break
        before = opened.inner_text("#which")
        opened.click("#next")
        opened.wait_for_function("before => document.querySelector('#which').innerText !== before", arg=before)
    assert seen == [one["question"] for one in held(address)]


def test_several_lines_pasted_become_several_choices(opened):
    opened.locator("#candidates textarea").first.focus()
    paste = (
        "text => { const data = new DataTransfer(); data.setData('text', text); document.activeElement.dispatchEvent("
        "new ClipboardEvent('paste', { clipboardData: data, bubbles: true, cancelable: true })); }"
    )
    opened.evaluate(paste, "honey\r\nsilk\n\n paper \niron")
    values = "all => all.map((field) => field.value)"
    assert opened.locator("#candidates textarea").evaluate_all(values) == ["honey", "silk", "paper", "iron"]
    opened.evaluate(paste, "\n".join("uvwxyz"))
    assert opened.locator("#candidates textarea").evaluate_all(values) == ["honey", "silk", "paper", "ironu", "v", "w"]
    assert opened.inner_text("#choices-error").endswith("This server takes 6 choices; 3 lines did not fit.")
    assert opened.is_disabled("#add")


@pytest.mark.parametrize(
    ("question", "choices", "field", "words"),
    [
        ("", ("a", "b"), "#question", "It is empty"),
        ("Which?", ("a", "", "c"), "#candidates li:nth-child(2) textarea", "It is empty"),
        ("Which?", ("a", "b", "c" * 201), "#candidates li:nth-child(3) textarea", "200 characters"),
        ("Which?", ("a", "b", "a"), "#candidates li:nth-child(1) textarea", "Choices a and c are the same"),
    ],
)
def test_an_error_stands_beside_the_field_that_the_api_names(browser, address, question, choices, field, words):
    with tab_at(browser, address, 422) as tab:
        tab.wait_for_selector("#title .name")
        ask(tab, question, *choices)
        wrong = tab.locator(field)
        assert wrong.get_attribute("aria-invalid") == "true"
        assert wrong.evaluate("e => document.activeElement === e")
        described = wrong.get_attribute("aria-describedby").split()
        said = " ".join(tab.text_content(f"#{one}") for one in described)
        assert words in said
        assert tab.locator(".error:not(:empty)").count() == 1
        assert tab.locator(".choice").count() == 0
        ask(tab, "Which?", "a", "b")
        assert tab.locator("[aria-invalid=true]").count() == 0
        assert tab.locator(".error:not(:empty)").count() == 0
        assert tab.locator(".choice").count() == 2


def refusing(status: int, headers: dict[str, str] | None = None, message: str = "no") -> Callable[[Any], None]:
    body = json.dumps({"error": {"code": "x", "message": message, "field": None}})
    return lambda route: route.fulfill(status=status, headers=headers or {}, body=body, content_type="application/json")


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (429, {"retry-after": "7"}, "Try again in about 7 s"),
        (503, {}, "Try again in a moment"),
        (504, {}, "Try again in a moment"),
        (500, {}, "Its log says how"),
        (0, {}, "cannot be reached"),
    ],
)
def test_what_the_server_cannot_do_now_is_said_and_can_be_asked_again(browser, address, status, headers, words):
    with tab_at(browser, address, status) as tab:
        tab.wait_for_selector("#drawing svg")
        handle = refusing(status, headers, "its log says how") if status else lambda route: route.abort()
        tab.route("**/v1/answers", handle)
        ask(tab, "Which?", "a", "b")
        assert words in tab.inner_text("#refusal-error")
        assert tab.get_attribute("#send", "aria-disabled") == "false"
        tab.unroute("**/v1/answers")
        tab.click("#send")
        answered(tab)
        assert tab.inner_text("#refusal-error") == ""
        assert tab.locator(".choice").count() == 2


def test_a_reply_that_is_not_kvorum_s_is_said(browser, address):
    with tab_at(browser, address, 502) as tab:
        tab.route("**/v1/answers", lambda route: route.fulfill(status=502, body="<html>Bad gateway"))
        ask(tab, "Which?", "a", "b")
        assert "status 502, is none of kvorum's" in tab.inner_text("#refusal-error")


def test_a_server_that_is_away_at_first_can_be_tried_again(browser, address):
    away = lambda tab: tab.route("**/v1/posterior", lambda route: route.abort())  # noqa: E731
    with tab_at(browser, address, 0, prepare=away) as tab:
        tab.wait_for_selector("#failed:not([hidden])")
        assert "cannot be reached" in tab.inner_text("#failed")
        tab.unroute("**/v1/posterior")
        tab.click("#again")
        tab.wait_for_selector("#drawing svg")
        assert tab.is_hidden("#failed")


def test_one_request_at_a_time_and_of_a_changed_question_none(opened, address):
    waiting: list[Any] = []

    def keep(route) -> None:
        waiting.append(route)

    opened.route("**/v1/answers", keep)
    fill(opened, "First?", "a", "b")
    for _ in range(3):
        opened.click("#send", force=True)
    opened.wait_for_function("() => document.querySelector('#send').textContent === 'Asking…'")
    assert opened.get_attribute("#send", "aria-disabled") == "true"
    assert len(waiting) == 1
    opened.fill("#question", "Second?")
    assert opened.get_attribute("#send", "aria-disabled") == "false"
    opened.click("#send")
    opened.wait_for_timeout(100)
    assert len(waiting) == 2
    waiting[1].continue_()
    answered(opened)
    assert opened.text_content(".asked [dir]") == "Second?"
    waiting[0].continue_()
    opened.wait_for_timeout(200)
    assert opened.text_content(".asked [dir]") == "Second?"
    check_shown(opened, reply(address, "Second?", "a", "b"), ["a", "b"])


def test_hostile_text_is_shown_as_it_is(opened, address):
    pick(opened, 0)
    assert opened.text_content(".asked [dir]") == HOSTILE
    assert opened.locator(".choice .named [dir]").all_text_contents() == ODD[0]["choices"]
    assert opened.locator("main img, main script, main b b").count() == 0
    check_shown(opened, reply(address, HOSTILE, *ODD[0]["choices"]), ODD[0]["choices"])


def test_text_keeps_its_direction(opened):
    pick(opened, 1)
    for where in (".asked [dir]", ".choice .named [dir]", "#question", "#candidates textarea"):
        direction = opened.locator(where).first.evaluate("e => e.matches(':dir(rtl)')")
        assert direction, where


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_the_page_is_never_wider_than_the_screen(browser, address, width):
    with tab_at(browser, address, 422, viewport={"width": width, "height": 740}) as tab:
        tab.wait_for_selector("#drawing svg")
        wide = lambda: tab.evaluate("document.documentElement.scrollWidth")  # noqa: E731
        assert wide() <= width
        for place in range(4):
            pick(tab, place)
            tab.click("#shown details summary")
            assert wide() <= width, ODD[place]
        ask(tab, "Which?", "a", "")
        assert wide() <= width
        assert tab.locator("#drawing svg").bounding_box()["width"] <= width


@pytest.mark.parametrize("width", [360, 1280])
def test_nothing_jumps_while_it_loads(browser, address, width):
    with tab_at(browser, address, viewport={"width": width, "height": 740}) as tab:
        tab.wait_for_selector("#drawing svg")
        tab.wait_for_timeout(300)
        assert tab.evaluate("window.shifted") < 0.1


LUMINANCE = """
(selector) => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, place) => sum + v * [0.2126, 0.7152, 0.0722][place], 0);
  const seen = (element) => element.textContent.trim() && element.getClientRects().length;
  return [...document.querySelectorAll(selector)].filter(seen).map((element) => {
    let behind = element;
    while (behind && parse(getComputedStyle(behind).backgroundColor)[3] === 0) behind = behind.parentElement;
    const back = light(parse(getComputedStyle(behind ?? document.body).backgroundColor));
    const front = light(parse(getComputedStyle(element).color));
    return [(Math.max(back, front) + 0.05) / (Math.min(back, front) + 0.05), element.outerHTML.slice(0, 90)];
  });
}
"""
TEXTS = (
    "h1 .name, h2, h3, #rule, .hint, label, legend, summary, #send, #add, .candidate button, .entry, #which, .asked, "
    ".asked .from, .verdict, .known, .why, .tag, .named [dir], .named b, .truth, .p, .vote, td, th, dt, dd, #place, "
    "footer p, .error"
)


def test_main_texts_stand_out_in_light_and_dark(browser, address):
    found = {}
    for scheme in ("light", "dark"):
        with tab_at(browser, address, 422, color_scheme=scheme) as tab:
            tab.wait_for_selector("#drawing svg")
            for abstains in (True, False):
                pick(tab, first_of(address, abstains)[0])
                tab.wait_for_timeout(300)
                weak = [one for one in tab.evaluate(LUMINANCE, TEXTS) if one[0] < 4.5]
                assert not weak, weak
            ask(tab, "Which?", "a", "")
            errors = tab.evaluate(LUMINANCE, ".error:not(:empty)")
            assert errors and errors[0][0] >= 4.5
            found[scheme] = tab.evaluate(
                "[getComputedStyle(document.body).backgroundColor, getComputedStyle(document.body).color,"
                " getComputedStyle(document.querySelector('.mark')).stroke]"
            )
    assert all(light != dark for light, dark in zip(*found.values(), strict=True))


def scale(tab, axis: str, place: str, straight: Callable[[float], float]) -> Callable[[float], float]:
    """From nats to pixels, by two ticks of an axis."""
    ticks = tab.locator(f"#drawing .tick.{axis}").evaluate_all(
        f"all => all.map((tick) => [Number(tick.textContent), Number(tick.getAttribute('{place}'))])"
    )
    (low, start), (high, end) = min(ticks), max(ticks)
    slope = (end - start) / (straight(high) - straight(low))
    return lambda value: start + (straight(value) - straight(low)) * slope


@pytest.mark.parametrize("width", [360, 1280])
def test_the_asked_question_lies_where_entropy_and_mutual_information_say(browser, address, width):
    with tab_at(browser, address, viewport={"width": width, "height": 740}) as tab:
        tab.wait_for_selector("#drawing svg")
        assert tab.locator("#here").count() == 0
        place, one, _ = first_of(address, True)
        pick(tab, place)
        found = reply(address, one["question"], *one["choices"])["entropy"]
        along, up = scale(tab, "x", "x", float), scale(tab, "y", "y", lambda value: value**0.5)
        box = tab.evaluate(
            "(() => { const box = document.querySelector('#here').getBBox();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        assert box[0] == pytest.approx(along(found["predictive"]), abs=1)
        # A tick's text stands a little below its line.
        assert box[1] == pytest.approx(up(found["mutual_information"]) - 4, abs=1)
        assert f"{found['predictive']:.3f}" in tab.inner_text("#place")
        plane = httpx.get(f"{address}v1/plane").json()
        cut = tab.locator("#drawing .cut").first.get_attribute("y1")
        assert float(cut) == pytest.approx(up(plane["mi_cut"]) - 4, abs=1)
        assert sum(
            tab.locator("#drawing .mark").evaluate_all(
                "all => all.map((m) => m.getAttribute('d').split('h.01').length - 1)"
            )
        ) == plane["right"].count(True)
        assert tab.locator("#drawing .mark.unknown").count() == 1
        rows = tab.locator("#kinds tr")
        assert sum(int(rows.nth(kind).locator("td").first.inner_text()) for kind in range(3)) == len(plane["right"])


def test_what_runs_is_said_with_its_guarantee(opened, calibrated):
    calibration = calibrated.calibration
    said = opened.inner_text("header")
    assert "fitted on seen" in said and "3 members after epoch 2" in said
    assert f"Calibrated on {calibration.questions} questions of held" in said
    assert "each with 95% confidence" in said
    assert f"at most {at_most(calibration.answer.risk_bound)} of its answers" in said
    assert f"at least {at_least(calibration.answer.coverage_bound)} of questions" in said
    assert opened.is_hidden("#uncalibrated")


def test_without_a_calibration_it_says_so_and_always_answers(browser, run):
    served = Served(posterior=kvorum.load(run), run=run, epoch=2)
    with listening(served) as address, tab_at(browser, address) as tab:
        tab.wait_for_selector("#drawing svg")
        assert "not calibrated" in tab.inner_text("#uncalibrated")
        ask(tab, "What is it?", "honey", "silk")
        found = reply(address, "What is it?", "honey", "silk")
        assert found["decision"] is None
        assert tab.inner_text(".verdict") == found["answer"]
        assert "not calibrated" in tab.inner_text(".why")
        assert tab.locator(".sets, .why .tag").count() == 0
        assert tab.locator("#here").count() == 1


def test_without_a_run_there_is_nothing_to_pick_and_no_plane(browser, run):
    with listening(Served(posterior=kvorum.load(run))) as address, tab_at(browser, address) as tab:
        tab.wait_for_selector("#title .name")
        tab.wait_for_function("() => document.querySelector('#plane-body').hidden")
        assert tab.is_hidden("#pick")
        ask(tab, "What is it?", "honey", "silk")
        assert tab.locator(".choice").count() == 2


def test_a_token_is_asked_for_and_kept_nowhere(browser, run):
    served = Served(posterior=kvorum.load(run), run=run, epoch=2)
    with listening(served, (TOKEN,)) as address, tab_at(browser, address, 401) as tab:
        assert httpx.get(address).status_code == 200
        tab.wait_for_selector("#entrance:not([hidden])")
        assert tab.evaluate("document.activeElement.id") == "token"
        assert tab.inner_text("#token-error") == ""
        for wrong, words in (("wrong-" * 4, "does not know"), ("zwölf Zeichen", "without spaces")):
            tab.fill("#token", wrong)
            tab.keyboard.press("Enter")
            tab.wait_for_function(
                "words => document.querySelector('#token-error').textContent.includes(words)", arg=words
            )
        tab.fill("#token", TOKEN)
        tab.keyboard.press("Enter")
        tab.wait_for_selector("#drawing svg")
        assert tab.is_hidden("#entrance")
        ask(tab, "What is it?", "honey", "silk")
        assert tab.locator(".choice").count() == 2
        kept = "[localStorage.length, sessionStorage.length, document.cookie, location.search + location.hash]"
        assert tab.evaluate(kept) == [0, 0, "", ""]
        tab.reload()
        tab.wait_for_selector("#entrance:not([hidden])")


def test_what_is_on_no_choice_is_shown_by_letter(browser, address):
    described = httpx.get(f"{address}v1/posterior").json() | {"answer_format": "letter"}
    found = reply(address, "What is it?", "a", "b") | {"rest": 0.25}
    with tab_at(
        browser, address, prepare=lambda tab: tab.route("**/v1/posterior", lambda r: r.fulfill(json=described))
    ) as tab:
        tab.route("**/v1/answers", lambda route: route.fulfill(json={"answers": [found]}))
        tab.wait_for_selector("#drawing svg")
        ask(tab, "What is it?", "a", "b")
        assert "anything that is no choice: 0.250" in tab.inner_text("#shown")
        assert "3 outcomes" in tab.inner_text(".scale"), "the rest is an outcome of its own"


def test_a_subject_is_asked_for_where_prompts_name_one(browser, address):
    described = httpx.get(f"{address}v1/posterior").json()
    assert "subject" not in described["prompt_template"]
    described["prompt_template"] = "About {{ subject }}: {{ question }}"
    with tab_at(
        browser, address, prepare=lambda tab: tab.route("**/v1/posterior", lambda r: r.fulfill(json=described))
    ) as tab:
        tab.wait_for_selector("#subject-field:not([hidden])")
        tab.fill("#subject", "insects")
        with tab.expect_request("**/v1/answers") as sent:
            ask(tab, "What is it?", "a", "b")
        assert sent.value.post_data_json["questions"][0]["subject"] == "insects"


def test_the_page_is_small_the_same_for_all_and_bound_to_its_server(address):
    got = httpx.get(address)
    assert got.text == page().html
    assert len(got.content) < 60_000
    policy = got.headers["content-security-policy"]
    assert policy == page().content_security
    assert "unsafe" not in policy and "connect-src 'self'" in policy
