"""Which questions a limit keeps."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvorum.tasks import Question
from kvorum.tasks.sample import limit


def questions(count: int) -> list[Question]:
    return [Question(id=str(i), question="a", choices=("b", "c"), answer=0) for i in range(count)]


def kept(count: int, number: int | None, to: str) -> list[int]:
    return [int(question.id) for question in limit(questions(count), number, to)]


def test_the_first_are_the_first():
    assert kept(10, 3, "first") == [0, 1, 2]


@pytest.mark.parametrize("to", ["first", "random"])
@pytest.mark.parametrize("number", [None, 10, 11])
def test_no_limit_and_one_that_is_not_reached_keep_all(to, number):
    assert kept(10, number, to) == list(range(10))


def test_a_random_sample_is_the_same_in_every_run_and_release():
    assert kept(20, 5, "random") == [1, 4, 15, 16, 18]


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 60), st.data())
def test_a_random_sample_keeps_the_order_and_holds_every_smaller_one(count, data):
    number = data.draw(st.integers(1, count - 1))
    drawn = kept(count, number, "random")
    assert len(drawn) == number and drawn == sorted(set(drawn))
    assert set(drawn) < set(kept(count, number + 1, "random"))


def test_a_random_sample_is_drawn_from_everywhere():
    """Of 1,000 questions in ten subjects 300 are drawn, 30 of each on average, with a standard deviation of 4.4."""
    subjects = Counter(place // 100 for place in kept(1000, 300, "random"))
    assert len(subjects) == 10 and all(abs(count - 30) < 4 * 4.4 for count in subjects.values())


def test_what_the_questions_are_does_not_matter():
    others = [Question(id=f"x{i}", question="d", choices=("e", "f", "g"), answer=2) for i in range(20)]
    assert [int(question.id[1:]) for question in limit(others, 5, "random")] == kept(20, 5, "random")
