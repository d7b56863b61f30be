"""Where members differ from each other: each source alone, on and off."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import kvorum
from kvorum.config import fit_config
from kvorum.errors import KvorumError
from kvorum.posterior.fitting import Fitting
from kvorum.posterior.job import plan
from kvorum.posterior.progress import Silent

SETTINGS: dict[str, Any] = {"rank": 2, "alpha": 4.0, "epochs": 1, "batch_size": 3, "lr": 1e-2}
QUESTIONS = 20


@pytest.fixture
def fitting(tiny_model: str, question_file: str):
    """A fit that has not begun."""

    def begin(*diversity: str, members: int = 3, **settings: Any) -> Fitting:
        wanted = SETTINGS | settings | {"model": tiny_model, "task": question_file}
        return Fitting(plan(fit_config(wanted | {"members": members, "diversity": diversity})), None, Silent())

    return begin


def fitted(model: str, task: str, *diversity: str, **settings: Any) -> list[list[torch.Tensor]]:
    """The parameters of each member."""
    stack = kvorum.fit(model, task, **(SETTINGS | {"members": 3, "diversity": diversity} | settings)).stack
    return [[parameter[i].detach() for parameter in stack.parameters()] for i in range(len(stack.members))]


def alike(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return all(torch.allclose(a, b, atol=1e-5, rtol=1e-4) for a, b in zip(one, other, strict=True))


def test_members_start_alike_without_a_start_of_their_own(fitting) -> None:
    shared, own = fitting("order").stack, fitting("initialisation").stack
    for name, a in shared.a.items():
        assert torch.equal(a, own.a[name][:1].expand_as(a))
        assert not torch.equal(own.a[name][0], own.a[name][1])


def test_without_an_order_of_their_own_all_take_that_of_member_0(fitting) -> None:
    own, shared = fitting("order"), fitting("initialisation")
    for epoch in (1, 2):
        first = own.job.order(0, epoch)
        assert sorted(first) == list(range(QUESTIONS))
        for member in (0, 1, 2):
            np.testing.assert_array_equal(shared.job.order(member, epoch), first)
        assert (own.job.order(1, epoch) != first).any() and (own.job.order(1, epoch) != own.job.order(2, epoch)).any()
    assert (own.job.order(0, 1) != own.job.order(0, 2)).any()


@pytest.mark.parametrize("order", [(), ("order",)])
def test_a_resample_is_drawn_once_a_member(fitting, order: tuple[str, ...]) -> None:
    made, two, seeded = (
        fitting("bootstrap", *order, members=members, seed=seed) for members, seed in ((3, 0), (2, 0), (3, 1))
    )
    resamples = [np.bincount(made.job.order(member, 1), minlength=QUESTIONS) for member in (0, 1, 2)]
    for member, counts in enumerate(resamples):
        assert counts.sum() == QUESTIONS and counts.max() > 1 and counts.min() == 0
        later = np.bincount(made.job.order(member, 2), minlength=QUESTIONS)
        np.testing.assert_array_equal(later, counts)
        assert (made.job.order(member, 2) != made.job.order(member, 1)).any(), "in another order"
        assert (np.bincount(seeded.job.order(member, 1), minlength=QUESTIONS) != counts).any()
    assert (resamples[0] != resamples[1]).any() and (resamples[1] != resamples[2]).any()
    for member in (0, 1):
        np.testing.assert_array_equal(two.job.order(member, 1), made.job.order(member, 1))


def test_a_resample_leaves_out_about_as_many_as_chance_does(fitting) -> None:
    made = fitting("bootstrap")
    left = [(np.bincount(made.job.order(member, 1), minlength=QUESTIONS) == 0).mean() for member in range(200)]
    assert np.mean(left) == pytest.approx((1 - 1 / QUESTIONS) ** QUESTIONS, abs=0.03)


def test_the_order_of_a_shared_order_visits_the_places_of_each_resample_alike(fitting) -> None:
    """With order shared, what differs between members is the resample alone."""
    plain, made = fitting(), fitting("bootstrap")
    for member in (0, 1):
        drawn = {}
        for epoch in (1, 2, 3):
            for place, question in zip(plain.job.order(member, epoch), made.job.order(member, epoch), strict=True):
                assert drawn.setdefault(int(place), int(question)) == question


def test_with_nothing_of_their_own_members_are_fitted_alike_and_each_source_sets_them_apart(
    tiny_model: str, question_file: str
) -> None:
    same = fitted(tiny_model, question_file)
    assert alike(same[0], same[1]) and alike(same[0], same[2])
    for source in ("initialisation", "order", "bootstrap"):
        members = fitted(tiny_model, question_file, source)
        assert not alike(members[0], members[1]) and not alike(members[1], members[2]), source
        assert alike(members[0], same[0]) == (source != "bootstrap"), "member 0 is what the others are made like"


def test_a_member_is_the_same_in_an_ensemble_of_any_size(tiny_model: str, question_file: str) -> None:
    three = fitted(tiny_model, question_file, "bootstrap")
    two = fitted(tiny_model, question_file, "bootstrap", members=2)
    assert alike(three[0], two[0]) and alike(three[1], two[1])


def test_what_is_no_source_and_what_is_named_twice_is_refused() -> None:
    least = {"model": "m", "task": "t"}
    with pytest.raises(KvorumError, match=r"diversity.*'initialisation', 'order' or 'bootstrap'"):
        fit_config(least | {"diversity": ["weather"]})
    with pytest.raises(KvorumError, match="diversity names something twice: order order"):
        fit_config(least | {"diversity": ["order", "order"]})
    with pytest.raises(KvorumError, match=r"limit_to is 'last'.*'first' or 'random'"):
        fit_config(least | {"limit_to": "last"})
    assert fit_config(least | {"diversity": "bootstrap"}).diversity == ("bootstrap",)
    assert fit_config(least | {"diversity": []}).diversity == ()
    assert fit_config(least).diversity == ("initialisation", "order")


def test_a_random_limit_reaches_training_and_evaluation(tiny_model: str, question_file: str) -> None:
    settings = SETTINGS | {"model": tiny_model, "task": question_file, "train_limit": 7, "evaluate_limit": 5}
    first, drawn = (plan(fit_config(settings | {"limit_to": to})) for to in ("first", "random"))
    assert [question.id for question in first.train] == [f"q{i}" for i in range(7)]
    assert len(drawn.train) == len(drawn.encoded) == 7 and drawn.train != first.train
    (task,) = drawn.evaluation
    assert len(task.test) == 5 and set(task.test) < set(drawn.train), "a larger sample holds a smaller one"


def test_a_random_sample_of_the_training_questions_is_known_again_when_a_run_is_loaded(
    tiny_model: str, question_file: str, tmp_path: Path
) -> None:
    settings = SETTINGS | {"epochs": 0, "members": 1, "train_limit": 7, "limit_to": "random"}
    kvorum.fit(tiny_model, question_file, out=str(tmp_path / "run"), **settings)
    posterior = kvorum.load(tmp_path / "run")
    drawn = plan(fit_config(settings | {"model": tiny_model, "task": question_file})).train
    assert posterior.fitted_on == {(question.question, question.choices) for question in drawn}
    assert posterior.predict(question_file, limit=7).facts["trained_on_questions"] < 7
