"""The benchmark of BatchBALD, on a pool small enough to wait for."""

import argparse

import batch_bald
import numpy as np
import pytest

from kvorum.uncertainty import mutual_information

OPTIONS = argparse.Namespace(questions=120, members=4, candidates=3, batch=4, chains=40, finer=3, rounds=1)


def test_what_a_batch_of_one_tells_is_its_mutual_information() -> None:
    pool = batch_bald.noise_pool(3.0, questions=120, members=4, candidates=3)
    expected = mutual_information(pool.probs, pool.rest)
    question = int(expected.argmax())
    told, error = batch_bald.information(pool, [question], drawn=20_000)
    assert abs(told - expected[question]) < 4 * error and error < 0.01


def test_the_members_differ_about_alike_questions_alike() -> None:
    pool = batch_bald.noise_pool(3.0, questions=100, members=4, candidates=3)
    groups = mutual_information(pool.probs, pool.rest).reshape(2, 50)
    assert abs(groups[0].mean() - groups[1].mean()) > groups.std(axis=1).max()


def test_a_batch_is_chosen_in_a_process_and_judged() -> None:
    found = batch_bald.measured("differ much", OPTIONS)
    assert found["time"]["peak MB"] > 20 and len(found["rounds"][0]["chosen"]) == 4
    quality = found["quality"]
    assert quality["all there is"] == pytest.approx(np.log(4))
    assert 0 < quality["random"] < quality["batch, 3 x chains"] < np.log(4)
