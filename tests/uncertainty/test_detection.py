"""Detection out of domain against scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from kvorum.uncertainty.detection import detection, resampled_detection
from kvorum.uncertainty.doubt import DOUBTS, doubt


@pytest.mark.parametrize("ties", [False, True])
def test_every_resample_is_what_scikit_learn_says_of_it(ties: bool) -> None:
    draw = np.random.default_rng(0)
    positive = draw.random(60) < 0.4
    score = draw.normal(positive * 1.0)
    score = score.round(0) if ties else score
    counts = np.concatenate([np.ones((1, 60)), draw.integers(0, 3, (6, 60))]).astype(float)
    precision, rate = resampled_detection(score, positive, counts)
    for place, weights in enumerate(counts):
        there = weights > 0
        assert precision[place] == pytest.approx(
            average_precision_score(positive[there], score[there], sample_weight=weights[there])
        )
        false, true, _ = roc_curve(positive[there], score[there], sample_weight=weights[there], drop_intermediate=False)
        assert rate[place] == pytest.approx(false[true >= 0.95 - 1e-12].min())
    assert 0 < rate[0] < 1


def test_one_kind_of_question_alone_defines_nothing() -> None:
    for positive in (np.zeros(3, bool), np.ones(3, bool)):
        precision, rate = resampled_detection(np.arange(3.0), positive, np.ones((1, 3)))
        assert np.isnan([precision[0], rate[0]]).all()


def test_each_score_of_doubt_is_measured_with_intervals_around_it() -> None:
    draw = np.random.default_rng(1)
    inside = draw.dirichlet(np.full(4, 0.2), (5, 80)), np.zeros((5, 80))
    other = draw.dirichlet(np.full(3, 2.0), (5, 50)), np.zeros((5, 50))
    found = detection(inside, other, resamples=50)
    truth = np.repeat([0, 1], [80, 50])
    for name in DOUBTS:
        score = np.concatenate([doubt(name, *inside), doubt(name, *other)])
        assert found[name]["auroc"]["value"] == pytest.approx(roc_auc_score(truth, score))
        assert found[name]["aupr"]["value"] == pytest.approx(average_precision_score(truth, score))
        auroc, aupr, rate = found[name].values()
        assert auroc["low"] <= auroc["value"] <= auroc["high"]
        assert aupr["low"] <= aupr["high"]
        assert rate["low"] <= rate["high"]
