import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.report.conftest import make, predictions

from kvorum.errors import KvorumError
from kvorum.predictions import Predictions
from kvorum.report.analysis import analyse
from kvorum.report.comparison.compare import METRICS, Comparison, Moment, compare, members_to_compare
from kvorum.report.comparison.tables import Shift, title_of
from kvorum.run import Run
from kvorum.uncertainty import auroc, ece

TASK, OTHER = "facts_capitals", "facts_elements"
# The second learns faster, drifts apart more and has fewer epochs; both are asked the same.
BASE = {TASK: {"questions": 60}, OTHER: {"questions": 40, "skill": 0.4, "rest": 0.05, "unknown": 7}}
FASTER = {
    TASK: {"questions": 60, "skill": 1.5, "spread": 1.2},
    OTHER: {"questions": 40, "skill": 0.6, "spread": 0.9, "rest": 0.05, "unknown": 7},
}
SMALL = {TASK: {"questions": 12}, OTHER: {"questions": 24, "unknown": 2}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compared")


@pytest.fixture(scope="module")
def runs(folder: Path) -> list[Run]:
    return [make(folder / "base", BASE), make(folder / "faster", FASTER, epochs=range(3))]


@pytest.fixture(scope="module")
def small(folder: Path) -> Run:
    """For what does not hang on how much there is."""
    return make(folder / "small", SMALL, epochs=[1])


@pytest.fixture(scope="module")
def comparison(runs: list[Run]) -> Comparison:
    return compare(runs)


def moment(comparison: Comparison, task: str, at: str) -> Moment:
    (of_task,) = [each for each in comparison.tasks if each.task == task]
    (found,) = [each for each in of_task.moments if each.at == at]
    return found


def by_hand(predictions: Predictions) -> dict[str, float]:
    """Question by question, without the code under test."""
    right, nll, brier, confidence, entropy, information, wrong = [], [], [], [], [], [], []
    for row, answer in enumerate(predictions.answers):
        each = [[*member[row], rest[row]] for member, rest in zip(predictions.probs, predictions.rest, strict=True)]
        mean = [sum(column) / len(each) for column in zip(*each, strict=True)]
        entropies = [-sum(p * np.log(p) for p in one if p > 0) for one in (mean, *each)]
        entropy.append(entropies[0])
        information.append(entropies[0] - sum(entropies[1:]) / len(each))
        if answer < 0:
            continue
        right.append(float(np.argmax(mean[:-1]) == answer))
        wrong.append((entropy[-1], information[-1]))
        nll.append(-np.log(mean[answer]))
        brier.append(sum((p - (place == answer)) ** 2 for place, p in enumerate(mean)))
        confidence.append(max(mean[:-1]))
    missed = ~np.array(right, bool)
    scores = np.array(wrong)
    return {
        "accuracy": float(np.mean(right)),
        "nll": float(np.mean(nll)),
        "brier": float(np.mean(brier)),
        "ece": ece(np.array(confidence), ~missed),
        "predictive_entropy": float(np.mean(entropy)),
        "mutual_information": float(np.mean(information)),
        "wrong_auroc.predictive_entropy": auroc(scores[:, 0], missed),
        "wrong_auroc.mutual_information": auroc(scores[:, 1], missed),
    }


@pytest.mark.parametrize("task", [TASK, OTHER])
@pytest.mark.parametrize(("at", "epochs"), [("1", (1, 1)), ("2", (2, 2)), ("last", (3, 2))])
def test_numbers_and_differences_are_those_counted_by_hand(runs, comparison, task, at, epochs):
    found = moment(comparison, task, at).standings
    assert tuple(standing.epoch for standing in found) == epochs
    first, second = (by_hand(run.predictions(epoch, task)) for run, epoch in zip(runs, epochs, strict=True))
    assert found[0].difference is None
    assert found[1].difference is not None
    for metric in METRICS:
        assert found[0].numbers[metric]["value"] == pytest.approx(first[metric], abs=1e-9)
        assert found[1].numbers[metric]["value"] == pytest.approx(second[metric], abs=1e-9)
        of = found[1].difference[metric]
        assert of["value"] == pytest.approx(second[metric] - first[metric], abs=1e-9)
        assert of["low"] <= of["high"]
    alone = [by_hand(runs[1].predictions(epochs[1], task).select(members=[member]))["nll"] for member in range(5)]
    assert found[1].numbers["members_nll"]["value"] == pytest.approx(np.mean(alone))


def test_pairing_narrows_what_two_intervals_say(comparison):
    _, other = moment(comparison, TASK, "1").standings
    paired, alone = other.difference["nll"], other.numbers["nll"]
    assert 0 < paired["high"] - paired["low"] < 0.7 * (alone["high"] - alone["low"])


def test_best_is_each_runs_own_epoch_of_least_nll_in_domain(runs, comparison):
    expected = []
    for run in runs:
        nll = {epoch: run.predictions(epoch, TASK).nll() for epoch in run.epochs if epoch}
        expected.append(min(nll, key=lambda epoch, nll=nll: nll[epoch]))
    assert [run.best for run in comparison.runs] == expected == [analyse(run).best for run in runs]
    assert [run.last for run in comparison.runs] == [3, 2]
    for task in (TASK, OTHER):
        assert [each.epoch for each in moment(comparison, task, "best").standings] == expected
    assert title_of(moment(comparison, TASK, "last")) == "last (epochs 3, 2)"


def test_epochs_that_one_run_alone_has_are_kept_apart_and_said(comparison):
    for task in comparison.tasks:
        assert [moment.at for moment in task.epochs] == ["0", "1", "2"]
        assert [[standing.epoch for standing in of] for of in task.others] == [[3], []]
        assert [standing.epoch for standing in task.curve(0)] == [0, 1, 2, 3]
    assert f"Epoch 3 of {TASK} and {OTHER}: not scored in all runs, so not compared one by one." in comparison.notes


def test_a_run_differs_from_its_copy_by_nothing(runs, folder):
    found = compare([runs[0], make(folder / "again" / "base", BASE)])
    assert found.names == ("compared0/base".replace("compared0", folder.name), "again/base")
    assert found.settings == ()
    for task in found.tasks:
        for moment in task.moments:
            for interval in moment.standings[1].difference.values():
                if interval["value"] is not None:
                    assert interval == {"value": 0, "low": 0, "high": 0}
                assert not Shift.of(interval).beyond


def shuffled(of: Predictions, seed: int) -> Predictions:
    return of.select(examples=np.random.default_rng(seed).permutation(len(of)))


def test_questions_in_another_order_are_aligned(runs, comparison, folder):
    other = make(folder / "shuffled", FASTER, epochs=range(3))
    for epoch in other.epochs:
        for task in (TASK, OTHER):
            other.save_predictions(epoch, task, shuffled(other.predictions(epoch, task), epoch))
    found = compare([runs[0], Run.open(other.path)])
    for task in comparison.tasks:
        for before in task.moments:
            now = moment(found, task.task, before.at).standings[1].difference
            for metric, interval in before.standings[1].difference.items():
                assert now[metric] == pytest.approx(interval, abs=1e-12, nan_ok=True)


def test_questions_asked_twice_are_each_met_once(folder):
    of = predictions(TASK, 1, questions=12)
    twice = of.select(examples=[0, *range(12)])
    first = make(folder / "twice", {TASK: {"questions": 12}}, epochs=[0])
    second = make(folder / "twice-turned", {TASK: {"questions": 12}}, epochs=[0])
    first.save_predictions(0, TASK, twice)
    second.save_predictions(0, TASK, twice.select(examples=range(12, -1, -1)))
    found = compare([first, second])
    assert found.tasks[0].questions == 13
    assert moment(found, TASK, "0").standings[1].difference["nll"]["value"] == pytest.approx(0, abs=1e-12)
    assert "best" not in [each.at for each in found.tasks[0].moments]
    second.save_predictions(0, TASK, of.select(examples=[1, *range(12)]))
    with pytest.raises(KvorumError, match=r"question 1 of .* is 'Which of these is number 0 of"):
        compare([first, second])


def changed(of: Predictions, field: str, row: int, value) -> Predictions:
    values = list(getattr(of, field))
    values[row] = value
    return replace(of, **{field: np.array(values) if field == "answers" else tuple(values)})


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("questions", "Which one?", "question 5 of {task} (id '{task}/4') is 'Which of these is number 4 of"),
        ("choices", "turned", "has the choices 'choice a4 | choice b4 |"),
        ("answers", "another", "is answered by 'choice "),
        ("ids", "unheard of", "has the id 'unheard of' in"),
    ],
)
def test_other_questions_are_refused_with_what_differs(small, folder, field, value, said):
    other = make(folder / f"other-{field}", SMALL, epochs=[1])
    of = other.predictions(1, OTHER)
    row = 4 if field != "answers" else 20
    if field == "choices":
        value = of.choices[row][::-1]
    elif field == "answers":
        value = (of.answers[row] + 1) % len(of.choices[row])
    other.save_predictions(1, OTHER, changed(of, field, row, value))
    with pytest.raises(KvorumError) as error:
        compare([small, Run.open(other.path)])
    message = str(error.value)
    assert said.format(task=OTHER) in message
    assert f"question {row + 1} of {OTHER}" in message
    assert str(small.path) in message
    assert str(other.path) in message
    assert "evaluate_limit" in message


