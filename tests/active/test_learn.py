"""The loop on a tiny model: what it chooses, what it keeps, and that it goes on."""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import kvorum
from kvorum.active.config import learn_config
from kvorum.active.loop import learn
from kvorum.active.plan import members_of, read_experiment
from kvorum.active.pool import pool_of
from kvorum.active.progress import SilentRounds
from kvorum.active.records import Learned, Record


@pytest.fixture
def settings(tiny_model: str, tmp_path: Path) -> dict[str, Any]:
    return {
        "out": str(tmp_path / "learn"),
        "settings": {"model": tiny_model, "epochs": 1, "lr": 1e-2, "rank": 2, "alpha": 4.0, "evaluate_limit": 8},
        "pool": [{"task": "facts_capitals", "limit": 25}, {"task": "facts_elements", "limit": 8, "labels": "random"}],
        "test": ["facts_capitals"],
        "acquisitions": ["mutual_information"],
        "initial": 5,
        "batch": 4,
        "rounds": 2,
        "seeds": [0, 3],
        "members": 2,
    }


def run(given: Mapping[str, Any], /, **changes: Any) -> Learned:
    return learn(learn_config({**given, **changes}, where="test"))


def kept(folder: Path) -> dict[str, bytes]:
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted((folder / "rounds").rglob("*")) if f.is_file()}


def labelled(learned: Learned, acquisition: str, number: int, seed: int) -> list[str]:
    return [one.id for n in range(number + 1) for one in learned.record(acquisition, n, seed).added]


def test_each_round_asks_for_what_the_members_of_the_round_before_disagree_on(settings: dict[str, Any]) -> None:
    learned = run(settings)
    assert learned.rounds("mutual_information") == 3
    for seed in (0, 3):
        for number in (1, 2):
            record = learned.record("mutual_information", number, seed)
            assert record.labels == 5 + 4 * number == len(set(labelled(learned, "mutual_information", number, seed)))
            pool = learned.pool("mutual_information", number - 1, seed)
            p = pool.probs
            surprise = np.where(p > 0, -p * np.log(np.where(p > 0, p, 1)), 0).sum(-1).mean(0)
            mean = p.mean(0)
            mi = np.where(mean > 0, -mean * np.log(np.where(mean > 0, mean, 1)), 0).sum(-1) - surprise
            best = [pool.ids[i] for i in np.argsort(-mi)[:4]]
            assert [one.id for one in record.added] == best
            np.testing.assert_allclose(
                [one.mutual_information for one in record.added], np.sort(mi)[::-1][:4], atol=1e-9
            )
            before = set(labelled(learned, "mutual_information", number - 1, seed))
            assert not before & set(pool.ids) and len(before) + len(pool.ids) == 33
            assert {state.part: state.questions for state in record.pool} == {
                part: sum(name.startswith(part) for name in learned.pool("mutual_information", number, seed).ids)
                for part in ("facts_capitals", "facts_elements")
            }
    assert labelled(learned, "mutual_information", 0, 0) != labelled(learned, "mutual_information", 0, 3)
    assert learned.pool("mutual_information", 1, 3).facts["members"] == [6, 7]


def test_a_seed_among_others_is_as_it_is_alone(settings: dict[str, Any], tmp_path: Path) -> None:
    both = run(settings, acquisitions=["random"])
    alone = run(settings, acquisitions=["random"], seeds=[3], out=str(tmp_path / "alone"))
    for number in range(3):
        one, two = (learned.test("random", number, 3, "facts_capitals") for learned in (both, alone))
        np.testing.assert_allclose(one.probs, two.probs, atol=1e-5)
        one, two = (learned.pool("random", number, 3) for learned in (both, alone))
        assert one.ids == two.ids
        np.testing.assert_allclose(one.probs, two.probs, atol=1e-5)


def test_it_is_fitted_on_just_the_labels_of_its_seed(settings: dict[str, Any]) -> None:
    """Held against a plain fit of one seed's questions."""
    learned = run(settings, rounds=1)
    pool, _ = read_experiment(learned.config)
    mine = [pool.questions[pool.places[name]] for name in labelled(learned, "mutual_information", 1, 0)]
    task = kvorum.load_task("facts_capitals")
    task = dataclasses.replace(task, name="mine", train=tuple(mine), test=task.test[:8])
    assert members_of(learned.config, 0) == (0, 1)
    model = {**settings["settings"]}
    name = model.pop("model")
    posterior = kvorum.fit(name, task, members=2, **model)
    found = learned.test("mutual_information", 1, 0, "facts_capitals")
    np.testing.assert_allclose(found.probs, posterior.predict(task).probs, atol=1e-5)
    assert found.facts["trained_on_questions"] == 0


