"""The quadrants of the plane: their edges, their shares and accuracies by hand, their intervals by theory."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kvorum.uncertainty import mutual_information, predictive_entropy
from kvorum.uncertainty.plane import QUADRANTS, Cuts, quadrant_of, shares

pytestmark = pytest.mark.filterwarnings("error")
CUTS = Cuts(entropy=0.5, mutual_information=0.1)


@pytest.mark.parametrize(
    ("entropy", "mi", "name"),
    [
        (0.0, 0.0, "confident"),
        (0.5, 0.1, "confident"),  # at both cuts
        (np.nextafter(0.5, 1), 0.1, "torn"),
        (2.0, 0.0, "torn"),
        (0.5, np.nextafter(0.1, 1), "disputed"),
        (2.0, 0.2, "disputed"),
        (0.2, 0.2, "disputed"),
    ],
)
def test_a_question_at_a_cut_lies_below_it(entropy, mi, name):
    found = quadrant_of(np.array([entropy]), np.array([mi]), CUTS)
    assert [QUADRANTS[place] for place in found] == [name]


def test_what_the_names_say_is_so_of_members():
    """Sure and of one mind; unsure in one way; sure of different things."""
    probs = np.array([[[0.98, 0.02], [0.5, 0.5], [0.98, 0.02]], [[0.98, 0.02], [0.5, 0.5], [0.02, 0.98]]])
    rest = np.zeros((2, 3))
    found = quadrant_of(predictive_entropy(probs, rest), mutual_information(probs, rest), CUTS)
    assert [QUADRANTS[place] for place in found] == ["confident", "torn", "disputed"]


def test_shares_and_accuracies_by_hand():
    quadrant = np.array([0, 0, 0, 0, 1, 1, 1, 2])
    correct = np.array([True, True, True, False, True, False, False, False])
    labelled = np.array([True, True, True, True, True, True, False, False])
    found = shares(quadrant, correct, labelled, resamples=50)
    assert list(found) == list(QUADRANTS)
    assert [found[name]["questions"] for name in QUADRANTS] == [4, 3, 1]
    assert [found[name]["share"]["value"] for name in QUADRANTS] == [0.5, 0.375, 0.125]
    assert [found[name]["accuracy"]["value"] for name in QUADRANTS] == [0.75, 0.5, None]
    json.dumps(found, allow_nan=False)


def test_intervals_are_as_wide_as_theory_says():
    rng = np.random.default_rng(0)
    quadrant = rng.choice(3, p=[0.6, 0.3, 0.1], size=1000)
    correct = rng.random(1000) < np.array([0.9, 0.5, 0.3])[quadrant]
    found = shares(quadrant, correct, np.ones(1000, bool), resamples=3000)
    for place, name in enumerate(QUADRANTS):
        inside = (quadrant == place).sum()
        for key, size in (("share", 1000), ("accuracy", inside)):
            number = found[name][key]
            width = 2 * 1.959964 * np.sqrt(number["value"] * (1 - number["value"]) / size)
            assert number["low"] < number["value"] < number["high"]
            assert number["high"] - number["low"] == pytest.approx(width, rel=0.12)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_every_question_is_in_one_quadrant_and_they_make_up_the_whole(data):
    size = data.draw(st.integers(1, 30))
    grid = st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7])
    entropy, mi = (data.draw(arrays(np.float64, size, elements=grid)) for _ in range(2))
    correct, labelled = (data.draw(arrays(bool, size)) for _ in range(2))
    quadrant = quadrant_of(entropy, mi, CUTS)
    found = shares(quadrant, correct & labelled, labelled, resamples=3)
    assert sum(part["questions"] for part in found.values()) == size
    assert sum(part["share"]["value"] for part in found.values()) == pytest.approx(1)
    right = 0.0
    for place, part in enumerate(found.values()):
        known = int((labelled & (quadrant == place)).sum())
        assert (part["accuracy"]["value"] is None) == (known == 0)
        right += known * (part["accuracy"]["value"] or 0.0)
    assert right == pytest.approx((correct & labelled).sum())


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.floats(0, 2), st.floats(0, 2))
def test_a_higher_cut_on_mutual_information_disputes_fewer(seed, one, other):
    rng = np.random.default_rng(seed)
    entropy, mi = rng.random(20) * 2, rng.random(20) * 2
    low, high = (
        quadrant_of(entropy, mi, Cuts(entropy=0.5, mutual_information=cut)) == 2 for cut in sorted((one, other))
    )
    assert (low | ~high).all()


def test_without_questions_nothing_is_defined():
    found = shares(np.zeros(0, np.int64), np.zeros(0, bool), np.zeros(0, bool), resamples=5)
    nothing = {"value": None, "low": None, "high": None}
    assert all(part == {"questions": 0, "share": nothing, "accuracy": nothing} for part in found.values())


def test_one_question_is_the_whole_of_its_quadrant():
    found = shares(np.array([1]), np.array([True]), np.array([True]), resamples=5)
    whole, none = {"value": 1, "low": 1, "high": 1}, {"value": 0, "low": 0, "high": 0}
    assert found["torn"] == {"questions": 1, "share": whole, "accuracy": whole}
    assert found["disputed"]["share"] == none