def test_fewer_questions_are_refused_with_both_numbers(small, folder):
    fewer = make(folder / "fewer", {**SMALL, OTHER: {"questions": 20}}, epochs=[1])
    with pytest.raises(KvorumError, match=f"fewer answers 20 questions of {OTHER}, .*small 24"):
        compare([small, fewer])


def test_a_task_that_only_some_have_is_left_out_and_named(small, folder):
    one = make(folder / "one", {TASK: SMALL[TASK]}, epochs=[1])
    found = compare([small, one])
    assert [task.task for task in found.tasks] == [TASK]
    assert f"{OTHER} is left out: only small scored it." in found.notes


def test_no_common_task_is_refused_with_each_runs_tasks(small, folder):
    strange = make(folder / "strange", {"few": {"questions": 6}}, epochs=[1])
    with pytest.raises(KvorumError, match=f"small has {TASK}, {OTHER}; .*strange has few"):
        compare([small, strange])


def test_too_few_runs_and_the_same_run_twice_are_refused(runs, folder):
    with pytest.raises(KvorumError, match="two runs or more"):
        compare(runs[:1])
    with pytest.raises(KvorumError, match="given twice"):
        compare([*runs, Run.open(folder / "again" / ".." / "base")])
    with pytest.raises(KvorumError, match="not all different"):
        compare(runs, names=["x", "x"])
    with pytest.raises(KvorumError, match="nothing is scored"):
        compare([runs[0], make(folder / "empty", {}, epochs=[0])])


