"""AUROC against scikit-learn, with ties and with counts, and against all pairs."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import roc_auc_score

from kvorum.uncertainty import auroc
from kvorum.uncertainty.ranking import resampled_auroc

pytestmark = pytest.mark.filterwarnings("error")


@st.composite
def scored(draw) -> tuple[np.ndarray, np.ndarray]:
    size = draw(st.integers(2, 40))
    values = st.one_of(st.sampled_from([0.0, 0.1, 0.2]), st.floats(0, 2))
    return draw(arrays(np.float64, size, elements=values)), draw(arrays(bool, size))


@given(scored())
def test_agrees_with_all_pairs_and_with_scikit_learn(answers):
    score, positive = answers
    assume(positive.any() and not positive.all())
    pairs = score[positive][:, None] - score[~positive]
    assert auroc(score, positive) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean(), abs=1e-12)
    assert auroc(score, positive) == pytest.approx(roc_auc_score(positive, score), abs=1e-6)


@given(scored(), st.data())
def test_a_resample_by_counts_equals_scikit_learns_weights(answers, data):
    score, positive = answers
    counts = data.draw(arrays(np.int64, (3, len(score)), elements=st.integers(0, 3)))
    for row, value in zip(counts, resampled_auroc(score, positive, counts.astype(np.float64)), strict=True):
        if row[positive].sum() and row[~positive].sum():
            laid_out = np.repeat(positive, row), np.repeat(score, row)
            assert value == pytest.approx(roc_auc_score(*laid_out), abs=1e-9)
        else:
            assert np.isnan(value)


def test_a_perfect_order_its_reverse_and_no_order():
    score = np.array([0.1, 0.2, 0.3, 0.4])
    assert auroc(score, np.array([False, False, True, True])) == 1
    assert auroc(score, np.array([True, True, False, False])) == 0
    assert auroc(np.zeros(4), np.array([True, False, True, False])) == 0.5


@pytest.mark.parametrize("positive", [np.ones(3, bool), np.zeros(3, bool), np.zeros(0, bool)])
def test_without_both_classes_there_is_none(positive):
    assert np.isnan(auroc(np.arange(len(positive), dtype=np.float64), positive))
