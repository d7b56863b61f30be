import numpy as np
import pytest
from matplotlib.colors import to_hex
from tests.report.conftest import HOSTILE_TASK

from kvorum.report.analysis import analyse
from kvorum.report.figures.movement import FEWEST, GROUPS, MEASURES, colour_of, draw_movement
from kvorum.report.figures.palette import LIGHT
from kvorum.report.figures.sheet import inline


@pytest.fixture(scope="module")
def tasks(run):
    return analyse(run).tasks


@pytest.fixture(scope="module")
def sheet(tasks):
    return draw_movement(tasks)


def bars(axes, gid):
    """The line of a group and the lows and highs of its intervals."""
    (found,) = [container for container in axes.containers if container.lines[0].get_gid() == gid]
    line, _, (arms,) = found.lines
    ends = [segment[:, 1] if len(segment) else (np.nan, np.nan) for segment in arms.get_segments()]
    return line, np.array(ends)


def test_every_panel_draws_the_numbers_of_its_task(tasks, sheet):
    assert len(sheet.figure.axes) == len(tasks) * len(MEASURES)
    drawn = 0
    for number, task in enumerate(tasks):
        for column, measure in enumerate(MEASURES):
            axes = sheet.figure.axes[number * len(MEASURES) + column]
            for group in GROUPS:
                line, ends = bars(axes, f"{measure.key}-{group}")
                assert np.round(line.get_xdata()).tolist() == [studied.epoch for studied in task]
                for place, studied in enumerate(task):
                    of = studied.change.movement[group]
                    height = line.get_ydata()[place]
                    if of["questions"] == 0 or (group != "all" and of["questions"] < FEWEST):
                        assert np.isnan(height)
                        continue
                    drawn += 1
                    assert height == pytest.approx(of[measure.key]["value"])
                    assert ends[place] == pytest.approx([of[measure.key]["low"], of[measure.key]["high"]])
    assert drawn > len(tasks) * len(MEASURES) * len(tasks[0])


def test_a_quadrant_of_four_questions_has_no_point_and_one_of_five_has(tasks):
    studied = tasks[0][-1]
    movement = studied.change.movement
    kept = {group: movement[group]["questions"] for group in GROUPS}
    try:
        movement["torn"]["questions"], movement["disputed"]["questions"] = FEWEST - 1, FEWEST
        movement["all"]["questions"] = FEWEST - 1
        axes = draw_movement([tasks[0]]).figure.axes[0]
    finally:
        for group in GROUPS:
            movement[group]["questions"] = kept[group]
    last = {group: bars(axes, f"kl-{group}")[0].get_ydata()[-1] for group in GROUPS}
    assert np.isnan(last["torn"])
    assert last["disputed"] == pytest.approx(movement["disputed"]["kl"]["value"])
    assert last["all"] == pytest.approx(movement["all"]["kl"]["value"])


def test_intervals_stand_beside_each_other_and_inside_their_epoch(sheet):
    for axes in sheet.figure.axes:
        places = np.array([container.lines[0].get_xdata() for container in axes.containers])
        assert (np.diff(places, axis=0) > 0).all()
        assert (np.ptp(places, axis=0) < 0.3).all()
        assert places.min() > axes.get_xlim()[0]
        assert places.max() < axes.get_xlim()[1]


def test_nothing_lies_outside_of_its_panel(sheet):
    for axes in sheet.figure.axes:
        low, high = axes.get_ylim()
        for container in axes.containers:
            _, ends = bars(axes, container.lines[0].get_gid())
            drawn = ends[np.isfinite(ends)]
            assert ((drawn >= low - 1e-9) & (drawn <= high + 1e-9)).all()


def test_colours_are_the_quadrants_and_all_are_themed(sheet):
    for axes in sheet.figure.axes:
        for container in axes.containers:
            group = container.lines[0].get_gid().partition("-")[2]
            assert to_hex(container.lines[0].get_color()) == LIGHT[colour_of(group)]
    markup = inline(sheet.svg(), "figure-8")
    assert not any(colour in markup for colour in LIGHT.values())
    assert "var(--fig-torn)" in markup
    assert HOSTILE_TASK in [text.get_text() for text in sheet.figure.texts]


def test_one_epoch_alone_can_be_drawn(make_run):
    run = make_run({"facts_capitals": {"questions": 12}}, epochs=[0])
    assert draw_movement(analyse(run).tasks).png().startswith(b"\x89PNG")


def test_an_epoch_without_a_comparison_is_left_out(make_run):
    tasks = analyse(make_run({"facts_capitals": {"questions": 12}}, epochs=[0, 1, 2])).tasks
    vars(tasks[0][1])["change"] = None
    line, _ = bars(draw_movement(tasks).figure.axes[0], "kl-all")
    assert np.round(line.get_xdata()).tolist() == [0, 2]
