"""The study of a run: where the plane is cut, what changed since epoch 0, and when members have collapsed."""

from dataclasses import replace

import numpy as np
import pytest
from tests.report.conftest import Maker, predictions

from kvorum import KvorumError, Run
from kvorum.config import StudyOptions
from kvorum.report.analysis import analyse
from kvorum.uncertainty.retention import OUTCOMES


def test_the_plane_is_cut_at_the_medians_of_the_best_epoch_in_domain(run: Run) -> None:
    found = analyse(run)
    nll = {epoch: run.predictions(epoch, "facts_capitals").nll() for epoch in (1, 2, 3)}
    best = min(nll, key=lambda epoch: nll[epoch])
    predictions = run.predictions(best, "facts_capitals")
    assert found.best == best and found.last == 3 and set(found.marks) == {best, 3}
    assert found.cuts.entropy == pytest.approx(np.median(predictions.predictive_entropy))
    assert found.cuts.mutual_information == pytest.approx(np.median(predictions.mutual_information))
    assert found.cuts.entropy_from == f"the median on facts_capitals at epoch {best}"
    for one in found.tasks[1]:
        of = one.evaluation.predictions
        disputed = of.mutual_information > found.cuts.mutual_information
        torn = ~disputed & (of.predictive_entropy > found.cuts.entropy)
        assert one.shares["torn"]["questions"] == torn.sum()
        assert one.shares["disputed"]["questions"] == disputed.sum()


def test_the_plane_can_be_cut_at_the_medians_of_another_epoch(run: Run) -> None:
    found = analyse(run, StudyOptions(cut_epoch=1, mi_cut=0.01)).cuts
    assert found.entropy == pytest.approx(np.median(run.predictions(1, "facts_capitals").predictive_entropy))
    assert (found.mutual_information, found.mutual_information_from) == (0.01, "given")
    with pytest.raises(KvorumError, match="no scores of facts_capitals at epoch 9 to cut at; scored are 0, 1"):
        analyse(run, StudyOptions(cut_epoch=9))


def test_cuts_marks_and_sizes_are_those_asked_for(run: Run) -> None:
    found = analyse(run, StudyOptions(mark=(2, 0), sizes=(2, 1), entropy_cut=0.4, mi_cut=0.01))
    assert (found.cuts.entropy, found.cuts.mutual_information) == (0.4, 0.01)
    assert found.cuts.entropy_from == "given" and found.marks == (0, 2) and found.sizes == (1, 2)
    assert [row["size"] for row in found.tasks[0][1].subensembles] == [1, 2, 5]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"entropy_cut": -1.0}, "entropy_cut is -1.0"),
        ({"mi_cut": float("nan")}, "mi_cut is nan"),
        ({"sizes": (0,)}, "sizes"),
    ],
)
def test_choices_that_mean_nothing_are_refused(options: dict, says: str) -> None:
    with pytest.raises(KvorumError, match=says):
        StudyOptions(**options)


def test_a_size_above_all_members_is_refused(run: Run) -> None:
    assert analyse(run, StudyOptions(sizes=(5,))).sizes == (5,)
    with pytest.raises(KvorumError, match="has 5 members; there is no sub-ensemble of 6"):
        analyse(run, StudyOptions(sizes=(1, 6)))


def test_an_epoch_without_scores_cannot_be_marked(run: Run) -> None:
    with pytest.raises(KvorumError, match="no scores at epoch 7; scored are 0, 1, 2, 3"):
        analyse(run, StudyOptions(mark=(1, 7)))


def test_what_changed_is_found_question_by_question_whatever_their_order(make_run: Maker) -> None:
    made = make_run({"facts_capitals": {"questions": 40, "spread": 0.4}})
    before, now = made.predictions(0, "facts_capitals"), made.predictions(3, "facts_capitals")
    asked = np.random.default_rng(0).permutation(40)[:30]
    made.save_predictions(0, "facts_capitals", before.select(examples=asked))
    change = analyse(made).tasks[0][-1].change
    assert change is not None
    counts = dict.fromkeys(OUTCOMES, 0)
    for row in range(40):
        if row not in asked:
            assert change.outcome[row] == -1 and np.isnan(change.kl[row]) and not change.asked[row]
            continue
        was, is_now = bool(before.correct[row]), bool(now.correct[row])
        name = {(True, True): "retained", (True, False): "forgotten", (False, True): "acquired"}.get(
            (was, is_now), "never known"
        )
        counts[name] += 1
        p, q = before.mean[row], now.mean[row]
        real = p > 0
        assert OUTCOMES[change.outcome[row]] == name
        assert change.kl[row] == pytest.approx(np.sum(q[real] * np.log(q[real] / p[real])))
        assert change.tv[row] == pytest.approx(np.abs(p - q).sum() / 2)
        assert change.same_answer[row] == (before.predicted[row] == now.predicted[row])
    assert {name: of["questions"] for name, of in change.outcomes.items()} == counts
    assert sum(change.movement[name]["questions"] for name in ("confident", "torn", "disputed")) == 30


def test_unknown_answers_have_moved_but_are_neither_kept_nor_lost(run: Run) -> None:
    hostile = analyse(run).tasks[2][-1]
    assert hostile.change is not None
    assert hostile.change.outcome[0] == -1 and hostile.change.kl[0] > 0
    assert sum(of["questions"] for of in hostile.change.outcomes.values()) == 5


def test_without_epoch_0_nothing_is_said_of_what_was_kept(make_run: Maker) -> None:
    last = analyse(make_run({"facts_capitals": {"questions": 30}}, epochs=[1, 2])).tasks[0][-1]
    assert last.change is None and last.carried is None and last.shares["torn"]["questions"] >= 0


def test_members_that_answer_alike_are_warned_of(make_run: Maker) -> None:
    alike = analyse(make_run({"facts_capitals": {"questions": 30, "spread": 1e-4}}))
    assert len(alike.warnings) == 1 and "collapsed on facts_capitals" in alike.warnings[0]


def test_members_that_differ_are_not(run: Run) -> None:
    assert analyse(run).warnings == []


def test_the_closest_members_are_named_by_their_numbers(make_run: Maker) -> None:
    made = make_run({"facts_capitals": {"questions": 30}})
    four = predictions("facts_capitals", 3, questions=30, members=[0, 2, 3, 4])
    twin = replace(four, probs=np.concatenate([four.probs[:3], four.probs[1:2] * 1.0]))
    made.save_predictions(3, "facts_capitals", twin)
    found = analyse(made).tasks[0][-1].diversity
    assert found is not None
    assert found["closest"] == {"members": [2, 4], "kl": 0.0, "disagreement": 0.0}


def test_a_run_without_scores_has_an_empty_study(make_run: Maker) -> None:
    found = analyse(make_run({}))
    assert found.tasks == [] and found.best is None and found.marks == () and found.warnings == []
