"""Rules of decision and what they decide, in words."""

import math

from kvorum.decisions.calibration import AnswerRule, Calibration
from kvorum.decisions.decide import Decisions
from kvorum.uncertainty.plane import QUADRANTS

SCORE_WORDS = {
    "one_minus_top": "1 - top probability",
    "predictive_entropy": "entropy",
    "expected_entropy": "expected entropy",
    "mutual_information": "mutual information",
}
KINDS = {
    "confident": "Its members are surer than on most calibration questions, and of the same.",
    "torn": "Its members are unsure in the same way: the doubt lies in the question, or in what the model never knew.",
    "disputed": "Its members disagree more than on most calibration questions: fitting taught them different things.",
}


def percent(share: float) -> str:
    """A share that was asked for, as it was asked for."""
    return f"{100 * share:.6g}%"


def at_most(share: float) -> str:
    """An upper bound in percent, rounded up: no promise is rounded in its favour."""
    return f"{math.ceil(1000 * share - 1e-9) / 10:g}%"


def at_least(share: float) -> str:
    """A lower bound in percent, rounded down."""
    return f"{math.floor(1000 * share + 1e-9) / 10:g}%"


def promise(rule: AnswerRule, confidence: float) -> str:
    """What the rule is to keep."""
    if rule.asked == "coverage":
        return f"{percent(rule.target)} of the questions are answered"
    return f"at most {percent(rule.target)} of the answers given are wrong (with {percent(confidence)} confidence)"


def guarantee(calibration: Calibration, epoch: int) -> str:
    """What was calibrated and what that promises, in two sentences."""
    rule = calibration.answer
    asked = f"{percent(rule.target)} answered" if rule.asked == "coverage" else f"a risk of {percent(rule.target)}"
    return (
        f"Epoch {epoch} was calibrated on {calibration.questions:,} questions of {calibration.task} for {asked}: it "
        f"answers where {SCORE_WORDS[rule.score]} is at most {rule.threshold:.3g}, and with "
        f"{percent(calibration.confidence)} confidence at most {at_most(rule.risk_bound)} of those answers are wrong "
        "on other questions of this kind. Its answer sets are to hold the right answer in at least "
        f"{percent(1 - calibration.alpha)} of cases."
    )


def why(decisions: Decisions, calibration: Calibration, example: int) -> str:
    """Why a question is answered or not, and what kind of doubt there is."""
    rule = calibration.answer
    score, threshold = f"{SCORE_WORDS[rule.score]} {decisions.doubt[example]:.3g}", f"{rule.threshold:.3g}"
    kept = promise(rule, calibration.confidence)
    if decisions.answered[example]:
        verdict = f"Answered: {score} is at most {threshold}, so that {kept}."
    elif rule.asked == "target_risk":
        verdict = f"Abstains: {score} is above {threshold}, beyond which it is not known that {kept}."
    else:
        verdict = f"Abstains: {score} is above {threshold}, where it stops so that {kept}."
    return f"{verdict} {KINDS[QUADRANTS[decisions.quadrant[example]]]}"
