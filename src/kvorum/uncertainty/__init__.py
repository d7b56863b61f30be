"""What an ensemble's probabilities mean: arrays in, numbers out, no torch."""

from kvorum.uncertainty.bootstrap import Interval, bootstrap
from kvorum.uncertainty.calibration import Reliability, Scheme, confidence, ece, reliability
from kvorum.uncertainty.entropy import expected_entropy, mutual_information, predictive_entropy
from kvorum.uncertainty.ranking import auroc
from kvorum.uncertainty.scores import brier, correct, nll, predicted
from kvorum.uncertainty.summary import HasUncertainty, separation, summarize

__all__ = [
    "HasUncertainty",
    "Interval",
    "Reliability",
    "Scheme",
    "auroc",
    "bootstrap",
    "brier",
    "confidence",
    "correct",
    "ece",
    "expected_entropy",
    "mutual_information",
    "nll",
    "predicted",
    "predictive_entropy",
    "reliability",
    "separation",
    "summarize",
]
