"""Questions in shards, scored in this process: cut, joined, and the same as scored together."""

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kvorum
from kvorum import KvorumError, cli
from kvorum.cluster.dispatch import Ended
from kvorum.cluster.evaluate import evaluate_in_shards
from kvorum.cluster.part import Bases
from kvorum.cluster.score import FEWEST, PER_WORKER, Shard, chosen, cut, joined, score_shard
from kvorum.cluster.storage import Storage
from kvorum.cluster.whole import standing_run
from kvorum.posterior.evaluate import evaluate_epochs
from kvorum.posterior.posterior import load
from kvorum.posterior.progress import Silent
from kvorum.posterior.scoring import Probabilities
from kvorum.posterior.stop import Stopped, StopRequest
from kvorum.predictions import Predictions
from kvorum.run import Run
from kvorum.tasks import Question, Task, load_task

SETTINGS: dict[str, Any] = {"members": 3, "rank": 2, "epochs": 1, "batch_size": 10, "lr": 1e-2, "train_limit": 20}


def a_task(name: str, lengths: list[int]) -> Task:
    """Questions of so many letters, with two or three candidates."""
    questions = tuple(
        Question(id=f"{i}", question="w" * length, choices=("a", "b", "c")[: 2 + i % 2], answer=i % 2)
        for i, length in enumerate(lengths)
    )
    return Task(name=name, train=(), test=questions, train_split="", test_split="all", source=f"{name}.jsonl")


def one_by_one(
    spoilt: Callable[[str, Probabilities], Probabilities] = lambda _, scores: scores, asked: int | None = None
) -> Any:
    """A runner in this process, which does the last shard first; `spoilt` may change what comes of a shard."""
    stop = StopRequest()
    stop.asked = asked

    def run(shards: Mapping[str, Shard], ended: Ended) -> dict[str, str]:
        bases, failed = Bases(), {}
        for name in reversed(shards):
            try:
                ended(name, spoilt(name, score_shard(shards[name], bases, Silent(), stop)))
            except KvorumError as error:
                failed[name] = str(error)
        return failed

    return run