def test_runs_of_different_sizes_compare_by_their_first_members(small, folder):
    three = make(folder / "three", {TASK: {**SMALL[TASK], "spread": 0.9, "members": range(3)}}, epochs=[1])
    three.config = replace(three.config, members=3)
    assert any("small 5, three 3" in note and "--members 3" in note for note in compare([small, three]).notes)
    found = compare([small, three], members=3)
    assert "Of each run the first 3 members are compared." in found.notes
    standings = moment(found, TASK, "1").standings
    expected = by_hand(small.predictions(1, TASK).select(members=range(3)))
    assert [standing.members for standing in standings] == [3, 3]
    assert standings[0].numbers["nll"]["value"] == pytest.approx(expected["nll"])
    theirs = by_hand(three.predictions(1, TASK))
    assert standings[1].difference["nll"]["value"] == pytest.approx(theirs["nll"] - expected["nll"])
    with pytest.raises(KvorumError, match="three has 3 members to compare, fewer than 4"):
        compare([small, three], members=4)
    with pytest.raises(KvorumError, match="at least 1"):
        compare([small, three], members=0)


def test_as_many_members_are_compared_as_never_diverged_in_any_run(folder):
    def of_members(name: str, members: int) -> Run:
        return make(folder / name, {TASK: {**SMALL[TASK], "members": range(members)}}, epochs=[1, 2])

    five, three = of_members("of five", 5), of_members("of three", 3)
    assert members_to_compare([five, of_members("also of five", 5)]) is None
    assert members_to_compare([five, three]) == 3
    last = max(three.epochs)
    for task in three.tasks(last):
        of = three.predictions(last, task).select(members=[0, 2])
        three.save_predictions(last, task, replace(of, facts=of.facts | {"members": [0, 2]}))
    assert members_to_compare([five, three]) == 2
    assert "--members 2 compares as many of each" in compare([five, three]).notes[0]
    assert compare([five, three], members=2).runs[1].members == 2


