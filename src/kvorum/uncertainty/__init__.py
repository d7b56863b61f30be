"""What an ensemble's probabilities mean: arrays in, numbers out, no torch."""

from kvorum.uncertainty.bootstrap import Interval
from kvorum.uncertainty.calibration import Reliability, Scheme, confidence, ece, reliability
from kvorum.uncertainty.entropy import expected_entropy, mutual_information, predictive_entropy
from kvorum.uncertainty.ranking import auroc
from kvorum.uncertainty.scores import brier, correct, nll, predicted
from kvorum.uncertainty.summary import Answered, separation, summarize

__all__ = [
    "Answered",
    "Interval",
    "Reliability",
    "Scheme",
    "auroc",
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
