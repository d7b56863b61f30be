from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.patches import PathPatch, Rectangle
from tests.report.conftest import HOSTILE_TASK

from kvorum.report.analysis import Change, Studied, analyse
from kvorum.report.evaluations import read_evaluations
from kvorum.report.figures.flow import ORDER, apart, colour_of, draw_flow, flows
from kvorum.report.figures.palette import LIGHT
from kvorum.report.figures.sheet import SVG, inline
from kvorum.uncertainty.plane import Cuts
from kvorum.uncertainty.retention import OUTCOMES

RETAINED, FORGOTTEN, ACQUIRED, NEVER_KNOWN = range(4)


def studied(run, epoch, outcome, keys=None) -> Studied:
    """A study whose outcomes are given and not computed."""
    outcome = np.array(outcome, dtype=np.int64)
    nothing = np.zeros(len(outcome))
    evaluation = replace(read_evaluations(run)[0], epoch=epoch)
    vars(evaluation)["keys"] = list(range(len(outcome))) if keys is None else keys
    found = Studied(evaluation=evaluation, cuts=Cuts(entropy=0.0, mutual_information=0.0), sizes=(1,), prior=None)
    vars(found)["change"] = Change(
        outcome=outcome,
        kl=nothing,
        tv=nothing,
        same_answer=nothing > 0,
        asked=nothing == 0,
        outcomes={},
        movement={},
    )
    return found


def patches(sheet, kind):
    return {patch.get_gid(): patch for axes in sheet.figure.axes for patch in axes.patches if type(patch) is kind}


def stack(sheet, epoch):
    """Top and height of each outcome of a stack."""
    found = patches(sheet, Rectangle)
    return {name: (found[f"{epoch}/{name}"].get_y(), found[f"{epoch}/{name}"].get_height()) for name in ORDER}


def edges(ribbon):
    """Top and height at the left end of a ribbon, and at its right end."""
    corners = ribbon.get_path().vertices
    left, right = corners[corners[:, 0] == corners[:, 0].min(), 1], corners[corners[:, 0] == corners[:, 0].max(), 1]
    return (left.min(), np.ptp(left)), (right.min(), np.ptp(right))


def test_flows_by_hand():
    before = np.array([RETAINED, RETAINED, NEVER_KNOWN, NEVER_KNOWN, NEVER_KNOWN, -1, FORGOTTEN])
    after = np.array([RETAINED, FORGOTTEN, ACQUIRED, ACQUIRED, NEVER_KNOWN, RETAINED, -1])
    expected = np.zeros((4, 4), int)
    expected[RETAINED, RETAINED] = expected[RETAINED, FORGOTTEN] = expected[NEVER_KNOWN, NEVER_KNOWN] = 1
    expected[NEVER_KNOWN, ACQUIRED] = 2
    assert flows(before, after).tolist() == expected.tolist()


outcome = arrays.arrays(np.int64, st.integers(0, 30), elements=st.integers(-1, 3))


@given(outcome, outcome)
def test_flows_are_what_counting_one_by_one_gives(before, after):
    size = min(len(before), len(after))
    before, after = before[:size], after[:size]
    counted = np.zeros((4, 4), int)
    for one, other in zip(before, after, strict=True):
        if one >= 0 and other >= 0:
            counted[one, other] += 1
    found = flows(before, after)
    assert found.tolist() == counted.tolist()
    both = (before >= 0) & (after >= 0)
    assert found.sum(axis=1).tolist() == [int((before[both] == kind).sum()) for kind in range(4)]
    assert found.sum(axis=0).tolist() == [int((after[both] == kind).sum()) for kind in range(4)]


def test_ribbons_fill_the_stacks_at_both_ends(run):
    """Each outcome's height is that of the ribbons that come and of those that go, and they do not overlap."""
    task = analyse(run).tasks[0]
    sheet = draw_flow([task])
    ribbons = patches(sheet, PathPatch)
    for before, after in pairwise(task):
        between = {
            gid: edges(each) for gid, each in ribbons.items() if gid.startswith(f"{before.epoch}-{after.epoch}/")
        }
        counts = flows(before.change.outcome, after.change.outcome)
        assert len(between) == np.count_nonzero(counts)
        for side, epoch in ((0, before.epoch), (1, after.epoch)):
            for name, (top, height) in stack(sheet, epoch).items():
                own = sorted(ends[side] for gid, ends in between.items() if gid.split("/")[side + 1] == name)
                assert sum(thickness for _, thickness in own) == pytest.approx(height)
                place = top
                for start, thickness in own:
                    assert start == pytest.approx(place)
                    place += thickness
        for gid, ((_, left), (_, right)) in between.items():
            _, source, target = gid.split("/")
            count = counts[OUTCOMES.index(source), OUTCOMES.index(target)]
            assert left * counts.sum() == pytest.approx(count)
            assert right * counts.sum() == pytest.approx(count)


