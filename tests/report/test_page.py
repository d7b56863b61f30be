import base64
import hashlib
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from kvorum.report import write
from kvorum.report.tables import numbers_table
from kvorum.run import Run

from .conftest import HOSTILE, HOSTILE_TASK, predictions


class Elements(HTMLParser):
    """Every start tag with its attributes, the text outside scripts and styles, and the scripts."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text, self.scripts = "", []
        self._inside = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append((dict(attrs), ""))

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            attributes, content = self.scripts.pop()
            self.scripts.append((attributes, content + data))
        elif self._inside != "style":
            self.text += data


@pytest.fixture(scope="module")
def html(page) -> str:
    return page.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def elements(html) -> Elements:
    return Elements(html)


def test_the_page_and_its_figures_lie_in_the_run(run, page):
    assert page == run.path / "report" / "index.html"
    names = {"index.html"} | {f"figure-{number}.{kind}" for number in range(1, 11) for kind in ("svg", "png")}
    assert {file.name for file in page.parent.iterdir()} == names


def test_nothing_is_asked_of_a_network(html, elements):
    for tag, attributes in elements.tags:
        assert tag not in ("link", "iframe", "object", "embed", "img", "base", "image")
        for name, value in attributes.items():
            if name in ("src", "srcset", "action", "data", "poster", "background"):
                pytest.fail(f"{tag} has {name}={value}")
            if name in ("href", "xlink:href"):
                assert re.fullmatch(r"#[\w.-]+|#questions&[\w.%&=-]+|figure-\d+\.(svg|png)", value)
            if name == "style":
                assert "url(" not in value
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_forbids_the_network_and_any_other_script(elements):
    (policy,) = [of["content"] for tag, of in elements.tags if of.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    (script,) = [content for attributes, content in elements.scripts if attributes.get("type") != "application/json"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy


def test_hostile_text_stays_text(html, elements):
    tags = [tag for tag, _ in elements.tags]
    assert "img" not in tags
    assert "b" not in tags
    assert HOSTILE.replace("\n", "") in elements.text.replace("\n", "")
    assert f"{HOSTILE_TASK}: 6 questions, 5 with a known answer" in elements.text
    for attributes, content in elements.scripts:
        if attributes.get("type") == "application/json":
            json.loads(content)
        else:
            assert "hacked" not in content
    assert not [name for _, of in elements.tags for name in of if name.startswith("on")]


def test_identifiers_are_unique_and_links_have_targets(elements):
    identifiers = [of["id"] for _, of in elements.tags if "id" in of]
    assert len(identifiers) == len(set(identifiers))
    links = [of["href"] for tag, of in elements.tags if tag == "a"]
    targets = {link[1:].partition("&")[0] for link in links if link.startswith("#")}
    assert targets <= set(identifiers)


def test_every_number_is_on_the_page(run, html):
    body = html[html.index('id="scores"') : html.index('id="retention"')]
    for row in numbers_table(run):
        for cell in row.cells.values():
            assert f">{cell.text.replace('<', '&lt;')}<" in body
            assert cell.interval.replace("<", "&lt;") in body


def test_what_was_run_is_said(elements):
    for words in (
        "smollm2-135m",
        "rank 8, alpha 16",
        "learning rate 0.0003",
        "torch 2.13.0",
        "1,600 questions",
        "135,000,000",
        "yes, –",
        "Question: {{ question }}",
    ):
        assert words in elements.text


def test_evaluating_on_what_was_fitted_is_said_once(elements):
    assert elements.text.count(f"{HOSTILE_TASK} was evaluated on 4 of 6 questions that the members were fitted on") == 1
    assert elements.text.count("that the members were fitted on: its numbers") == 1


def test_a_member_that_diverged_is_named(make_run):
    run = make_run({"facts_capitals": {"questions": 6}}, epochs=[0, 1])
    others, why = [0, 1, 2, 4], {"3": "epoch 1, step 2"}
    left = predictions("facts_capitals", 1, questions=6, members=others, diverged=why, trained_on=6)
    run.save_predictions(1, "facts_capitals", left)
    text = Elements(write(Run.open(run.path)).read_text(encoding="utf-8")).text
    assert "Member 3 diverged by epoch 1, step 2, and is left out from epoch 1 on. Its answers" in text
    assert "facts_capitals was evaluated on all of 6 questions that the members were fitted on" in text


def test_no_member_left_out_is_said_too(html):
    assert "<dt>members left out</dt><dd>none</dd>" in html


def test_a_run_without_predictions_has_a_page(make_run):
    page = write(make_run({}, epochs=[0]))
    text = Elements(page.read_text(encoding="utf-8")).text
    assert "no predictions yet" in text
    assert "What was run" in text


def test_writing_again_gives_the_same_page(make_run):
    run = make_run({"facts_capitals": {"questions": 6}}, epochs=[0, 1])
    first = write(run).read_bytes()
    assert write(run).read_bytes() == first


def test_the_tables_need_neither_torch_nor_matplotlib():
    code = (
        "import sys; import kvorum.report.tables; "
        "print([name for name in ('torch', 'transformers', 'matplotlib', 'sklearn', 'scipy') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
