import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.path import Path as Outline
from tests.report.conftest import HOSTILE_TASK

from kvorum.config import StudyOptions
from kvorum.report.analysis import analyse
from kvorum.report.figures.palette import LIGHT
from kvorum.report.figures.scatter import MARKS, draw_scatter, strokes
from kvorum.report.figures.sheet import percent
from kvorum.uncertainty.plane import QUADRANTS

NAMES = {1: "epoch 1", 3: "epoch 3 (last)"}


@pytest.fixture(scope="module")
def analysis(run):
    return analyse(run)


@pytest.fixture(scope="module")
def sheet(analysis):
    return draw_scatter(analysis.tasks, NAMES)


def panels(analysis, sheet):
    shown = [studied for task in analysis.tasks for studied in task if studied.epoch in NAMES]
    return zip(shown, sheet.figure.axes, strict=True)


def dots(axes, patch, outcome) -> np.ndarray:
    """Entropy and mutual information of each mark of a patch: the middle of its strokes."""
    corners = patch.get_path().vertices.reshape(-1, 2 * len(MARKS[outcome]), 2).mean(axis=1)
    return axes.transData.inverted().transform(patch.get_transform().transform(corners))


def test_every_question_is_one_mark_where_it_lies_in_its_quadrants_colour(analysis, sheet):
    for studied, axes in panels(analysis, sheet):
        evaluation = studied.evaluation
        of = {"right": evaluation.correct, "wrong": evaluation.wrong}
        of["answer unknown"] = ~(evaluation.correct | evaluation.wrong)
        found = 0
        for patch in axes.patches:
            quadrant, outcome = patch.get_gid().split("-")
            chosen = of[outcome] & (studied.quadrant == QUADRANTS.index(quadrant))
            predictions = evaluation.predictions
            expected = np.stack([predictions.predictive_entropy, predictions.mutual_information], axis=1)[chosen]
            places = dots(axes, patch, outcome)
            assert np.allclose(np.sqrt(np.abs(places[:, 1])), np.sqrt(expected[:, 1]), atol=2e-3)
            assert np.allclose(places[:, 0], expected[:, 0], atol=2e-3)
            assert to_hex(patch.get_edgecolor()) == LIGHT[quadrant]
            found += len(places)
        assert found == len(evaluation.predictions)


def test_marks_of_a_kind_are_one_path(analysis, sheet):
    for _, axes in panels(analysis, sheet):
        gids = [patch.get_gid() for patch in axes.patches]
        assert len(gids) == len(set(gids)) <= 9


def test_a_mark_is_drawn_by_strokes_around_its_place():
    places = np.array([[10.0, 20.0], [30.0, 5.0]])
    path = strokes(places, MARKS["wrong"], 2.0)
    assert path.codes.tolist() == [Outline.MOVETO, Outline.LINETO] * 4
    assert np.allclose(path.vertices[:2], [[8.6, 18.6], [11.4, 21.4]])
    assert np.allclose(path.vertices.reshape(2, 4, 2).mean(axis=1), places)


@pytest.mark.parametrize("outcome", list(MARKS))
def test_every_kind_of_mark_leaves_colour_on_the_picture(make_run, outcome):
    """A stroke without length, or snapped to none, would be in the file and not be seen."""
    run = make_run({"facts_capitals": {"questions": 40, "unknown": 15, "skill": 0.5}}, epochs=[1])
    sheet = draw_scatter(analyse(run, StudyOptions(entropy_cut=9.0, mi_cut=9.0)).tasks, {1: "epoch 1"})
    (axes,) = sheet.figure.axes
    colour = np.array([int(LIGHT["confident"][place : place + 2], 16) for place in (1, 3, 5)])
    for patch in axes.patches:
        patch.set_visible(patch.get_gid() == f"confident-{outcome}")
    sheet.figure.legends[0].set_visible(False)
    sheet.figure.canvas.draw()
    seen = np.asarray(sheet.figure.canvas.buffer_rgba())[:, :, :3]
    marks = len(next(patch for patch in axes.patches if patch.get_visible()).get_path().vertices) // (
        2 * len(MARKS[outcome])
    )
    assert (np.abs(seen.astype(int) - colour).max(axis=2) < 60).sum() >= marks


def test_the_cuts_are_drawn_where_they_are_and_entropy_only_beneath_the_other(analysis, sheet):
    for _, axes in panels(analysis, sheet):
        lines = {line.get_gid(): line.get_xydata() for line in axes.lines}
        cuts = analysis.cuts
        assert np.allclose(lines["cut-mutual-information"][:, 1], cuts.mutual_information)
        assert np.allclose(lines["cut-entropy"], [[cuts.entropy, 0], [cuts.entropy, cuts.mutual_information]])


def test_a_cut_beyond_every_question_is_not_drawn(run):
    sheet = draw_scatter(analyse(run, StudyOptions(entropy_cut=9.0, mi_cut=9.0)).tasks, NAMES)
    assert not any(axes.lines for axes in sheet.figure.axes)


def test_shares_stand_over_each_panel(analysis, sheet):
    words = [text.get_text() for text in sheet.figure.texts if " torn" in text.get_text()]
    for (studied, _), said in zip(panels(analysis, sheet), words, strict=True):
        shares = np.bincount(studied.quadrant, minlength=3) / len(studied.quadrant)
        expected = [f"{percent(share)} {name}" for share, name in zip(shares, QUADRANTS, strict=True)]
        assert said == " · ".join(expected)


def test_panels_share_their_scales(sheet):
    assert len({(axes.get_xlim(), axes.get_ylim()) for axes in sheet.figure.axes}) == 1


def test_a_task_without_those_epochs_shows_its_last(analysis):
    later = [
        [studied for studied in task if studied.epoch < 3 or task[0].task != HOSTILE_TASK] for task in analysis.tasks
    ]
    sheet = draw_scatter(later, {3: "epoch 3 (last)"})
    words = [text.get_text() for text in sheet.figure.texts]
    assert words.count("epoch 3 (last)") == 2
    assert words.count("epoch 2") == 1


def test_unknown_answers_have_a_mark_of_their_own_in_the_key(analysis, sheet):
    def labels(sheet):
        return [text.get_text() for text in sheet.figure.legends[0].get_texts()]

    assert labels(sheet) == [*QUADRANTS, "right answer", "wrong answer", "answer unknown"]
    assert "answer unknown" not in labels(draw_scatter(analysis.tasks[:1], NAMES))
