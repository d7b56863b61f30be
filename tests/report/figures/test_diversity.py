import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.patches import PathPatch
from tests.report.conftest import HOSTILE_TASK, predictions

from kvorum.report.analysis import analyse
from kvorum.report.figures.diversity import WIDTHS, colour_steps, draw_diversity
from kvorum.report.figures.palette import HEAT, LIGHT
from kvorum.report.figures.sheet import inline
from kvorum.run import Run
from kvorum.uncertainty.diversity import COLLAPSED


@pytest.fixture(scope="module")
def tasks(run):
    return analyse(run).tasks


@pytest.fixture(scope="module")
def sheet(tasks):
    return draw_diversity(tasks)


def line(axes, gid):
    (found,) = [container for container in axes.containers if container.lines[0].get_gid() == gid]
    return found


def panel(sheet, gid):
    """The axes that hold a line of this name."""
    drawn = [(axes, each.lines[0].get_gid()) for axes in sheet.figure.axes for each in axes.containers]
    return next(axes for axes, name in drawn if name == gid)


def matrix(sheet):
    return next((axes for axes in sheet.figure.axes if any(type(patch) is PathPatch for patch in axes.patches)), None)


def colour_at(axes, row, column):
    """The name of the colour of a cell; None where there is none."""
    found = [
        patch.get_gid()
        for patch in axes.patches
        for corners in patch.get_path().to_polygons()
        if np.all(corners.min(axis=0) < (column, row)) and np.all(corners.max(axis=0) > (column, row))
    ]
    return found[0] if len(found) == 1 else None


def words(axes):
    return [text.get_text() for text in axes.texts]


def test_lines_are_the_numbers_of_every_task_with_their_intervals(tasks, sheet):
    for key in ("disagreement", "kl"):
        for number, task in enumerate(tasks):
            drawn, _, (arms,) = line(panel(sheet, f"{key}-0"), f"{key}-{number}").lines
            found = [studied.diversity[key] for studied in task]
            assert drawn.get_ydata() == pytest.approx([of["value"] for of in found])
            ends = np.array([segment[:, 1] for segment in arms.get_segments()])
            assert ends[:, 0] == pytest.approx([of["low"] for of in found])
            assert ends[:, 1] == pytest.approx([of["high"] for of in found])
            assert np.round(drawn.get_xdata()).tolist() == [studied.epoch for studied in task]


def test_the_threshold_of_collapse_is_on_the_panel_of_kl_and_within_it(sheet):
    axes = panel(sheet, "kl-0")
    (threshold,) = [each for each in axes.lines if each.get_gid() == "collapsed"]
    assert list(threshold.get_ydata()) == [COLLAPSED, COLLAPSED]
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > COLLAPSED
    # Zero, which epoch 0 has, lies well below the threshold and not at minus infinity.
    heights = axes.transData.transform([(0, 0.0), (0, COLLAPSED), (0, axes.get_ylim()[1])])[:, 1]
    assert 0.15 < (heights[1] - heights[0]) / (heights[2] - heights[0]) < 0.6
    labels = axes.yaxis.get_major_formatter().format_ticks([0, 0.0001, 0.001, 0.1, 1, 10])
    assert labels == ["0", "0.0001", "0.001", "0.1", "1", "10"]


@pytest.mark.parametrize("members", [2, 5, 20])
def test_the_matrix_is_the_share_of_questions_on_which_two_differ(make_run, members):
    numbers = list(range(3, 3 + members))
    run = make_run({"facts_capitals": {"questions": 30, "members": numbers, "spread": 0.5}}, epochs=[0, 2])
    (task,) = analyse(run).tasks
    axes = matrix(draw_diversity([task]))
    votes = task[-1].evaluation.predictions.probs.argmax(axis=2)
    shares = {(i, j): np.mean(votes[i] != votes[j]) for i in range(members) for j in range(members) if i != j}
    steps = colour_steps(float(min(shares.values())), float(max(shares.values())))
    assert members == 2 or len(steps) > 1
    for (row, column), share in shares.items():
        expected = [colour for low, colour in steps if low <= share + 1e-9][-1]
        assert colour_at(axes, row, column) == expected
    assert all(colour_at(axes, place, place) is None for place in range(members))
    written = [f"{share:.0%}" for (_, _), share in sorted(shares.items())]
    assert words(axes) == (written if members <= 8 else [])
    for axis in (axes.xaxis, axes.yaxis):
        assert [text.get_text() for text in axis.get_ticklabels()] == [str(number) for number in numbers]


