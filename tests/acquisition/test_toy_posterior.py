"""A posterior whose best questions are known: every member is a threshold on a line.

Of M thresholds between M + 1 places, question q of M - 1 asks on which side of place q the right one lies. All members
answer for certain, so that an answer is worth the entropy of how it divides the members that are left: bisection is the
best that can be done, and tells ln 2 an answer. Beside these stands noise: a question about which all are torn.
"""

import numpy as np
import pytest

from kvorum.acquisition import ACQUISITIONS, Pool
from tests.acquisition.pools import text_pool

pytestmark = pytest.mark.filterwarnings("error")


def line(members: int, *, without: int | None = None) -> tuple[Pool, dict[int, int], int]:
    """The pool, the question of each place on the line, and that of noise: three choices, all of them as probable."""
    places = [place for place in range(1, members) if place != without]
    beyond = np.arange(members)[:, None] < np.array(places)
    probs = np.stack([beyond, ~beyond, np.zeros_like(beyond)], axis=2).astype(np.float64)
    torn = np.full((members, 1, 3), 1 / 3)
    order = np.random.default_rng(0).permutation(len(places) + 1)
    pool = text_pool(np.append(probs, torn, axis=1)[:, order])
    at = {int(old): new for new, old in enumerate(order)}
    return pool, {place: at[index] for index, place in enumerate(places)}, at[len(places)]


def binary_entropy(p: float) -> float:
    return -p * np.log(p) - (1 - p) * np.log(1 - p)


def places_of(pool_places: dict[int, int], chosen: np.ndarray) -> list[int]:
    back = {question: place for place, question in pool_places.items()}
    return [back.get(int(question), 0) for question in chosen]  # 0: noise


def test_mutual_information_asks_at_the_midpoint_for_ln_2_and_entropy_asks_noise() -> None:
    pool, places, noise = line(8)
    told = ACQUISITIONS["mutual_information"](pool, 1)
    assert list(told.chosen) == [places[4]] and told.scores[places[4]] == pytest.approx(np.log(2))
    assert told.scores[noise] == 0
    open_ = ACQUISITIONS["entropy"](pool, 1)
    assert list(open_.chosen) == [noise] and open_.scores[noise] == pytest.approx(np.log(3))


def test_the_others_cannot_tell_noise_from_what_can_be_learned() -> None:
    pool, places, noise = line(8)
    assert list(ACQUISITIONS["least_confidence"](pool, 1).chosen) == [noise]
    assert set(ACQUISITIONS["margin"](pool, 2).chosen) == {noise, places[4]}


@pytest.mark.parametrize("name", ["mutual_information", "power_bald", "batch_bald"])
def test_those_by_what_an_answer_tells_ask_noise_last(name: str) -> None:
    pool, _, noise = line(8)
    for seed in range(10):
        assert ACQUISITIONS[name](pool, len(pool), seed=seed).chosen[-1] == noise


def test_mutual_information_has_its_closed_form_at_every_place() -> None:
    pool, places, _ = line(8)
    scores = ACQUISITIONS["mutual_information"](pool, 1).scores
    for place, question in places.items():
        assert scores[question] == pytest.approx(binary_entropy(place / 8))


def test_of_two_batch_bald_asks_a_quarter_second_and_mutual_information_the_neighbour() -> None:
    pool, places, _ = line(8, without=5)  # so that the midpoint has one neighbour
    alone = ACQUISITIONS["mutual_information"](pool, 2)
    assert places_of(places, alone.chosen) == [4, 3]
    batch = ACQUISITIONS["batch_bald"](pool, 2)
    first, second = places_of(places, batch.chosen)
    assert first == 4 and second in {2, 6}
    assert batch.scores[batch.chosen] == pytest.approx([np.log(2), np.log(2) / 2])
    besides = ACQUISITIONS["batch_bald"](pool, 1).scores
    assert besides[places[3]] == pytest.approx(binary_entropy(1 / 4) / 2)  # of the half that it divides, one to three


@pytest.mark.parametrize("exponent", [3, 6])
def test_batch_bald_is_bisection_with_half_the_gain_for_twice_as_many_questions(exponent: int) -> None:
    members = 2**exponent
    pool, places, _ = line(members)
    found = ACQUISITIONS["batch_bald"](pool, members - 1)
    expected = [np.log(2) / 2**level for level in range(exponent) for _ in range(2**level)]
    assert found.scores[found.chosen] == pytest.approx(expected, abs=1e-12)
    assert found.scores.sum() == pytest.approx(np.log(members))
    asked = places_of(places, found.chosen)
    for level in range(exponent):
        step = members // 2**level
        assert set(asked[2**level - 1 : 2 ** (level + 1) - 1]) == set(range(step // 2, members, step))


def test_of_questions_that_tell_the_same_besides_the_batch_those_nearer_the_midpoint_go_first() -> None:
    pool, places, _ = line(16)
    asked = places_of(places, ACQUISITIONS["batch_bald"](pool, 7).chosen)
    assert set(asked[3:5]) == {6, 10} and set(asked[5:7]) == {2, 14}
