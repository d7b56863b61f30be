from xml.etree import ElementTree

import pytest
from tests.report.conftest import HOSTILE_TASK

from kvorum.config import StudyOptions
from kvorum.report.analysis import analyse
from kvorum.report.figures.choose import chosen_epochs, draw_figures
from kvorum.report.figures.palette import LIGHT
from kvorum.report.figures.sheet import Sheet, inline, printable
from kvorum.report.tables import Cell
from kvorum.report.words import READING


@pytest.fixture(scope="module")
def figures(run):
    return {figure.stem: figure for figure in draw_figures(analyse(run))}


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.sheet.figure.texts]


def line(axes, gid):
    (found,) = [line for line in axes.lines if line.get_gid() == gid]
    return found


def test_histograms_hold_every_question_once(run, figures):
    """The counts over the panels of a column sum to the questions of the task."""
    for stem, task in (("figure-2", "facts_capitals"), ("figure-3", "facts_elements")):
        counts = [int(text.split()[0]) for text in texts(figures[stem]) if text.endswith(("question", "questions"))]
        epochs = len(run.epochs)
        right, wrong = counts[:epochs], counts[epochs : 2 * epochs]
        assert [sum(pair) for pair in zip(right, wrong, strict=True)] == [len(run.predictions(0, task))] * epochs
        assert right == [int(run.predictions(epoch, task).correct.sum()) for epoch in run.epochs]


def test_mean_and_median_of_right_and_wrong_answers(run, figures):
    axes = figures["figure-2"].sheet.figure.axes
    for column, epoch in enumerate(run.epochs):
        numbers = run.numbers(epoch, "facts_capitals")
        for row, outcome in enumerate(("correct", "wrong")):
            panel = axes[row * len(run.epochs) + column]
            for name in ("mean", "median"):
                for get, key in ((0, "predictive_entropy"), (1, "mutual_information")):
                    number = numbers[key][outcome][name]
                    expected = number["value"] if name == "mean" else number
                    found = line(panel, name).get_xydata()[0][get]
                    assert found == pytest.approx(expected, abs=1e-12)


def test_questions_without_an_answer_have_a_row_of_their_own(figures):
    assert texts(figures["figure-3"]).count("answer unknown") == 1
    assert "answer unknown" not in texts(figures["figure-2"])


def test_figure_4_has_the_tasks_side_by_side(run, figures):
    words = texts(figures["figure-4"])
    assert all(task in words for task in run.tasks(3))
    assert figures["figure-4"].title.endswith("(3)")


DOUBT = ["figure-4", "figure-5", "figure-6"]


@pytest.mark.parametrize(
    ("fitted", "tasks", "epochs", "members", "expected"),
    [
        (
            "facts_capitals",
            ["facts_capitals"],
            [0, 1],
            2,
            ["figure-1", "figure-2", *DOUBT, "figure-7", "figure-8", "figure-9", "figure-10"],
        ),
        (
            "facts_sums",
            ["facts_capitals"],
            [0, 1],
            1,
            ["figure-1", "figure-3", *DOUBT, "figure-7", "figure-8", "figure-10"],
        ),
        ("facts_capitals", ["facts_capitals"], [1, 2], 2, ["figure-1", "figure-2", *DOUBT, "figure-9", "figure-10"]),
        ("facts_capitals", ["facts_capitals"], [0], 2, ["figure-1", "figure-2", *DOUBT, "figure-10"]),
        ("facts_sums", [], [0], 2, []),
    ],
)
def test_only_figures_with_something_to_show(make_run, fitted, tasks, epochs, members, expected):
    settings = {"questions": 5, "members": range(members)}
    run = make_run({task: settings for task in tasks}, epochs=epochs, fitted=fitted)
    figures = draw_figures(analyse(run))
    assert [figure.stem for figure in figures] == expected


def test_every_figure_has_its_section_and_its_reading(figures):
    doubt = [f"figure-{number}" for number in range(2, 7)]
    expected = {
        "scores": ["figure-1"],
        "doubt": doubt,
        "retention": ["figure-7", "figure-8"],
        "diversity": ["figure-9"],
        "decisions": ["figure-10"],
    }
    for section, stems in expected.items():
        assert [stem for stem, figure in figures.items() if figure.section == section] == stems
    assert list(READING) == list(figures)


def test_tasks_without_any_answer_can_be_drawn(make_run):
    run = make_run({"facts_capitals": {"questions": 5, "unknown": 5}}, epochs=[0, 1])
    figures = {figure.stem: figure for figure in draw_figures(analyse(run))}
    assert [text.get_text() for text in figures["figure-1"].sheet.figure.axes[0].texts] == ["no known answers"]
    assert {"right", "wrong"}.isdisjoint(texts(figures["figure-2"]))
    for figure in figures.values():
        assert figure.sheet.png().startswith(b"\x89PNG")


def test_of_many_epochs_a_few_are_chosen():
    assert chosen_epochs([0, 1, 2, 3]) == [0, 1, 2, 3]
    assert chosen_epochs(range(11)) == [0, 2, 5, 7, 10]


@pytest.mark.parametrize(
    ("marks", "expected"),
    [
        ([4, 10], [0, 2, 4, 7, 10]),
        ([1], [0, 1, 3, 5, 10]),
        ([3, 4, 5], [0, 3, 4, 5, 10]),
        ([2, 3, 4, 5], [2, 3, 4, 5, 10]),
        (range(11), [0, 2, 5, 8, 10]),
        ([40], [0, 2, 5, 7, 10]),
    ],
)
def test_marked_epochs_come_first_then_the_ends_then_what_lies_between(marks, expected):
    assert chosen_epochs(range(11), marks) == expected