def test_a_member_that_diverged_is_missing_from_the_matrix(make_run):
    run = make_run({"facts_capitals": {"questions": 8}}, epochs=[0, 1, 2])
    run.save_predictions(2, "facts_capitals", predictions("facts_capitals", 2, questions=8, members=[0, 1, 3, 4]))
    axes = matrix(draw_diversity(analyse(Run.open(run.path)).tasks))
    assert [text.get_text() for text in axes.xaxis.get_ticklabels()] == ["0", "1", "3", "4"]


def test_one_member_has_neither_points_nor_a_matrix(make_run):
    run = make_run({"facts_capitals": {"questions": 8, "members": [0]}}, epochs=[0, 1])
    sheet = draw_diversity(analyse(run).tasks)
    assert np.isnan(line(panel(sheet, "kl-0"), "kl-0").lines[0].get_ydata()).all()
    assert matrix(sheet) is None
    assert sheet.png().startswith(b"\x89PNG")


def test_an_epoch_at_which_one_member_is_left_is_a_gap_and_the_matrix_is_of_the_last_with_two(make_run):
    run = make_run({"facts_capitals": {"questions": 8}}, epochs=[0, 1, 2])
    run.save_predictions(2, "facts_capitals", predictions("facts_capitals", 2, questions=8, members=[4]))
    sheet = draw_diversity(analyse(Run.open(run.path)).tasks)
    heights = line(panel(sheet, "kl-0"), "kl-0").lines[0].get_ydata()
    assert np.isfinite(heights).tolist() == [True, True, False]
    assert "disagreement by pair: facts_capitals, epoch 1" in [text.get_text() for text in sheet.figure.texts]


def test_members_that_are_all_alike_are_drawn(make_run):
    run = make_run({"facts_capitals": {"questions": 8, "spread": 0.0}}, epochs=[0, 1])
    axes = matrix(draw_diversity(analyse(run).tasks))
    assert set(words(axes)) == {"0%"}


@given(st.integers(0, 1000), st.integers(0, 1000))
def test_steps_of_colour_hold_every_share_in_few_round_steps(one, other):
    low, high = sorted((one / 1000, other / 1000))
    steps = colour_steps(low, high)
    lows = [least for least, _ in steps]
    assert len(steps) <= len(HEAT)
    assert lows[0] <= low + 1e-9
    assert lows[-1] <= high + 1e-9
    if len(steps) > 1:
        width = lows[1] - lows[0]
        assert low - lows[0] < width + 1e-9
        assert high - lows[-1] < width + 1e-9
        assert np.allclose(np.diff(lows), width)
        assert min(abs(width - each) for each in WIDTHS) < 1e-9
    places = [HEAT.index(colour) for _, colour in steps]
    assert places == sorted(set(places))


def test_differences_of_less_than_a_hundredth_have_one_colour():
    assert len(colour_steps(0.311, 0.319)) == 1
    assert len(colour_steps(0.0, 0.0)) == 1


def test_tasks_are_told_apart_and_named_in_words_and_not_in_mathematics(tasks, sheet):
    names = [text.get_text() for text in sheet.figure.texts]
    assert all(task[0].evaluation.title in names for task in tasks)
    assert HOSTILE_TASK in names
    colours = {to_hex(line(panel(sheet, "kl-0"), f"kl-{number}").lines[0].get_color()) for number in range(len(tasks))}
    assert len(colours) == len(tasks)
    assert colours <= set(LIGHT.values())


def test_more_tasks_than_colours_still_differ(make_run):
    run = make_run({f"task {number}": {"questions": 4} for number in range(8)}, epochs=[0, 1], fitted="task 0")
    axes = panel(draw_diversity(analyse(run).tasks), "kl-0")
    drawn = [line(axes, f"kl-{number}").lines[0] for number in range(8)]
    looks = {(each.get_color(), each.get_marker(), each.get_linestyle()) for each in drawn}
    assert len(looks) == 8


def test_the_page_has_its_own_colours(sheet):
    markup = inline(sheet.svg(), "figure-9")
    assert not any(colour in markup for colour in LIGHT.values())
    assert "var(--fig-heat-1)" in markup
