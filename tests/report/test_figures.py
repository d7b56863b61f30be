from xml.etree import ElementTree

import numpy as np
import pytest

from kvorum.report.evaluations import read_evaluations
from kvorum.report.figures import chosen_epochs, draw_figures
from kvorum.report.palette import LIGHT
from kvorum.report.sheet import Sheet, inline, printable

from .conftest import HOSTILE_TASK


@pytest.fixture(scope="module")
def figures(run):
    return {figure.stem: figure for figure in draw_figures(read_evaluations(run))}


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.sheet.figure.texts]


def line(axes, gid):
    (found,) = [line for line in axes.lines if line.get_gid() == gid]
    return found


def test_figure_1_draws_the_numbers_of_every_task(run, figures):
    axes = figures["figure-1"].sheet.figure.axes
    assert len(axes) == 9
    for number, task in enumerate(run.tasks(0)):
        for column, metric in enumerate(("accuracy", "nll", "ece")):
            numbers = [run.numbers(epoch, task) for epoch in run.epochs]
            panel = axes[3 * number + column]
            (ensemble,) = [drawn for drawn in panel.containers if drawn.get_label() != ""]
            assert np.allclose(ensemble.lines[0].get_xydata()[:, 0], run.epochs)
            values = [of["ensemble"][metric]["value"] for of in numbers]
            assert np.allclose(ensemble.lines[0].get_xydata()[:, 1], values)
            lows, highs = ensemble.lines[1]
            assert np.allclose(lows.get_ydata(), [of["ensemble"][metric]["low"] for of in numbers])
            assert np.allclose(highs.get_ydata(), [of["ensemble"][metric]["high"] for of in numbers])
            average = [of["member_average"][metric]["value"] for of in numbers]
            assert np.allclose(line(panel, "average").get_ydata(), average)
            for member in range(5):
                alone = [of["member_average"][metric]["per_member"][member] for of in numbers]
                assert np.allclose(line(panel, f"member-{member}").get_ydata(), alone)


def test_figure_1_marks_guessing_by_the_number_of_choices(run, figures):
    predictions = run.predictions(3, "facts_capitals")
    guessing = np.mean([1 / len(choices) for choices in predictions.choices])
    assert np.allclose(line(figures["figure-1"].sheet.figure.axes[0], "chance").get_ydata(), guessing)


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


@pytest.mark.parametrize(
    ("fitted", "tasks", "expected"),
    [
        ("facts_capitals", ["facts_capitals"], ["figure-1", "figure-2", "figure-4"]),
        ("facts_sums", ["facts_capitals"], ["figure-1", "figure-3", "figure-4"]),
        ("facts_sums", [], []),
    ],
)
def test_only_figures_with_something_to_show(make_run, fitted, tasks, expected):
    run = make_run({task: {"questions": 5} for task in tasks}, epochs=[0], fitted=fitted)
    assert [figure.stem for figure in draw_figures(read_evaluations(run))] == expected


def test_tasks_without_any_answer_can_be_drawn(make_run):
    run = make_run({"facts_capitals": {"questions": 5, "unknown": 5}}, epochs=[0, 1])
    first, second, _ = draw_figures(read_evaluations(run))
    assert [text.get_text() for text in first.sheet.figure.axes[0].texts] == ["no known answers"]
    assert {"right", "wrong"}.isdisjoint(texts(second))
    assert first.sheet.png().startswith(b"\x89PNG")


def test_a_member_that_diverged_has_a_line_that_ends(make_run, tmp_path):
    from kvorum.run import Run

    from .conftest import predictions

    run = make_run({"facts_capitals": {"questions": 8}}, epochs=[0, 1, 2])
    run.save_predictions(2, "facts_capitals", predictions("facts_capitals", 2, questions=8, members=[0, 1, 3, 4]))
    first, *_ = draw_figures(read_evaluations(Run.open(run.path)))
    ended = line(first.sheet.figure.axes[1], "member-2").get_ydata()
    assert np.isfinite(ended).tolist() == [True, True, False]
    assert np.isfinite(line(first.sheet.figure.axes[1], "member-3").get_ydata()).all()
    expected = Run.open(run.path).numbers(2, "facts_capitals")["member_average"]["nll"]["per_member"][2]
    assert line(first.sheet.figure.axes[1], "member-3").get_ydata()[2] == pytest.approx(expected)


def test_of_many_epochs_a_few_are_chosen():
    assert chosen_epochs([0, 1, 2, 3]) == [0, 1, 2, 3]
    assert chosen_epochs(range(11)) == [0, 2, 5, 8, 10]


def test_the_note_says_which_epochs_are_shown(make_run):
    run = make_run({"facts_capitals": {"questions": 4}}, epochs=range(8))
    notes = {figure.stem: figure.note for figure in draw_figures(read_evaluations(run))}
    assert notes["figure-2"] == "Shown are epochs 0, 2, 4, 5 and 7 of 0 to 7; the tables hold all."
    assert notes["figure-1"] == ""


def test_more_tasks_than_fit_side_by_side_go_on_below(make_run):
    run = make_run({f"task {number}": {"questions": 4} for number in range(7)}, epochs=[1], fitted="task 0")
    figures = {figure.stem: figure for figure in draw_figures(read_evaluations(run))}
    assert len(figures["figure-4"].sheet.figure.axes) == 14
    assert figures["figure-4"].sheet.width < 12.5


def test_names_are_words_and_not_mathematics(figures):
    for stem in ("figure-1", "figure-3", "figure-4"):
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
        assert "var(--fig-mean)" in one or "var(--fig-ensemble)" in one
        assert "font-family" not in one
        assert not list(root.iter("{http://www.w3.org/2000/svg}style"))
