import numpy as np
import pytest
from tests.report.conftest import predictions

from kvorum.config import StudyOptions
from kvorum.report.analysis import analyse
from kvorum.report.figures.curves import draw_curves, drawn_sizes, size_colours, spread_labels
from kvorum.report.figures.palette import SIZES
from kvorum.run import Run

METRICS = ("accuracy", "nll", "ece")
MARKS = {1: "best NLL", 3: "last"}


def line(axes, gid):
    (found,) = [line for line in axes.lines if line.get_gid() == gid]
    return found


def bands(axes) -> dict[str, np.ndarray]:
    """The corners of each band, by the size that it is of."""
    return {
        band.get_gid(): band.get_paths()[0].vertices for band in axes.collections if "spread" in (band.get_gid() or "")
    }


@pytest.fixture(scope="module")
def analysis(run):
    return analyse(run, StudyOptions(sizes=(1, 2, 4, 5)))


@pytest.fixture(scope="module")
def sheet(analysis):
    return draw_curves(analysis.tasks, MARKS)


def test_the_strongest_line_is_the_whole_ensemble_with_its_interval(run, sheet):
    axes = sheet.figure.axes
    assert len(axes) == 9
    for number, task in enumerate(run.tasks(0)):
        for column, metric in enumerate(METRICS):
            numbers = [run.numbers(epoch, task)["ensemble"][metric] for epoch in run.epochs]
            (ensemble,) = axes[3 * number + column].containers
            assert np.allclose(ensemble.lines[0].get_xydata(), list(enumerate(of["value"] for of in numbers)))
            lows, highs = ensemble.lines[1]
            assert np.allclose(lows.get_ydata(), [of["low"] for of in numbers])
            assert np.allclose(highs.get_ydata(), [of["high"] for of in numbers])


def test_a_line_is_the_mean_over_groups_and_its_band_reaches_from_the_least_to_the_greatest(run, analysis, sheet):
    axes = sheet.figure.axes
    for number, task in enumerate(run.tasks(0)):
        for column, metric in enumerate(METRICS):
            panel = axes[3 * number + column]
            each = np.array([run.numbers(epoch, task)["member_average"][metric]["per_member"] for epoch in run.epochs])
            assert np.allclose(line(panel, "size-1").get_ydata(), each.mean(axis=1))
            corners = bands(panel)["spread-1"]
            for row, epoch in enumerate(run.epochs):
                there = corners[corners[:, 0] == epoch][:, 1]
                assert np.allclose([there.min(), there.max()], [each[row].min(), each[row].max()])
    panel = axes[1]
    pairs = [studied.subensembles[1] for studied in analysis.tasks[0]]
    assert [row["size"] for row in pairs] == [2] * 4
    assert np.allclose(line(panel, "size-2").get_ydata(), [row["nll"]["value"] for row in pairs])
    # Four of five members make one group, which has no spread.
    assert set(bands(panel)) == {"spread-1", "spread-2"}


def test_guessing_is_marked_by_the_number_of_choices(run, sheet):
    choices = run.predictions(3, "facts_capitals").choices
    guessing = np.mean([1 / len(of) for of in choices])
    assert np.allclose(line(sheet.figure.axes[0], "chance").get_ydata(), guessing)
    assert not [line for line in sheet.figure.axes[1].lines if line.get_gid() == "chance"]


def test_marked_epochs_have_a_line_and_a_name(sheet):
    for axes in sheet.figure.axes:
        assert [line(axes, f"mark-{epoch}").get_xdata()[0] for epoch in MARKS] == list(MARKS)
    words = [text.get_text() for text in sheet.figure.texts]
    assert [words.count(name) for name in MARKS.values()] == [9, 9]


def test_the_legend_says_how_many_ensembles_there_are_of_a_size(sheet):
    (legend,) = sheet.figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "M = 1 (5 members)",
        "M = 2 (2 ensembles)",
        "M = 4",
        "M = 5 (all), 95% interval",
        "guessing",
    ]


def test_a_member_that_diverged_counts_in_nothing_from_then_on(make_run):
    run = make_run({"facts_capitals": {"questions": 8}}, epochs=[0, 1, 2])
    left = predictions("facts_capitals", 2, questions=8, members=[0, 1, 3, 4])
    run.save_predictions(2, "facts_capitals", left)
    run = Run.open(run.path)
    sheet = draw_curves(analyse(run).tasks, {})
    nll = sheet.figure.axes[1]
    numbers = [run.numbers(epoch, "facts_capitals") for epoch in run.epochs]
    assert np.allclose(line(nll, "size-1").get_ydata(), [of["member_average"]["nll"]["value"] for of in numbers])
    (ensemble,) = nll.containers
    assert np.allclose(ensemble.lines[0].get_ydata(), [of["ensemble"]["nll"]["value"] for of in numbers])
    labels = [text.get_text() for text in sheet.figure.legends[0].get_texts()]
    assert labels == ["M = 1 (4 members)", "all members, 95% interval", "guessing"]


def test_one_member_has_one_line(make_run):
    run = make_run({"facts_capitals": {"questions": 8, "members": [0]}}, epochs=[0, 1])
    sheet = draw_curves(analyse(run).tasks, {})
    labels = [text.get_text() for text in sheet.figure.legends[0].get_texts()]
    assert labels == ["the only member, 95% interval", "guessing"]
    assert not bands(sheet.figure.axes[0])


def test_at_a_single_epoch_the_sizes_stand_side_by_side(make_run):
    run = make_run({"facts_capitals": {"questions": 8}}, epochs=[3])
    sheet = draw_curves(analyse(run).tasks, {})
    axes = sheet.figure.axes[1]
    (ensemble,) = axes.containers
    places = [line(axes, "size-1").get_xdata()[0], ensemble.lines[0].get_xdata()[0]]
    assert places[0] < 3 < places[1]
    low, high = axes.get_xlim()
    assert low < places[0] < places[1] < high


def test_at_most_five_sizes_are_drawn_and_the_whole_ensemble_is_one(make_run):
    run = make_run({"facts_capitals": {"questions": 6, "members": range(12)}}, epochs=[0, 1])
    analysis = analyse(run, StudyOptions(sizes=(2, 3, 4, 6)))
    assert drawn_sizes(analysis.tasks) == [1, 2, 3, 6, 12]
    assert drawn_sizes(analyse(run, StudyOptions(sizes=(2, 6))).tasks) == [1, 2, 6, 12]


@pytest.mark.parametrize("count", range(1, 6))
def test_larger_ensembles_have_stronger_colours_and_the_whole_the_strongest(count):
    colours = list(size_colours(range(count)).values())
    places = [SIZES.index(colour) for colour in colours]
    assert places == sorted(set(places))
    assert places[-1] == len(SIZES) - 1


def test_labels_stay_where_they_belong_unless_they_would_overlap_or_leave():
    assert spread_labels([1.0, 3.0], [0.5, 0.5], 0.0, 5.0) == [1.0, 3.0]
    close = spread_labels([1.0, 1.1], [0.5, 0.5], 0.0, 5.0)
    assert close[1] - close[0] == pytest.approx(0.5)
    assert spread_labels([4.4, 4.9], [1.0, 1.0], 0.0, 5.0) == pytest.approx([3.5, 4.5])
    assert spread_labels([0.1], [1.0], 0.0, 5.0) == [0.5]