def test_the_best_epoch_is_that_of_the_members_compared(folder):
    run, other = (make(folder / name, {TASK: SMALL[TASK]}, epochs=[1, 2]) for name in ("turning", "beside"))
    of = run.predictions(2, TASK)
    # The first two members have unlearnt everything, which the other three outweigh.
    unlearnt = of.probs.copy()
    uniform = np.array([[place < len(choices) for place in range(5)] for choices in of.choices], float)
    unlearnt[:2] = uniform / uniform.sum(axis=1, keepdims=True)
    run.save_predictions(2, TASK, replace(of, probs=unlearnt))
    assert compare([run, other]).runs[0].best == 2
    assert compare([run, other], members=2).runs[0].best == 1


def test_the_first_members_are_those_that_never_diverged(small, folder):
    run = make(folder / "broken", {TASK: SMALL[TASK]}, epochs=[1, 2])
    left = predictions(TASK, 2, **SMALL[TASK], members=[0, 2, 3, 4], diverged={"1": "epoch 2, step 3"})
    run.save_predictions(2, TASK, left)
    noted = compare([small, run]).notes
    assert "Member 1 of broken diverged by epoch 2, step 3, and is left out from then on." in noted
    found = compare([small, run], members=2)
    expected = by_hand(run.predictions(1, TASK).select(members=[0, 2]))
    assert moment(found, TASK, "1").standings[1].numbers["nll"]["value"] == pytest.approx(expected["nll"])
    with pytest.raises(KvorumError, match=r"4 members to compare \(1 of its 5 diverged\), fewer than 5"):
        compare([small, run], members=5)


def test_settings_that_differ_and_only_those(folder):
    first, second = (make(folder / name, {TASK: {"questions": 6}}, epochs=[0]) for name in ("p", "q"))
    second.config = replace(
        second.config, prior="none", rank=16, out="elsewhere", token_budget=7, answer_format="letter"
    )
    second.facts |= {"torch": "2.14.0", "started": "later"}
    found = compare([first, second])
    assert [(each.name, each.found, each.values) for each in found.settings] == [
        ("answer_format", False, ("text", "letter")),
        ("rank", False, (8, 16)),
        ("prior", False, ("product", "none")),
        ("torch", True, ("2.13.0", "2.14.0")),
    ]
    assert any("do not score choices in the same way" in note for note in found.notes)


def test_everything_is_what_json_holds(comparison):
    plain = comparison.as_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["runs"][0]["name"] == "base"
    assert {each["at"] for each in plain["tasks"][0]["moments"]} == {"0", "1", "2", "best", "last"}
    assert plain["tasks"][0]["moments"][1]["standings"][1]["difference"]["nll"]["value"] < 0
