"""The harness's value of a candidate, in closed form."""

import math

import numpy as np
import pytest

from kvorum.harness.answers import Answer


def answer(*members: list[float], greedy: list[list[bool]] | None = None) -> Answer:
    given = np.array(members)
    return Answer(given, np.zeros(given.shape, bool) if greedy is None else np.array(greedy))


def test_of_one_member_it_is_the_member_s_log_likelihood() -> None:
    assert answer([-3.0, -1.5, -700.0]).values == pytest.approx([-3.0, -1.5, -700.0], rel=1e-12)


def test_of_one_candidate_it_is_the_log_of_the_members_mean_likelihood() -> None:
    assert answer([math.log(0.2)], [math.log(0.6)]).values == pytest.approx([math.log(0.4)])


def test_it_orders_candidates_by_the_ensemble_s_mean_and_not_by_the_mean_likelihood() -> None:
    # The second member finds everything more likely by far, but is as sure of its own as the first one.
    one = answer([math.log(0.09), math.log(0.01)], [math.log(0.4), math.log(0.6)])
    found = one.as_dict()
    assert found["probabilities"] == pytest.approx([0.65, 0.35]) and found["predicted"] == 0
    evidence = math.log((0.1 + 1.0) / 2)
    assert one.values == pytest.approx([math.log(0.65) + evidence, math.log(0.35) + evidence])
    assert int(np.argmax(one.values)) == 0, "the mean likelihood alone would answer 1"


def test_two_members_that_are_each_sure_of_another_candidate_differ_by_ln_2() -> None:
    found = answer([0.0, -2000.0], [-2000.0, 0.0]).as_dict()
    assert found["mutual_information"] == pytest.approx(math.log(2)) and found["expected_entropy"] == 0
    assert found["predictive_entropy"] == pytest.approx(math.log(2)) and found["votes"] == [0, 1]


def test_what_no_float_holds_as_a_probability_still_has_a_value() -> None:
    values = answer([-5000.0, -1.0], [-4000.0, -2.0]).values
    assert np.isfinite(values).all() and values[0] == pytest.approx(
        -4000 + 2 - math.log(2) + math.log((math.exp(-1) + math.exp(-2)) / 2)
    )


def test_greedy_is_what_more_than_half_of_the_members_say() -> None:
    said = [[True, True, False], [True, False, False], [False, False, True], [False, True, False]]
    assert answer(*[[0.0, 0.0, 0.0]] * 4, greedy=said).would_say == [False, False, False]
    assert answer(*[[0.0, 0.0, 0.0]] * 3, greedy=said[:3]).would_say == [True, False, False]
