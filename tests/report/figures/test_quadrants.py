import numpy as np
import pytest

from kvorum.report.analysis import analyse
from kvorum.report.figures.quadrants import FEWEST, draw_quadrants
from kvorum.uncertainty.plane import QUADRANTS


@pytest.fixture(scope="module")
def analysis(run):
    return analyse(run)


@pytest.fixture(scope="module")
def axes(analysis):
    return draw_quadrants(analysis.tasks).figure.axes


def lines_of(axes) -> dict:
    return {line.get_gid(): line for line in axes.lines if line.get_gid()}


def test_shares_are_stacked_up_to_all_questions(analysis, axes):
    for number, task in enumerate(analysis.tasks):
        lines = lines_of(axes[2 * number])
        counts = np.array([np.bincount(studied.quadrant, minlength=3) / len(studied.quadrant) for studied in task])
        for place, quadrant in enumerate(QUADRANTS):
            assert np.allclose(lines[f"top-{quadrant}"].get_ydata(), counts.cumsum(axis=1)[:, place])
        assert np.allclose(lines["top-disputed"].get_ydata(), 1)


def test_accuracy_within_a_quadrant_has_its_interval_and_is_left_out_of_few(analysis, axes):
    drawn = left_out = 0
    for number, task in enumerate(analysis.tasks):
        containers = dict(zip(QUADRANTS, axes[2 * number + 1].containers, strict=True))
        for place, quadrant in enumerate(QUADRANTS):
            values = containers[quadrant].lines[0].get_ydata()
            lows, highs = containers[quadrant].lines[1]
            for row, studied in enumerate(task):
                there = (studied.quadrant == place) & studied.evaluation.predictions.labelled
                if there.sum() < FEWEST:
                    assert np.isnan(values[row])
                    left_out += 1
                    continue
                assert values[row] == pytest.approx(studied.evaluation.correct[there].mean())
                interval = studied.shares[quadrant]["accuracy"]
                assert lows.get_ydata()[row] == pytest.approx(interval["low"])
                assert highs.get_ydata()[row] == pytest.approx(interval["high"])
                drawn += 1
    assert drawn
    assert left_out


def test_a_single_epoch_is_a_bar(make_run):
    analysis = analyse(make_run({"facts_capitals": {"questions": 30}}, epochs=[2]))
    shares = draw_quadrants(analysis.tasks).figure.axes[0]
    counts = np.bincount(analysis.tasks[0][0].quadrant, minlength=3) / 30
    assert [patch.get_height() for patch in shares.patches] == pytest.approx(counts.tolist())
    assert [patch.get_y() for patch in shares.patches] == pytest.approx([0, *counts.cumsum()[:2]])


def test_without_known_answers_there_is_no_accuracy(make_run):
    analysis = analyse(make_run({"facts_capitals": {"questions": 20, "unknown": 20}}, epochs=[0, 1]))
    shares, accuracies = draw_quadrants(analysis.tasks).figure.axes
    assert [text.get_text() for text in accuracies.texts] == ["no known answers"]
    assert np.allclose(lines_of(shares)["top-disputed"].get_ydata(), 1)
