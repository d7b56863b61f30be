"""Calibration error against torchmetrics, scikit-learn and a plain loop; bins at their edges and with ties."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.calibration import calibration_curve
from torchmetrics.functional.classification import multiclass_calibration_error

from kvorum.errors import KvorumError
from kvorum.uncertainty import confidence, ece, reliability
from kvorum.uncertainty.calibration import resampled_ece

pytestmark = pytest.mark.filterwarnings("error")
SCHEMES = ("width", "mass")


def by_a_plain_loop(sure, right, bins, scheme) -> float:
    if scheme == "width":
        edges = [k / bins for k in range(bins + 1)]
    else:
        ranked = sorted(sure)
        edges = [ranked[k * (len(sure) - 1) // bins] for k in range(bins + 1)]
    total, below = 0.0, -np.inf
    for edge in edges[1:]:
        inside = [n for n in range(len(sure)) if below < sure[n] <= edge]
        total += abs(sum(float(right[n]) - sure[n] for n in inside))
        below = edge
    return total / len(sure)


@st.composite
def answered(draw) -> tuple[np.ndarray, np.ndarray]:
    """Confidences with many ties, at edges of bins too, and whether each was right."""
    size = draw(st.integers(1, 40))
    values = st.one_of(st.sampled_from([0.25, 0.5, 0.75, 1.0]), st.floats(1e-3, 1.0))
    return draw(arrays(np.float64, size, elements=values)), draw(arrays(bool, size))


@pytest.mark.parametrize("bins", [1, 5, 10, 15])
def test_equal_width_agrees_with_torchmetrics(bins):
    rng = np.random.default_rng(bins)
    probs, answers = rng.dirichlet(np.ones(5) * 0.4, size=400), rng.integers(0, 5, 400)
    independent = multiclass_calibration_error(
        torch.tensor(probs), torch.tensor(answers), num_classes=5, n_bins=bins, norm="l1"
    )
    mine = ece(confidence(probs), probs.argmax(axis=1) == answers, bins=bins)
    assert mine == pytest.approx(independent.item(), abs=1e-6)


@pytest.mark.parametrize("questions", [101, 200, 1221])
def test_equal_mass_agrees_with_scikit_learn(questions):
    rng = np.random.default_rng(questions)
    sure = rng.uniform(0.2, 1, questions)
    right = rng.random(questions) < sure**2
    accuracy, mean = calibration_curve(right, sure, n_bins=10, strategy="quantile")
    bins = np.quantile(sure, np.linspace(0, 1, 11))
    sizes = np.bincount(np.searchsorted(bins[1:-1], sure), minlength=10)
    independent = (np.abs(accuracy - mean) * sizes).sum() / questions
    assert ece(sure, right, scheme="mass") == pytest.approx(independent, abs=1e-9)


@given(answered(), st.integers(1, 12), st.sampled_from(SCHEMES))
def test_agrees_with_a_plain_loop(answers, bins, scheme):
    assert ece(*answers, bins=bins, scheme=scheme) == pytest.approx(by_a_plain_loop(*answers, bins, scheme), abs=1e-12)


@given(answered(), st.integers(1, 12), st.sampled_from(SCHEMES), st.data())
def test_a_resample_by_counts_equals_the_resample_laid_out(answers, bins, scheme, data):
    sure, right = answers
    counts = data.draw(arrays(np.int64, (3, len(sure)), elements=st.integers(0, 3)))
    found = resampled_ece(sure, right, counts.astype(np.float64), bins=bins, scheme=scheme)
    for row, value in zip(counts, found, strict=True):
        if row.sum() == 0:
            assert np.isnan(value)
        else:
            laid_out = np.repeat(sure, row), np.repeat(right, row)
            assert value == pytest.approx(by_a_plain_loop(*laid_out, bins, scheme), abs=1e-12)


@given(answered(), st.integers(1, 12), st.sampled_from(SCHEMES), st.randoms(use_true_random=False))
def test_the_order_of_questions_does_not_matter(answers, bins, scheme, random):
    sure, right = answers
    order = list(range(len(sure)))
    random.shuffle(order)
    shuffled = ece(sure[order], right[order], bins=bins, scheme=scheme)
    assert shuffled == pytest.approx(ece(sure, right, bins=bins, scheme=scheme), abs=1e-12)


@given(answered(), st.integers(1, 12), st.sampled_from(SCHEMES))
def test_the_bins_of_the_diagram_make_up_the_error(answers, bins, scheme):
    diagram = reliability(*answers, bins=bins, scheme=scheme)
    assert diagram.questions.sum() == len(answers[0])
    filled = diagram.questions > 0
    assert (diagram.confidence[filled] <= diagram.upper[filled] + 1e-12).all()
    assert (diagram.confidence[filled] >= diagram.lower[filled] - 1e-12).all()
    assert np.isnan(diagram.accuracy[~filled]).all()
    gaps = np.abs(diagram.accuracy - diagram.confidence)[filled] * diagram.questions[filled]
    assert gaps.sum() / len(answers[0]) == pytest.approx(ece(*answers, bins=bins, scheme=scheme), abs=1e-12)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_closed_forms(scheme):
    three_of_four = np.array([True, True, True, False])
    assert ece(np.full(4, 0.75), three_of_four, scheme=scheme) == 0
    assert ece(np.full(4, 1.0), three_of_four, scheme=scheme) == pytest.approx(0.25)
    assert ece(np.full(4, 0.6), np.zeros(4, bool), scheme=scheme) == pytest.approx(0.6)
    assert np.isnan(ece(np.zeros(0), np.zeros(0, bool), scheme=scheme))


def test_one_bin_compares_the_means_alone():
    sure, right = np.array([0.9, 0.5]), np.array([False, True])
    for scheme in SCHEMES:
        assert ece(sure, right, bins=1, scheme=scheme) == pytest.approx(0.2)


def test_a_confidence_at_an_edge_belongs_to_the_bin_below_and_1_to_the_last():
    diagram = reliability(np.array([0.5, 0.5 + 1e-9, 1.0]), np.array([True, True, True]))
    assert np.flatnonzero(diagram.questions).tolist() == [4, 5, 9]


def test_equal_mass_puts_as_many_questions_in_each_bin():
    sure = np.random.default_rng(0).uniform(0.2, 1, 1000)
    assert reliability(sure, sure > 0.5, scheme="mass").questions.tolist() == [100] * 10


def test_equal_confidences_share_a_bin_of_equal_mass():
    sure = np.concatenate([np.full(75, 1.0), np.linspace(0.3, 0.7, 25)])
    questions = reliability(sure, sure > 0.5, scheme="mass").questions
    assert questions.tolist() == [10, 10, 80] + [0] * 7


def test_the_confidence_is_the_top_candidates_also_when_the_rest_is_larger():
    assert confidence(np.array([[[0.2, 0.1]], [[0.0, 0.3]]])).tolist() == [[0.2], [0.3]]


def test_settings_that_make_no_sense_are_refused():
    sure, right = np.array([0.5]), np.array([True])
    with pytest.raises(KvorumError, match="bins is 0"):
        ece(sure, right, bins=0)
    with pytest.raises(KvorumError, match="'widht' is no way to bin; did you mean 'width'"):
        resampled_ece.__wrapped__(sure, right, np.ones((1, 1)), scheme="widht")
