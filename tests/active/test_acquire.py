"""Choosing from a pool with a posterior: in Python, and by the command on a run."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

import kvorum
from kvorum.acquisition import ACQUISITION_NAMES, AcquisitionName
from kvorum.active.acquire import check_asked, score_pool
from kvorum.cli import main
from kvorum.tasks import Question
from tests.posterior.test_fit import fit


def pool(count: int, start: int = 100) -> list[Question]:
    return [
        Question(id=f"p{i}", question=f"Which is {i}?", choices=(f"{i}", f"{i + 1}", "no"), subject=f"s{i % 2}")
        for i in range(start, start + count)
    ]


def as_file(questions: list[Question], file: Path) -> Path:
    rows = [{"id": q.id, "question": q.question, "choices": q.choices, "subject": q.subject} for q in questions]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def posterior(tiny_model: str, question_file: str) -> kvorum.Posterior:
    return fit(tiny_model, question_file)


@pytest.fixture
def run(tiny_model: str, question_file: str, tmp_path: Path) -> Path:
    fit(tiny_model, question_file, out=str(tmp_path / "run"), evaluate=[question_file, "facts_capitals"])
    return tmp_path / "run"


def test_the_most_wanted_are_those_of_highest_mutual_information(posterior: kvorum.Posterior) -> None:
    asked = pool(12)
    found = kvorum.acquire(posterior, asked, count=4)
    predictions = posterior.predict(asked)
    best = np.argsort(-predictions.mutual_information)[:4]
    assert [q.id for q in found.questions] == [asked[i].id for i in best]
    np.testing.assert_allclose(found.scores, predictions.mutual_information[best])
    np.testing.assert_allclose(found.mutual_information, predictions.mutual_information[best])
    np.testing.assert_allclose(found.entropy, predictions.predictive_entropy[best])
    assert (found.pool, found.fitted, found.repeats) == (12, 0, 0)


@pytest.mark.parametrize("by", ACQUISITION_NAMES)
def test_every_function_chooses_as_many_as_asked(posterior: kvorum.Posterior, by: AcquisitionName) -> None:
    found = kvorum.acquire(posterior, pool(12), count=5, by=by, seed=1)
    again = kvorum.acquire(posterior, pool(12), count=5, by=by, seed=1)
    assert len({q.id for q in found.questions}) == 5 == len(found.scores)
    assert [q.id for q in again.questions] == [q.id for q in found.questions]
    assert all(q.answer is None for q in found.questions)


def test_k_centre_keeps_away_from_what_was_fitted_on(posterior: kvorum.Posterior) -> None:
    asked = pool(6)
    _, scored = score_pool(posterior, asked, hidden=True)
    assert scored.hidden is not None and scored.labelled_hidden is not None
    assert len(scored.labelled_hidden) == 20
    distance = np.linalg.norm(scored.hidden[:, None] - scored.labelled_hidden[None], axis=-1).min(1)
    found = kvorum.acquire(posterior, asked, count=1, by="k_centre")
    assert found.questions[0].id == asked[int(distance.argmax())].id
    assert found.scores[0] == pytest.approx(distance.max(), rel=1e-4)


def test_fitted_questions_and_repeats_are_left_out(posterior: kvorum.Posterior, question_file: str) -> None:
    fitted = [Question(id="again", question=" which is 3? ", choices=("no <b>", "4", "3"))]
    twice = [Question(id="twice", question="Which  is 101?", choices=("no", "102", "101"))]
    found = kvorum.acquire(posterior, [*fitted, *pool(4), *twice], count=4)
    assert len(kvorum.acquire(posterior, [*twice, *twice], count=4).questions) == 1
    assert (found.pool, found.fitted, found.repeats) == (4, 1, 1)
    assert {q.id for q in found.questions} == {q.id for q in pool(4)}
    with pytest.raises(kvorum.KvorumError, match="nothing is left to choose from: of 20 questions 20 were fitted on"):
        kvorum.acquire(posterior, question_file, count=1)


def test_a_small_pool_is_said_and_taken_whole(posterior: kvorum.Posterior, caplog: pytest.LogCaptureFixture) -> None:
    assert len(kvorum.acquire(posterior, pool(3), count=5).questions) == 3
    assert "the pool holds 3 questions, fewer than 5: all are taken" in caplog.text


def test_what_cannot_be_asked_is_named(posterior: kvorum.Posterior) -> None:
    with pytest.raises(kvorum.KvorumError, match="count is 0"):
        kvorum.acquire(posterior, pool(3), count=0)
    with pytest.raises(kvorum.KvorumError, match="seed is -1"):
        kvorum.acquire(posterior, pool(3), count=1, seed=-1)
    with pytest.raises(kvorum.KvorumError, match=r"no acquisition function 'margins'.*margin"):
        check_asked(1, "margins")


@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_the_file_is_ready_to_be_labelled_and_then_fitted_on(
    posterior: kvorum.Posterior, tiny_model: str, tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
) -> None:
    asked = [*pool(5), Question(id="odd", question='A "quoted",\nline?', choices=("a,b", "ü", "3", "4"))]
    found = kvorum.acquire(posterior, asked, count=6)
    file = tmp_path / f"chosen.{suffix}"
    found.save(file)
    with caplog.at_level("INFO"):
        read = kvorum.load_task(file).test
    assert "not used" not in caplog.text
    assert [(q.id, q.question, q.choices, q.answer, q.subject) for q in read] == [
        (q.id, q.question, q.choices, None, q.subject) for q in found.questions
    ]
    with pytest.raises(kvorum.KvorumError, match="6 of 6 training questions have no answer"):
        fit(tiny_model, str(file))
    if suffix == "jsonl":
        rows = [json.loads(line) for line in file.read_text().splitlines()]
        assert all(row["answer"] is None for row in rows)
    else:
        with file.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        assert all(row["answer"] == "" for row in rows)
    np.testing.assert_allclose([float(row["score"]) for row in rows], found.scores)
    np.testing.assert_allclose([float(row["entropy"]) for row in rows], found.entropy)
    before = file.read_bytes()
    with pytest.raises(kvorum.KvorumError, match="is there already, and labels in it would be lost"):
        found.save(file)
    assert file.read_bytes() == before


def test_the_command_writes_the_chosen_and_says_what_comes_next(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, place = as_file(pool(30), tmp_path / "pool.jsonl"), tmp_path / "next.csv"
    main(["acquire", str(run), "--pool", str(file), "--count", "12", "--by", "margin", "--out", str(place)])
    said = capsys.readouterr().out
    assert f"12 of 30 questions into {place}; next: kvorum label {place}" in said and "and 2 more" in said
    chosen = [q.id for q in kvorum.load_task(place).test]
    p = np.sort(kvorum.load(run).predict(file).mean, axis=-1)
    assert set(chosen) == {pool(30)[i].id for i in np.argsort(p[:, -1] - p[:, -2])[:12]}


def test_the_command_speaks_json(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, place = as_file(pool(8), tmp_path / "pool.jsonl"), tmp_path / "next.jsonl"
    main(["acquire", str(run), "--pool", str(file), "--count", "3", "--out", str(place), "--json"])
    said = json.loads(capsys.readouterr().out)
    assert said["out"] == str(place) and said["pool"] == {"questions": 8, "fitted": 0, "repeats": 0}
    assert [one["id"] for one in said["chosen"]] == [q.id for q in kvorum.load_task(place).test]


def test_a_pool_that_overlaps_the_test_is_refused_with_the_count(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tested = list(kvorum.load_task("facts_capitals").test[:3])
    file, place = as_file([*pool(4), *tested], tmp_path / "pool.jsonl"), tmp_path / "next.jsonl"
    command = ["acquire", str(run), "--pool", str(file), "--out", str(place)]
    with pytest.raises(SystemExit, match="2"):
        main(command)
    said = " ".join(capsys.readouterr().err.split())
    assert "3 of the pool's 7 questions are among the test questions (3 of facts_capitals)" in said
    assert not place.exists()
    main([*command, "--leave-out-tested"])
    assert len(kvorum.load_task(place).test) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--out", "next.txt"], "a file to label ends in .jsonl or .csv"),
        (["--out", "nowhere/next.csv"], "the folder nowhere does not exist"),
        (["--count", "0"], "count is 0"),
        (["--pool-limit", "-5"], "pool_limit is -5; it must be at least 1"),
        (["--seed", "-1"], "seed is -1"),
        (["--epoch", "7"], "7"),
        (["--pool", "absent.jsonl"], "there is no file 'absent.jsonl'"),
    ],
)
def test_mistakes_are_named_before_the_model_is_loaded(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    change: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("kvorum.posterior.posterior.load", None)
    file = as_file(pool(4), tmp_path / "pool.jsonl")
    with pytest.raises(SystemExit, match="2"):
        main(["acquire", str(run), "--pool", str(file), *change])
    assert message in " ".join(capsys.readouterr().err.split())