@pytest.fixture(scope="module")
def fitted(tiny_model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that is scored on nothing but its own task."""
    out = tmp_path_factory.mktemp("score") / "run"
    kvorum.fit(tiny_model, "facts_opposites", evaluate=["facts_opposites"], out=str(out), device="cpu", **SETTINGS)
    return out


@pytest.fixture
def run(fitted: Path, tmp_path: Path) -> Run:
    """A copy of it, to be scored."""
    shutil.copytree(fitted, tmp_path / "run")
    return Run.open(tmp_path / "run")


@given(
    st.lists(st.lists(st.integers(1, 400), min_size=1, max_size=120), min_size=1, max_size=4),
    st.integers(1, 5),
    st.integers(1, 12),
)
def test_every_question_is_in_one_shard_and_shards_are_neither_many_nor_small(
    lengths: list[list[int]], epochs: int, slots: int
) -> None:
    tasks = [a_task(f"t{place}", some) for place, some in enumerate(lengths)]
    shards = cut(tasks, epochs, slots)
    for task, rows in zip(tasks, shards, strict=True):
        assert sorted(np.concatenate(rows).tolist()) == list(range(len(task.test)))
        sizes = [len(some) for some in rows]
        assert max(sizes) - min(sizes) <= 1 and (len(rows) == 1 or min(sizes) >= FEWEST)
    # Rounding adds one for every task at most.
    assert epochs * sum(map(len, shards)) <= PER_WORKER * slots + epochs * len(tasks)


def test_shards_of_a_task_are_of_alike_size_though_it_is_sorted_by_length() -> None:
    task = a_task("sorted", list(range(1, 801)))
    (rows,) = cut([task], 1, 2)
    letters = [sum(len(question.question) for question in chosen(task.test, some)) for some in rows]
    assert len(rows) == PER_WORKER * 2 and max(letters) / min(letters) < 1.03


def test_a_large_task_is_cut_finer_than_a_small_one() -> None:
    large, small = cut([a_task("large", [50] * 900), a_task("small", [50] * 100)], 1, 10)
    assert (len(large), len(small)) == (36, 4)


def test_shards_joined_are_the_whole_in_its_order() -> None:
    task = a_task("mixed", [7, 300, 20, 1, 90] * 13)
    (rows,) = cut([task], 1, 2)
    draw = np.random.default_rng(0)
    probs, rest = draw.random((4, 65, 3)), draw.random((4, 65))
    probs[:, ::2, 2] = 0  # two candidates alone
    # A shard is as wide as its own widest question.
    parts = [(probs[:, some, : max(len(task.test[row].choices) for row in some)], rest[:, some]) for some in rows]
    found = joined(rows, parts)
    np.testing.assert_array_equal(found[0], probs)
    np.testing.assert_array_equal(found[1], rest)


def test_scored_in_shards_is_scored_together(run: Run, fitted: Path, tmp_path: Path, question_file: str) -> None:
    plain = Run.open(shutil.copytree(fitted, tmp_path / "plain"))
    tasks = [load_task("facts_sums"), load_task(question_file)]
    evaluate_epochs(plain, load(plain), tasks, [0, 1], limit=40, progress=Silent())
    evaluate_in_shards(run, tasks, [0, 1], one_by_one(), slots=3, limit=40, progress=Silent())
    assert run.scores() == plain.scores()
    for epoch, task in run.scores():
        ours, theirs = run.predictions(epoch, task), plain.predictions(epoch, task)
        assert (ours.facts, ours.questions_digest()) == (theirs.facts, theirs.questions_digest())
        np.testing.assert_allclose(ours.probs, theirs.probs, atol=1e-6)
        np.testing.assert_allclose(ours.rest, theirs.rest, atol=1e-6)
    assert run.damage() == []


def test_a_member_that_is_not_finite_in_one_shard_is_left_out_of_the_whole(run: Run) -> None:
    def spoilt(name: str, scores: Probabilities) -> Probabilities:
        if name == "facts_sums at epoch 1: 2 of 4":
            scores[0][1, 0] = np.nan
        return scores

    evaluate_in_shards(run, [load_task("facts_sums")], [1], one_by_one(spoilt), progress=Silent())
    found = run.predictions(1, "facts_sums")
    assert found.members == 2 and found.facts["members"] == [0, 2]
    assert found.facts["diverged"] == {"1": "its predictions are not finite"}


def test_a_task_of_which_a_shard_failed_is_not_kept_and_others_are(run: Run, tmp_path: Path) -> None:
    long = tmp_path / "long.jsonl"
    rows = ["x" * 20] * 30 + ["x" * 400] * 2
    long.write_text(
        "".join(f'{{"question": "{row}", "choices": ["a", "b"], "id": "{i}"}}\n' for i, row in enumerate(rows))
    )
    tasks = [load_task(str(long)), load_task("facts_sums")]
    with pytest.raises(KvorumError) as failed:
        evaluate_in_shards(run, tasks, [0, 1], one_by_one(), progress=Silent())
    said = str(failed.value)
    assert "2 of 4 scorings failed" in said and "long at epoch 0" in said and "long at epoch 1" in said
    assert said.count("'30'") + said.count("'31'") <= 2, "each reason once"
    assert run.tasks(1) == ("facts_opposites", "facts_sums")
    assert list(run.path.rglob("long*")) == []


def test_nobody_answers_where_no_member_is_finite(run: Run) -> None:
    def spoilt(_: str, scores: Probabilities) -> Probabilities:
        return np.full_like(scores[0], np.nan), scores[1]

    with pytest.raises(KvorumError, match="facts_sums at epoch 1: no member's probabilities are finite"):
        evaluate_in_shards(run, [load_task("facts_sums")], [1], one_by_one(spoilt), progress=Silent())
    assert not run.scored(1, "facts_sums")


def test_another_base_model_is_refused_where_it_is_loaded(run: Run) -> None:
    run.facts["base_revision"] = "another"
    with pytest.raises(KvorumError, match=r"was fitted on .* another, but what is there now is"):
        evaluate_in_shards(run, [load_task("facts_sums")], [1], one_by_one(), progress=Silent())


def test_what_cannot_be_kept_is_refused_before_anything_is_scored(run: Run, question_file: str) -> None:
    def nothing(*_: object) -> None:
        raise AssertionError("shards were scored")

    mine = load_task(question_file)
    with pytest.raises(KvorumError, match="two tasks are called 'mine'"):
        evaluate_in_shards(run, [mine, mine], [1], nothing, progress=Silent())
    other = dataclasses.replace(mine, name="facts_opposites")
    with pytest.raises(KvorumError, match="holds predictions on another 'facts_opposites'"):
        evaluate_in_shards(run, [other], [1], nothing, progress=Silent())
    run.config = dataclasses.replace(run.config, trust_remote_code=True)
    with pytest.raises(KvorumError, match="--trust-remote-code"):
        evaluate_in_shards(run, [mine], [1], nothing, progress=Silent())


def test_scoring_stops_within_a_shard_when_it_is_asked_to(run: Run) -> None:
    run.config = dataclasses.replace(run.config, token_budget=200)  # several passes
    with pytest.raises(Stopped, match=r"stopped after \d+ of \d+ questions"):
        evaluate_in_shards(run, [load_task("facts_sums")], [1], one_by_one(asked=2), progress=Silent())
    assert not run.scored(1, "facts_sums")


def test_what_is_saved_in_a_run_at_a_url_is_saved_there(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As storage that is none of this machine's.
    monkeypatch.setattr(Storage, "path", None)
    there = run.path.as_uri()
    with standing_run(there) as here:
        assert here.path != run.path
        evaluate_in_shards(here, [load_task("facts_sums")], [1], one_by_one(), limit=9, progress=Silent())
    assert len(Run.open(run.path).predictions(1, "facts_sums")) == 9 and Run.open(run.path).damage() == []
    with (
        pytest.raises(KvorumError, match=f"^{there} holds predictions on another"),
        standing_run(there) as here,
    ):
        raise KvorumError(f"{here.path} holds predictions on another")
    with pytest.raises(KvorumError, match="holds no run"), standing_run((tmp_path / "none").as_uri()):
        pass
    assert not (tmp_path / "none").exists()


def test_a_url_without_a_cluster_is_refused_with_the_way_there(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        cli.main(["evaluate", "s3://bucket/runs/x?secret_key=k", "--task", "facts_sums"])
    said = " ".join(capsys.readouterr().err.split())
    assert stop.value.code == 2 and "kvorum fetch s3://bucket/runs/x brings it here" in said and "secret" not in said


def test_a_disk_that_fails_as_one_task_is_kept_does_not_end_the_others(
    run: Run, question_file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Run.save_predictions

    def save(self: Run, epoch: int, task: str, predictions: Predictions) -> None:
        if epoch == 0:
            raise OSError(28, "No space left on device")
        real(self, epoch, task, predictions)

    monkeypatch.setattr(Run, "save_predictions", save)
    task = load_task(question_file)
    with pytest.raises(KvorumError, match=rf"1 of 2 scorings failed.*{task.name} at epoch 0.*No space left"):
        evaluate_in_shards(run, [task], [0, 1], one_by_one(), limit=4, progress=Silent())
    assert (1, task.name) in run.scores() and (0, task.name) not in run.scores()