class StopAfter(SilentRounds):
    def __init__(self, rounds: int) -> None:
        self.left = rounds

    def done(self, learned: Learned, acquisition: str, number: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise RuntimeError("the plug was pulled")


@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_an_experiment_that_was_stopped_goes_on_to_the_same_files(
    settings: dict[str, Any], tmp_path: Path, start: str
) -> None:
    config = {**settings, "start": start, "acquisitions": ["random", "k_centre"]}
    whole = run(config)
    torn = learn_config(config | {"out": str(tmp_path / "torn")}, where="test")
    for rounds in (0, 2):
        with pytest.raises(RuntimeError, match="plug"):
            learn(torn, StopAfter(rounds))
    learn(torn)
    assert kept(tmp_path / "torn") == kept(whole.path)


@pytest.mark.parametrize("start", ["prior", "posterior"])
def test_it_goes_on_where_a_stop_left_one_seed_of_a_round_undone(
    settings: dict[str, Any], start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {**settings, "start": start, "acquisitions": ["k_centre"]}
    save, saved = Learned.save, 0

    def stop(self: Learned, record: Record) -> None:
        nonlocal saved
        saved += 1
        if saved == 4:  # the second seed in the first round
            raise RuntimeError("the plug was pulled")
        save(self, record)

    monkeypatch.setattr(Learned, "save", stop)
    with pytest.raises(RuntimeError, match="plug"):
        run(config)
    monkeypatch.undo()
    out = Learned.open(settings["out"])
    assert out.record_file("k_centre", 1, 0).is_file() and not out.record_file("k_centre", 1, 3).is_file()
    out.pool_file("k_centre", 1, 3).write_bytes(b"half")
    learned = run(config)
    assert learned.rounds("k_centre") == 3
    for seed in (0, 3):
        assert len(set(labelled(learned, "k_centre", 2, seed))) == 13
        learned.test("k_centre", 2, seed, "facts_capitals")


def test_seeds_and_rounds_may_be_added_to_one_that_goes_on_from_its_posteriors(settings: dict[str, Any]) -> None:
    config = {**settings, "start": "posterior", "acquisitions": ["random"]}
    run(config, rounds=1)
    before = kept(run(config, rounds=1, seeds=[0, 3, 5]).path)
    learned = run(config, rounds=2, seeds=[0, 3, 5])
    assert all(learned.record("random", 2, seed).labels == 13 for seed in (0, 3, 5))
    after = kept(learned.path)
    # What only the next round needed has gone, and nothing else.
    assert all(after.get(name, content) == content for name, content in before.items())
    assert {name.rpartition("-")[2] for name in before.keys() - after.keys()} == {"adapters.safetensors"}
    assert learned.adapters_file("random", 2, 5).is_file() and learned.adapters_file("random", 0, 5).is_file()


def test_rounds_that_follow_on_others_than_are_there_are_done_again(settings: dict[str, Any]) -> None:
    learned = run(settings, acquisitions=["random"])
    before = kept(learned.path)
    changed = learned.record("random", 1, 3)
    learned.save(changed.model_copy(update={"added": changed.added[::-1]}))
    again = run(settings, acquisitions=["random"])
    differ = {name for name, content in kept(again.path).items() if content != before[name]}
    assert all("seed-3" in name and name.startswith("rounds/random") for name in differ)
    assert again.record("random", 1, 3).added == changed.added


def test_one_seed_that_diverges_costs_the_others_nothing(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvorum.active.scored.Scored.lost", lambda self, seed: seed == 3)
    with pytest.raises(
        kvorum.KvorumError, match=r"all members of seed 3 diverged in start, round 0; the others are kept"
    ):
        run(settings)
    monkeypatch.undo()
    before = kept(Path(settings["out"]))
    after = kept(run(settings, seeds=[0]).path)
    assert before and all(after[name] == content for name, content in before.items())


def test_k_centre_ends_with_the_pool_and_is_not_done_twice(settings: dict[str, Any]) -> None:
    config = {**settings, "acquisitions": ["k_centre"], "pool": [{"task": "facts_capitals", "limit": 9}]}
    learned = run(config)
    assert [learned.record("k_centre", n, 0).labels for n in range(2)] == [5, 9]
    assert not learned.pool_file("k_centre", 1, 0).exists() and not learned.hidden_file("k_centre", 1, 0).exists()
    times = {file: file.stat().st_mtime_ns for file in learned.path.rglob("seed-*")}
    run(config)
    assert {file: file.stat().st_mtime_ns for file in learned.path.rglob("seed-*")} == times


def test_from_the_posterior_a_round_goes_on_from_the_members_of_the_one_before(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    """Held against two plain fits, the second from the first."""
    learned = run(settings, start="posterior", rounds=1)
    pool, _ = read_experiment(learned.config)
    model = {**settings["settings"]}
    name, facts = model.pop("model"), kvorum.load_task("facts_capitals")
    warm: dict[str, str] = {}
    for number in range(2):
        mine = tuple(pool.questions[pool.places[one]] for one in labelled(learned, "mutual_information", number, 0))
        task = dataclasses.replace(facts, name=f"mine{number}", train=mine, test=facts.test[:8])
        out = str(tmp_path / task.name)
        posterior = kvorum.fit(name, task, members=2, out=out, **warm, **model)
        found = learned.test("mutual_information", number, 0, "facts_capitals")
        np.testing.assert_allclose(found.probs, posterior.predict(task).probs, atol=1e-5)
        warm = {"warm_start": out}
    assert learned.adapters_file("mutual_information", 0, 0).is_file()
    assert not list(run(settings, out=str(tmp_path / "prior"), rounds=1).path.rglob("*.safetensors"))


def test_a_round_that_is_done_again_and_stopped_is_done_again(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(settings, acquisitions=["random"], rounds=1, seeds=[0])
    more = {"acquisitions": ["random", "k_centre"], "rounds": 1, "seeds": [0, 3]}

    def stop(self: Learned, record: Record) -> None:
        raise RuntimeError("the plug was pulled")

    with monkeypatch.context() as patched:
        patched.setattr(Learned, "save", stop)
        with pytest.raises(RuntimeError, match="plug"):
            run(settings, **more)
    learned = run(settings, **more)
    for name in ("random", "k_centre"):
        assert learned.rounds(name) == 2
        for seed in (0, 3):
            learned.test(name, 0, seed, "facts_capitals"), learned.pool(name, 0, seed)


def test_more_rounds_functions_and_seeds_leave_what_is_done(settings: dict[str, Any]) -> None:
    before = kept(run(settings, rounds=1).path)
    learned = run(settings, rounds=2, acquisitions=["mutual_information", "k_centre", "random"], seeds=[0, 3, 5])
    after = kept(learned.path)
    gone_on = {name for name, content in before.items() if after[name] != content}
    # k-centre looks at hidden states, which the first start has not kept.
    assert {name.split("/")[1] for name in gone_on} <= {"start"}
    assert all(learned.rounds(name) == 3 for name in ("mutual_information", "k_centre", "random"))
    assert learned.record("k_centre", 2, 5).labels == 13


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"batch": 5}, "its batch was 4, asked for was 5"),
        ({"initial": 6}, "its initial was 5"),
        ({"pool": [{"task": "facts_capitals", "limit": 26}]}, "its pool was"),
        ({"test": ["facts_sums"]}, "its test was facts_capitals"),
        ({"members": 3}, "its members is 2, asked for was 3"),
        ({"settings": {"lr": 1e-3}}, "its lr is 0.01, asked for was 0.001"),
        ({"settings": {"epochs": 2}}, "its epochs is 1, asked for was 2"),
    ],
)
def test_another_experiment_is_refused(settings: dict[str, Any], change: dict[str, Any], message: str) -> None:
    learned = run(settings, rounds=1)
    before = kept(learned.path)
    if "settings" in change:
        change = {"settings": settings["settings"] | change["settings"]}
    with pytest.raises(kvorum.KvorumError, match=message):
        run(settings, **change)
    assert kept(learned.path) == before


def test_a_folder_of_something_else_is_refused(settings: dict[str, Any]) -> None:
    out = Path(settings["out"])
    out.mkdir()
    (out / "thesis.tex").write_text("mine")
    with pytest.raises(kvorum.KvorumError, match=r"holds no experiment, but thesis.tex"):
        run(settings)


def test_a_small_pool_is_said_and_used_whole(settings: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    learned = run(settings, pool=[{"task": "facts_capitals", "limit": 12}], rounds=5)
    assert "fewer than the 25 that 5 rounds would label" in caplog.text
    assert "the pool has 3 questions left, fewer than 4: all are taken" in caplog.text
    assert [learned.record("mutual_information", n, 0).labels for n in range(3)] == [5, 9, 12]
    assert learned.rounds("mutual_information") == 3
    assert [state.questions for state in learned.record("mutual_information", 2, 0).pool] == [0]


def test_only_so_many_candidates_are_scored(settings: dict[str, Any]) -> None:
    learned = run(settings, candidates=6)
    for number in (0, 1):
        one, other = (set(learned.pool("mutual_information", number, seed).ids) for seed in (0, 3))
        assert len(one) == len(other) == 6
        assert not one & set(labelled(learned, "mutual_information", number, 0))
    assert set(learned.pool("mutual_information", 0, 0).ids) != set(learned.pool("mutual_information", 1, 0).ids)


def test_random_labels_are_drawn_by_lot_and_stay(settings: dict[str, Any]) -> None:
    config = learn_config({**settings, "pool": [{"task": "facts_elements", "labels": "random"}]}, where="test")
    pool, _ = read_experiment(config)
    again, _ = read_experiment(config)
    truth = kvorum.load_task("facts_elements").test
    true = [q.answer for q in (kvorum.load_task("facts_elements").train or truth)]
    drawn = [q.answer for q in pool.questions]
    assert drawn == [q.answer for q in again.questions]
    agree = np.mean([one == two for one, two in zip(drawn, true, strict=True)])
    assert 0.05 < agree < 0.5 and len(set(drawn)) > 1
    true_pool, _ = read_experiment(learn_config({**settings, "pool": [{"task": "facts_elements"}]}, where="test"))
    assert [q.answer for q in true_pool.questions] == true


def test_a_pool_that_overlaps_the_test_is_refused_with_the_count_or_left_out(
    settings: dict[str, Any], tmp_path: Path
) -> None:
    test = kvorum.load_task("facts_capitals").test[:8]
    rows = [
        {"question": q.question.upper() + " ", "choices": q.choices[::-1], "answer": q.choices[q.answer or 0]}
        for q in test[:3]
    ]
    rows += [{"question": f"Is it {i}?", "choices": ["yes", "no"], "answer": 0} for i in range(20)]
    file = tmp_path / "pool.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = r"3 of the pool's 23 questions are among the test questions \(3 of facts_capitals\)"
    with pytest.raises(kvorum.KvorumError, match=said):
        run(settings, pool=[{"task": str(file)}])
    config = learn_config({**settings, "pool": [{"task": str(file)}], "leave_out_tested": True}, where="test")
    assert len(read_experiment(config)[0]) == 20


def test_repeats_are_marked(settings: dict[str, Any], tmp_path: Path) -> None:
    rows = [{"question": f"Is it {i // 2}{' ' * (i % 2)}?", "choices": ["yes", "no"], "answer": 0} for i in range(10)]
    file = tmp_path / "twice.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows).replace(" ?", "  ?").replace("0  ?", "0?"))
    learned = run(settings, pool=[{"task": str(file)}], initial=10, rounds=1, seeds=[0])
    added = learned.record("start", 0, 0).added
    texts = [json.loads(line)["question"] for line in file.read_text().splitlines()]
    plain = [" ".join(texts[int(one.id.split("/")[-1]) - 1].split()) for one in added]
    assert [one.repeats for one in added] == [text in plain[:i] for i, text in enumerate(plain)]
    assert any(one.repeats for one in added)


def test_a_damaged_file_is_named(settings: dict[str, Any]) -> None:
    learned = run(settings, rounds=1)
    for file in (learned.pool_file("start", 0, 0), learned.test_file("start", 0, 0, "facts_capitals")):
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    with pytest.raises(kvorum.KvorumError, match=r"seed-0-pool.parquet: is missing or not what was written; remove"):
        learned.pool("start", 0, 0)
    with pytest.raises(kvorum.KvorumError, match=r"seed-0-test-facts_capitals.parquet: is missing or not what"):
        learned.test("start", 0, 0, "facts_capitals")
    record = learned.record_file("start", 0, 3)
    for text in ("{}", "[", json.dumps({**Record.model_validate_json(record.read_text()).model_dump(), "labels": -1})):
        record.write_text(text)
        with pytest.raises(kvorum.KvorumError, match="is no record that kvorum wrote"):
            learned.record("start", 0, 3)


def test_what_a_stop_left_half_written_does_not_stand_in_the_way(settings: dict[str, Any]) -> None:
    out = Path(settings["out"])
    out.mkdir()
    (out / ".config.yaml.aabbcc.tmp").write_text("half")
    assert run(settings, rounds=1).rounds("mutual_information") == 2
    assert not (out / ".config.yaml.aabbcc.tmp").exists()


def test_other_ids_are_another_pool(settings: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "mine.jsonl"
    rows = [{"id": f"a{i}", "question": f"Is it {i}?", "choices": ["yes", "no"], "answer": 0} for i in range(12)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(settings, pool=[{"task": str(file)}], rounds=1)
    file.write_text(file.read_text().replace('"a', '"b').replace('"bnswer', '"answer'))
    with pytest.raises(kvorum.KvorumError, match="the pool is another than it was"):
        run(settings, pool=[{"task": str(file)}], rounds=1)


def test_a_test_of_no_answers_is_refused(settings: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "open.jsonl"
    file.write_text('{"question": "Is it?", "choices": ["yes", "no"]}\n')
    with pytest.raises(kvorum.KvorumError, match="test open: no question of it has an answer"):
        run(settings, test=[str(file)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"acquisition": "random"}, "no key 'acquisition' in an experiment.*acquisitions"),
        ({"acquisitions": ["bald"]}, "no acquisition function 'bald'"),
        ({"acquisitions": []}, "acquisitions is empty"),
        ({"seeds": [0, 0]}, "seeds names something twice"),
        ({"seeds": [-1]}, "seeds are"),
        ({"batch": 0}, "batch is 0"),
        ({"candidates": 3}, "candidates is 3; it must be at least the batch, 4"),
        ({"targets": [40]}, "an accuracy is between 0 and 1"),
        ({"pool": [{"task": "facts_sums", "labels": "noise"}]}, "labels"),
        ({"pool": [{"task": "facts_sums"}, {"task": "facts_sums", "limit": 3}]}, "pool names a task twice"),
        ({"settings": {"model": "m", "seed": 1}}, "settings holds 'seed'; in an experiment its place is seeds"),
        ({"settings": {"model": "m", "lrr": 1}}, "there is no setting 'lrr'"),
        ({"settings": {}}, "model is missing"),
        ({"settings": {"model": "m", "train-limit": 5}}, "settings holds 'train-limit'"),
        ({"settings": {"model": "m", "diversity": ["order"]}}, "diversity leaves out initialisation or order"),
        ({"acquisitions": 5}, "acquisitions is 5"),
        ({"test": ["data/pool.jsonl"]}, "a test is called 'pool', as the pool is"),
        ({"test": ["a/x.jsonl", "b/x.csv"]}, "test names a task twice, or two files of one name"),
    ],
)
def test_a_wrong_experiment_is_named(settings: dict[str, Any], change: dict[str, Any], message: str) -> None:
    with pytest.raises(kvorum.KvorumError, match=message):
        learn_config({**settings, **change}, where="test")


def test_a_pool_without_answers_has_none_to_reveal(settings: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "open.jsonl"
    file.write_text('{"question": "Is it?", "choices": ["yes", "no"]}\n')
    with pytest.raises(kvorum.KvorumError, match="1 of 1 questions have no answer to reveal, the first is"):
        run(settings, pool=[{"task": str(file)}])
    task = dataclasses.replace(kvorum.load_task("facts_sums"), name="scored", train=(), train_split="")
    with pytest.raises(kvorum.KvorumError, match="pool scored: it has no training split"):
        pool_of(task)