def test_marked_epochs_are_named_where_they_stand(make_run):
    run = make_run({"facts_capitals": {"questions": 30}}, epochs=range(4))
    analysis = analyse(run, StudyOptions(mark=(1, 3)))
    figures = {figure.stem: figure for figure in draw_figures(analysis)}
    last = "last" if analysis.best != 3 else "best NLL, last"
    first = "marked" if analysis.best != 1 else "best NLL"
    headings = ["epoch 0 (before fitting)", f"epoch 1 ({first})", "epoch 2", f"epoch 3 ({last})"]
    for stem in ("figure-2", "figure-5"):
        assert [text for text in texts(figures[stem]) if text.startswith("epoch ")] == headings
    assert texts(figures["figure-1"]).count(last) == 3


def test_a_single_epoch_needs_no_mark(make_run):
    figures = draw_figures(analyse(make_run({"facts_capitals": {"questions": 30}}, epochs=[2])))
    assert not [line for line in figures[0].sheet.figure.axes[0].lines if (line.get_gid() or "").startswith("mark")]
    assert [text for text in texts(figures[1]) if text.startswith("epoch")] == ["epoch 2"]


def test_the_note_says_which_epochs_are_shown(make_run):
    run = make_run({"facts_capitals": {"questions": 4}}, epochs=range(8))
    notes = {figure.stem: figure.note for figure in draw_figures(analyse(run, StudyOptions(mark=(1, 7))))}
    assert notes["figure-2"] == "Shown are epochs 0, 1, 2, 4 and 7 of 0 to 7; the tables hold all."
    assert notes["figure-1"] == ""


def test_the_note_says_where_the_plane_is_cut(make_run):
    run = make_run({"facts_capitals": {"questions": 9}}, epochs=[0, 1])
    analysis = analyse(run, StudyOptions(entropy_cut=0.25))
    found = {figure.stem: figure.note for figure in draw_figures(analysis)}
    median = run.numbers(analysis.best, "facts_capitals")["mutual_information"]["all"]["median"]
    words = (
        "Torn is what has an entropy above 0.250 nats (given); disputed, at any entropy, what has a mutual information "
        f"above {Cell(value=median).text} nats (the median on facts_capitals at epoch {analysis.best})."
    )
    assert all(found[stem] == words for stem in ("figure-5", "figure-6", "figure-8"))


def test_more_tasks_than_fit_side_by_side_go_on_below(make_run):
    run = make_run({f"task {number}": {"questions": 4} for number in range(7)}, epochs=[1], fitted="task 0")
    figures = {figure.stem: figure for figure in draw_figures(analyse(run))}
    assert len(figures["figure-4"].sheet.figure.axes) == 14
    assert figures["figure-4"].sheet.width < 12.5


def test_names_are_words_and_not_mathematics(figures):
    for stem in ("figure-1", "figure-3", "figure-4", "figure-5", "figure-6"):
        assert HOSTILE_TASK in texts(figures[stem])
        root = ElementTree.fromstring(figures[stem].sheet.svg())
        assert HOSTILE_TASK in [node.text for node in root.iter("{http://www.w3.org/2000/svg}text")]


def test_control_characters_and_long_names_are_tamed():
    assert printable("a\x00b\nc\u2028d \ud800") == "a b c d"
    assert printable("x" * 80) == "x" * 59 + "…"
    sheet = Sheet(2.0, 1.0)
    sheet.text(0.5, 0.5, "bell \x07 and null \x00")
    ElementTree.fromstring(sheet.svg())


def test_markup_for_the_page_is_themed_and_keeps_to_itself(figures):
    markup = [inline(figure.sheet.svg(), figure.stem) for figure in figures.values()]
    identifiers = [node.get("id") for one in markup for node in ElementTree.fromstring(one).iter() if node.get("id")]
    assert identifiers
    assert len(identifiers) == len(set(identifiers))
    for one in markup:
        root = ElementTree.fromstring(one)
        known = {f"#{node.get('id')}" for node in root.iter() if node.get("id")}
        used = {node.get("{http://www.w3.org/1999/xlink}href") for node in root.iter()} - {None}
        clips = {(node.get("clip-path") or "")[4:-1] for node in root.iter()} - {""}
        assert used | clips
        assert used | clips <= known
        assert not any(colour in one for colour in LIGHT.values())
        assert "var(--fig-ink)" in one
        assert "font-family" not in one
        assert not list(root.iter("{http://www.w3.org/2000/svg}style"))


def test_coordinates_in_the_page_are_those_of_the_file_to_a_hundredth_of_a_point(figures):
    svg = figures["figure-5"].sheet.svg()
    path = "{http://www.w3.org/2000/svg}path"
    exact = [node.get("d") for node in ElementTree.fromstring(svg).iter(path)]
    rounded = [node.get("d") for node in ElementTree.fromstring(inline(svg, "f")).iter(path)]
    for one, other in zip(exact, rounded, strict=True):
        fine, coarse = one.split(), other.split()
        assert [word for word in fine if word.isalpha()] == [word for word in coarse if word.isalpha()]
        apart = [abs(float(a) - float(b)) for a, b in zip(fine, coarse, strict=True) if not a.isalpha()]
        assert max(apart) <= 0.005 + 1e-9
    assert max(len(word.partition(".")[2]) for one in rounded for word in one.split()) == 2
