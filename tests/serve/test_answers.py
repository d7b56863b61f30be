"""What the server answers is what the library says offline."""

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from kvorum.decisions import decide
from kvorum.predictions import Predictions
from kvorum.serve.served import Served
from kvorum.tasks import Question
from tests.serve.conftest import asked, listening, rows


def offline(served: Served, made: list[dict]) -> Predictions:
    return served.posterior.predict(
        [Question(id=row["id"], question=row["question"], choices=tuple(row["choices"])) for row in made]
    )


@pytest.fixture(scope="module")
def expected(served: Served) -> Predictions:
    # Before the server starts: a model takes one set of adapters at a time.
    return offline(served, rows(30, 300))


def check(answers: list[dict], expected: Predictions, places: list[int], served: Served) -> None:
    decisions = decide(expected, served.calibration)
    for answer, row in zip(answers, places, strict=True):
        assert answer["id"] == expected.ids[row]
        np.testing.assert_allclose(answer["probabilities"], decisions.mean[row], atol=1e-5)
        np.testing.assert_allclose(
            [member["probabilities"] for member in answer["members"]], expected.probs[:, row], atol=1e-5
        )
        assert [member["vote"] for member in answer["members"]] == expected.probs[:, row].argmax(1).tolist()
        assert answer["entropy"]["predictive"] == pytest.approx(expected.predictive_entropy[row], abs=1e-5)
        assert answer["entropy"]["mutual_information"] == pytest.approx(expected.mutual_information[row], abs=1e-5)
        assert answer["decision"]["answered"] == decisions.answered[row]
        assert answer["answer"] == (expected.choices[row][answer["top"]] if decisions.answered[row] else None)
        assert answer["top"] == expected.predicted[row]
        for method, inside in answer["decision"]["sets"].items():
            assert inside == np.flatnonzero(decisions.sets[method][row]).tolist()


def test_many_questions_come_back_in_order_as_they_are_offline(
    expected: Predictions, served: Served, client: httpx.Client
) -> None:
    reply = client.post("/v1/answers", json=asked(30))
    assert reply.status_code == 200
    check(reply.json()["answers"], expected, list(range(30)), served)
    assert {answer["decision"]["answered"] for answer in reply.json()["answers"]} == {True, False}


def test_every_client_gets_its_own_answers_however_passes_are_mixed(
    expected: Predictions, served: Served, client: httpx.Client
) -> None:
    def ask(seed: int) -> None:
        draw = np.random.default_rng(seed)
        for _ in range(6):
            places = draw.permutation(30)[: draw.integers(1, 6)].tolist()
            body = {"questions": [asked(30)["questions"][place] for place in places]}
            reply = httpx.post(f"{client.base_url}/v1/answers", json=body, timeout=60)
            assert reply.status_code == 200
            check(reply.json()["answers"], expected, places, served)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(ask, range(8)))


def test_clients_share_passes(served: Served) -> None:
    with listening(served) as client:
        gate = threading.Barrier(6)

        def ask(first: int) -> int:
            gate.wait()
            return httpx.post(f"{client.base_url}/v1/answers", json=asked(4, first), timeout=60).status_code

        with ThreadPoolExecutor(6) as pool:
            assert set(pool.map(ask, range(6))) == {200}
        counted = dict(
            line.rsplit(" ", 1) for line in client.get("/metrics").text.splitlines() if not line.startswith("#")
        )
        assert float(counted["kvorum_pass_questions_sum"]) == 24
        assert float(counted["kvorum_pass_questions_count"]) < 24
        assert float(counted['kvorum_requests_total{method="POST",path="/v1/answers",status="200"}']) == 6


def test_without_a_calibration_it_always_answers(expected: Predictions, served: Served) -> None:
    with listening(dataclasses.replace(served, calibration=None)) as client:
        answers = client.post("/v1/answers", json=asked(30)).json()["answers"]
        assert client.get("/v1/posterior").json()["calibration"] is None
    assert all(answer["decision"] is None for answer in answers)
    assert [answer["answer"] for answer in answers] == [
        choices[top] for choices, top in zip(expected.choices, expected.predicted, strict=True)
    ]
    np.testing.assert_allclose(answers[3]["probabilities"], expected.mean[3], atol=1e-5)


def test_posterior_says_what_runs(served: Served, client: httpx.Client) -> None:
    found = client.get("/v1/posterior").json()
    assert found["members"] == [0, 1, 2] and found["epoch"] == 1 and found["fitted_on"] == "fitted"
    assert found["tasks"] == [{"task": "held", "questions": 40}, {"task": "other", "questions": 5}]
    assert served.calibration is not None
    assert found["calibration"]["answer"]["threshold"] == served.calibration.answer.threshold
    assert found["limits"]["max_questions"] == 64


def test_questions_of_a_task_come_in_pages(client: httpx.Client) -> None:
    page = client.get("/v1/tasks/held/questions", params={"offset": 38, "limit": 5}).json()
    assert (page["total"], [one["id"] for one in page["questions"]]) == (40, ["q138", "q139"])
    assert page["questions"][0]["answer"] == 138 % 3
    assert client.get("/v1/tasks/held/questions", params={"offset": 99}).json()["questions"] == []
    missing = client.get("/v1/tasks/hell/questions")
    assert missing.status_code == 404 and "did you mean 'held'" in missing.json()["error"]["message"]


def test_plane_is_that_of_the_calibration_questions(served: Served, client: httpx.Client) -> None:
    plane = client.get("/v1/plane").json()
    assert served.run is not None and served.calibration is not None
    predictions = served.run.predictions(1, "held")
    assert plane["task"] == "held" and plane["mi_cut"] == served.calibration.mi_cut
    np.testing.assert_allclose(plane["predictive_entropy"], predictions.predictive_entropy)
    np.testing.assert_allclose(plane["mutual_information"], predictions.mutual_information)
    assert plane["right"] == predictions.correct.tolist()
