import dataclasses

import pytest

from kvorum.errors import KvorumError
from kvorum.tasks import Question, Task
from kvorum.tasks.question import refuse_equal_choices

GOOD = Question(id="1", question="Which?", choices=("this", "that"), answer=1)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"question": " \n"}, "'question' is empty"),
        ({"choices": ()}, "no choices; a question needs at least two"),
        ({"choices": ("this",), "answer": 0}, "only one choice, 'this'"),
        ({"choices": ("this", " ")}, "choice 1 .* is empty"),
        ({"answer": 2}, "'answer' is 2, but there are 2 choices, counted from 0 to 1"),
        ({"answer": -1}, "'answer' is -1"),
        ({"question": "half \ud83d"}, "'question' holds half a character at position 5"),
        ({"choices": ("this", "\ude00")}, "'choices' holds half a character"),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(change, said):
    with pytest.raises(KvorumError, match=said):
        dataclasses.replace(GOOD, **change)


def test_equal_choices_are_refused_on_demand_alone():
    twice = dataclasses.replace(GOOD, choices=("this", "that", "this"))
    with pytest.raises(KvorumError, match="'this' is there twice, as choices 0 and 2"):
        refuse_equal_choices(twice.choices)
    refuse_equal_choices(GOOD.choices)


def task(train, test, splits=("train", "test")) -> Task:
    return Task(name="t", train=train, test=test, train_split=splits[0], test_split=splits[1], source="here")


def test_a_task_needs_something_to_evaluate_on():
    with pytest.raises(KvorumError, match=r"task 't' \(here\) holds no questions"):
        task((GOOD,), ())


def test_an_id_names_one_question_of_a_split():
    task((GOOD,), (GOOD,))
    with pytest.raises(KvorumError, match="split 'train': the id '1' is there twice"):
        task((GOOD, GOOD), (GOOD,))


def test_a_task_knows_whether_it_is_tested_on_what_it_was_fitted_on():
    assert task((GOOD,), (GOOD,), ("all", "all")).tested_on_train
    assert not task((GOOD,), (GOOD,)).tested_on_train
    assert not task((), (GOOD,), ("", "test")).tested_on_train