def test_what_is_right_lies_above_the_mark(run):
    task = analyse(run).tasks[0]
    sheet = draw_flow([task])
    lines = {line.get_gid(): line for axes in sheet.figure.axes for line in axes.lines}
    for each in task:
        accuracy = each.evaluation.numbers["ensemble"]["accuracy"]["value"]
        assert lines[f"{each.epoch}/accuracy/ink"].get_ydata()[0] == pytest.approx(accuracy)
        drawn = stack(sheet, each.epoch)
        assert drawn["retained"][1] + drawn["acquired"][1] == pytest.approx(accuracy)
        assert sum(height for _, height in drawn.values()) == pytest.approx(1)


def test_questions_not_asked_at_both_epochs_have_no_ribbon(run):
    sheet = draw_flow(
        [
            [
                studied(run, 0, [RETAINED, NEVER_KNOWN, NEVER_KNOWN, RETAINED], keys=["a", "b", "c", "d"]),
                studied(run, 1, [ACQUIRED, FORGOTTEN, -1], keys=["c", "a", "d"]),
            ]
        ]
    )
    ribbons = patches(sheet, PathPatch)
    assert set(ribbons) == {"0-1/never known/acquired", "0-1/retained/forgotten"}
    (_, left), (_, right) = edges(ribbons["0-1/retained/forgotten"])
    assert (left, right) == (pytest.approx(1 / 4), pytest.approx(1 / 2))


def test_numbers_stand_beside_the_first_and_the_last_stack(run):
    first, last = [RETAINED] * 3 + [NEVER_KNOWN], [RETAINED, RETAINED, FORGOTTEN, ACQUIRED]
    words = [text.get_text() for text in draw_flow([[studied(run, 0, first), studied(run, 4, last)]]).figure.texts]
    for expected in ("75% right before", "25% wrong before", "50% retained", "25% acquired", "25% forgotten"):
        assert words.count(expected) == 1
    assert "0% never known" in words
    assert not any(each.endswith("% retained") for each in words if not each.startswith("50"))


def test_colours_are_those_of_the_outcomes_and_opacity_reaches_the_page(run):
    sheet = draw_flow([analyse(run).tasks[0]])
    for gid, ribbon in patches(sheet, PathPatch).items():
        assert to_hex(ribbon.get_facecolor()) == LIGHT[colour_of(gid.split("/")[1])]
    markup = inline(sheet.svg(), "figure-7")
    assert not any(colour in markup for colour in LIGHT.values())
    styles = [node.get("style") or "" for node in ElementTree.fromstring(markup).iter(f"{{{SVG}}}path")]
    see_through = [style for style in styles if "opacity: 0.42" in style]
    assert len(see_through) == len(patches(sheet, PathPatch))
    assert all("fill: var(--fig-" in style for style in see_through)


def test_epochs_that_cannot_be_told_and_answers_nobody_knows_are_drawn_without(run):
    missing = studied(run, 1, [])
    vars(missing)["change"] = None
    sheet = draw_flow(
        [
            [studied(run, 0, [RETAINED]), missing, studied(run, 2, [FORGOTTEN])],
            [studied(run, 0, [-1]), studied(run, 1, [-1])],
        ]
    )
    assert set(patches(sheet, PathPatch)) == {"0-2/retained/forgotten"}
    assert [text.get_text() for axes in sheet.figure.axes for text in axes.texts] == ["no known answers"]
    assert draw_flow([[studied(run, 0, [RETAINED])]]).png().startswith(b"\x89PNG")
    assert HOSTILE_TASK in [text.get_text() for text in draw_flow(analyse(run).tasks).figure.texts]


@given(st.lists(st.floats(0, 2), min_size=1, max_size=6).map(sorted))
def test_labels_are_moved_apart_and_those_with_room_stay(places):
    moved = apart(places, 0.165)
    assert all(gap >= 0.165 - 1e-9 for gap in np.diff(moved))
    if all(gap >= 0.165 for gap in np.diff(places)):
        assert moved == pytest.approx(places)
