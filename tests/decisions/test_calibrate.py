"""From held-out answers to rules, and what the rules then do."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from kvorum.decisions import Calibration, calibrate, decide
from kvorum.decisions.promises import halves, on_halves, outcome
from kvorum.decisions.words import at_least, at_most, promise, why
from kvorum.errors import KvorumError
from kvorum.uncertainty.conformal import METHODS
from kvorum.uncertainty.doubt import DOUBTS, doubt
from kvorum.uncertainty.selective import aurc
from kvorum.uncertainty.temperature import at_temperature
from tests.decisions.conftest import make


@pytest.mark.parametrize("score", DOUBTS)
def test_answered_is_what_the_score_allows_and_the_numbers_are_those_of_the_questions(score: str) -> None:
    held = make()
    found = calibrate(held, coverage=0.7, score=score)
    values = doubt(score, held.probs, held.rest)
    inside = values <= found.answer.threshold
    assert inside.sum() == found.answer.answered == 280
    assert found.answer.wrong == (~held.correct)[inside].sum()
    assert found.answer.wrong / 280 < found.answer.risk_bound < (~held.correct).mean() + 0.1
    assert np.array_equal(decide(held, found).answered, inside)
    assert found.answer.aurc[score] == pytest.approx(aurc(values, ~held.correct))
    assert 0 <= found.answer.excess_aurc[score] < found.answer.aurc[score]


def test_target_risk_is_kept_and_more_of_it_answers_more() -> None:
    held = make(2000)
    strict, loose = (calibrate(held, target_risk=target) for target in (0.15, 0.3))
    for found, target in ((strict, 0.15), (loose, 0.3)):
        assert found.answer.wrong / found.answer.answered < found.answer.risk_bound <= target
    assert 0 < strict.answer.answered < loose.answer.answered


def test_a_saved_calibration_is_the_same_when_read(tmp_path: Path) -> None:
    for place, found in enumerate(
        (
            calibrate(make(), target_risk=0.3, temperature=True, alpha=0.2),
            calibrate(make(5), coverage=1.0),  # too few for sets: their thresholds are null
        )
    ):
        file = tmp_path / f"{place}.json"
        found.save(file)
        assert Calibration.load(file) == found
    assert found.sets["lac"].threshold is None
    assert decide(make(), found).sets["lac"].all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"alpha": "0.1"}, "alpha is '0.1'"),
        ({"temperature": None}, "temperature is None"),
        ({"questions": 0}, "questions is 0"),
        ({"more": 1}, "more"),
        ({"answer": []}, "answer is"),
        ({"format": "kvorum calibration 9"}, "is no calibration that this kvorum wrote"),
        ({"sets": {"lac": {"threshold": 0.1, "coverage_bound": 0.9}}}, "sets has no 'adaptive'"),
        ({"sets": {"raps": {"threshold": 0.1, "coverage_bound": 0.9}}}, "sets"),
    ],
)
def test_a_file_that_is_not_as_it_was_written_is_refused_by_field(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    file = tmp_path / "calibration.json"
    calibrate(make(), coverage=0.5).save(file)
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(KvorumError, match=message) as error:
        Calibration.load(file)
    assert str(file) in str(error.value)


@pytest.mark.parametrize(
    "content", ["", "[]", "{", "nan", "[" * 100_000, "\ud800", '{"format": NaN}', '{"a": ' + "9" * 5000 + "}"]
)
def test_what_is_no_calibration_is_refused(tmp_path: Path, content: str) -> None:
    file = tmp_path / "calibration.json"
    file.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(KvorumError, match=r"calibration\.json"):
        Calibration.load(file)


def test_rules_are_for_the_ensemble_they_were_made_for() -> None:
    found = calibrate(make(), coverage=0.5)
    for facts in ({"epoch": 2}, {"model": "other"}):
        with pytest.raises(KvorumError, match=next(iter(facts))):
            decide(make(**facts), found)
    with pytest.raises(KvorumError, match="members"):
        decide(make().select(members=[0, 1]), found)


def test_temperature_moves_probabilities_and_sets_but_no_answer_and_no_entropy() -> None:
    held = make(3000)
    plain, heated = (calibrate(held, coverage=0.5, temperature=hot) for hot in (False, True))
    assert plain.temperature == 1 and heated.temperature > 1.02, "the answers are flatter than the probabilities"
    one, two = decide(held, plain), decide(held, heated)
    assert np.array_equal(one.predicted, two.predicted)
    assert np.allclose(two.mean, at_temperature(held.mean, held.mean_rest, heated.temperature)[0])
    assert two.mean.max(1).mean() < one.mean.max(1).mean()
    assert np.array_equal(one.quadrant, two.quadrant)
    nll = [-np.log(of.mean[np.arange(3000), held.answers]).mean() for of in (one, two)]
    assert nll[1] < nll[0]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "name one of target_risk"),
        ({"target_risk": 0.1, "coverage": 0.5}, "name one of target_risk"),
        ({"target_risk": 0.0}, "target_risk is 0.0"),
        ({"target_risk": float("nan")}, "target_risk is nan"),
        ({"coverage": 1.2}, "coverage is 1.2"),
        ({"coverage": 0.5, "confidence": 1.0}, "confidence is 1.0"),
        ({"coverage": 0.5, "alpha": 0.0}, "alpha is 0.0"),
        ({"target_risk": 0.001}, "no threshold is known to keep the risk"),
    ],
)
def test_what_cannot_be_asked_is_refused(asked: dict[str, object], message: str) -> None:
    with pytest.raises(KvorumError, match=message):
        calibrate(make(), **asked)  # pyright: ignore[reportArgumentType]


def test_questions_that_were_fitted_on_or_have_no_answer_do_not_count() -> None:
    with pytest.raises(KvorumError, match="3 of 400 questions are among those that the members were fitted on"):
        calibrate(make(trained_on_questions=3), coverage=0.5)
    held = make()
    answers = held.answers.copy()
    answers[:100] = -1
    found = calibrate(dataclasses.replace(held, answers=answers), coverage=0.5)
    assert (found.questions, found.left_out) == (300, 100)
    assert found.answer == calibrate(held.select(examples=range(100, 400)), coverage=0.5).answer
    with pytest.raises(KvorumError, match="no question is left that has a known answer"):
        calibrate(dataclasses.replace(held, answers=np.full(400, -1)), coverage=0.5)


def test_questions_that_were_fitted_on_are_left_out_by_their_ids_and_remembered() -> None:
    held = make(trained_on_questions=2)
    found = calibrate(held, coverage=0.5, fitted_ids=["q3", "q5", "elsewhere"])
    assert (found.questions, found.left_out, found.fitted_ids) == (398, 2, ("q3", "q5"))
    there = found.held_out(held)
    assert there is not None and len(there) == 398 and "q3" not in there.ids
    assert on_halves(there, found, splits=2)["questions"] == 398
    assert found.held_out(held.select(examples=range(300))) is None, "those are others than were calibrated on"


def test_promises_are_not_rounded_in_their_favour() -> None:
    assert (at_most(0.1004), at_most(0.1), at_least(0.8996), at_least(0.9)) == ("10.1%", "10%", "89.9%", "90%")
    found = calibrate(make(), coverage=0.5)
    rule = dataclasses.replace(found.answer, asked="target_risk", target=0.125)
    assert promise(rule, 0.999) == "at most 12.5% of the answers given are wrong (with 99.9% confidence)"


def test_why_says_what_decided_and_what_kind_of_doubt_it_is() -> None:
    held = make()
    found = calibrate(held, target_risk=0.3)
    decisions = decide(held, found)
    said = {place: why(decisions, found, place) for place in range(400)}
    for place, words in said.items():
        assert words.startswith("Answered: " if decisions.answered[place] else "Abstains: ")
        assert f"{decisions.doubt[place]:.3g}" in words and f"{found.answer.threshold:.3g}" in words
        kind = ("surer than on most", "unsure in the same way", "disagree more")[decisions.quadrant[place]]
        assert kind in words
    assert set(decisions.quadrant) == {0, 1, 2}


def test_outcome_counts_what_the_decisions_say() -> None:
    held, new = make(), make(300, seed=1)
    found = calibrate(held, coverage=0.6)
    decisions, said = decide(new, found), outcome(new, found, resamples=50)
    assert said["answered"]["value"] == pytest.approx(decisions.answered.mean())
    assert said["risk"]["value"] == pytest.approx((~new.correct)[decisions.answered].mean())
    for method in METHODS:
        sets = decisions.sets[method]
        assert said["sets"][method]["size"]["value"] == pytest.approx(sets.sum(1).mean())
        assert said["sets"][method]["coverage"]["value"] == pytest.approx(sets[np.arange(300), new.answers].mean())


def test_halves_try_on_the_other_half_what_the_first_has_taught() -> None:
    held = make(200)
    found = calibrate(held, coverage=0.6)
    said = on_halves(held, found, splits=3)
    each = []
    for half, other in halves(200, 3, 0):
        assert sorted([*half, *other]) == list(range(200))
        rules = calibrate(held.select(examples=half), coverage=0.6)
        each.append(outcome(held.select(examples=other), rules, resamples=1)["risk"]["value"])
    assert said["risk"]["value"] == pytest.approx(np.mean(each))
    assert (said["halves"], said["questions"], said["reached"]) == (3, 200, 3)
    # Half of the questions do not tell so small a risk: nothing is said of it, and the sets are tried all the same.
    hard = on_halves(held, calibrate(make(20_000), target_risk=0.12), splits=3)
    assert hard["reached"] == 0
    assert hard["risk"]["value"] is None and hard["sets"]["lac"]["coverage"]["value"] > 0.8
