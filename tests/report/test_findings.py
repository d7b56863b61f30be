"""The paper's findings on runs in which they are known to hold, or not to."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.report.conftest import Maker, predictions

from kvorum.config import FitConfig
from kvorum.predictions import Predictions
from kvorum.report.analysis import analyse
from kvorum.report.findings import Finding, findings
from kvorum.run import Run

QUESTIONS = 300
Logits = Callable[[int, np.ndarray, np.ndarray], np.ndarray]


def made_run(folder: Path, tasks: dict[str, Logits], members: int = 4, epochs: int = 3) -> Run:
    """A run whose members' logits are a function of the epoch, of logits that all share and of each member's own."""
    run = Run(folder, FitConfig(model="m", task="inside", members=members, epochs=epochs), {"task": "inside"})
    run.save_config()
    for epoch in range(epochs + 1):
        run.epoch_folder(epoch).mkdir(parents=True)
        run.adapters_file(epoch).touch()
        run.keep(run.adapters_file(epoch))
        for task, logits in tasks.items():
            rng = np.random.default_rng(len(task))
            shared, own = rng.normal(size=(QUESTIONS, 4)), rng.normal(size=(members, QUESTIONS, 4))
            probs = np.exp(logits(epoch, shared, own if epoch else own * 0))
            base = predictions(task, epoch, questions=QUESTIONS, members=range(members))
            run.save_predictions(epoch, task, _with(base, probs / probs.sum(-1, keepdims=True)))
    return Run.open(folder)


def _with(base: Predictions, probs: np.ndarray) -> Predictions:
    return replace(
        base, probs=probs, choices=(("a", "b", "c", "d"),) * QUESTIONS, answers=np.zeros(QUESTIONS, np.int64)
    )


def overfitting(epoch: int, shared: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Learns at first; then each member grows sure of what it made up."""
    right = np.array([1.5, 0, 0, 0]) * (epoch > 0)
    return (shared + right + 0.2 * epoch * own) * (1 + epoch)


def kept(epoch: int, shared: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Half of the questions are never touched; on the others members come to differ."""
    touched = (np.arange(QUESTIONS) % 2)[:, None]
    return shared + touched * epoch * own * 2


def verdict(found: list[Finding], words: str) -> Finding:
    return next(one for one in found if words in one.claim)


@pytest.fixture(scope="module")
def overfitted(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return made_run(tmp_path_factory.mktemp("findings") / "run", {"inside": overfitting, "kept": kept}, members=10)


def test_every_claim_is_made_once_and_says_why(overfitted: Run) -> None:
    found = findings(analyse(overfitted))
    assert len({one.claim for one in found}) == 8 and all(one.evidence for one in found)


def test_what_holds_is_seen_with_the_numbers_of_the_study(overfitted: Run) -> None:
    analysis = analyse(overfitted)
    found = findings(analysis)
    assert analysis.best == 1
    few = verdict(found, "few members")
    row = next(row for row in analysis.tasks[0][-1].subensembles if row["size"] == 5)
    assert few.verdict == "seen" and f"keep {row['kept']['nll']['value']:.0%}" in few.evidence
    assert verdict(found, "calibration error down").verdict == "seen"
    assert verdict(found, "entropy falls").verdict == "seen"
    assert verdict(found, "more often wrong").verdict in {"seen", "partly"}
    assert verdict(found, "evolve differently").verdict == "seen"


def drifting(epoch: int, shared: np.ndarray, own: np.ndarray) -> np.ndarray:
    """From epoch 1 to 2 all together learn on, while each member alone has begun to lose."""
    right = np.array([0.35, 0, 0, 0]) * min(epoch, 2)
    return shared + right + own * (0.3 + 0.7 * (epoch - 1))


def hovering(epoch: int, shared: np.ndarray, own: np.ndarray) -> np.ndarray:
    """The same on six questions alone, which is too little to tell; at epoch 3 all are worse."""
    few = (np.arange(QUESTIONS) < 6)[:, None] * (epoch == 2)
    right = np.array([1.0, 0, 0, 0]) * (0.35 * few - 2.0 * (epoch > 2))
    return shared + right + own * (0.5 + 0.9 * few)


@pytest.mark.parametrize(("logits", "says"), [(drifting, "seen"), (hovering, "partly")])
def test_an_ensemble_overfits_later_where_its_members_have_clearly_begun_to(
    tmp_path: Path, logits: Logits, says: str
) -> None:
    run = made_run(tmp_path / "run", {"inside": logits}, members=10)
    found = verdict(findings(analyse(run)), "later")
    of = {epoch: run.predictions(epoch, "inside") for epoch in (1, 2, 3)}
    alone = {epoch: -np.log(each.probs[:, :, 0]).mean() for epoch, each in of.items()}
    assert min(alone, key=lambda epoch: alone[epoch]) == 1
    assert min(of, key=lambda epoch: of[epoch].nll()) == 2
    assert found.verdict == says
    assert f"NLL {alone[2] - alone[1]:+.3f} (" in found.evidence
    assert f"alone, {of[2].nll() - of[1].nll():+.3f} (" in found.evidence


def test_torn_questions_that_kept_the_prior_are_seen_to(overfitted: Run) -> None:
    found = verdict(findings(analyse(overfitted)), "stay torn")
    # The quadrants' cuts come from `inside`, where nearly nothing stays torn; `kept` alone can speak.
    assert found.verdict == "seen" and "kept: members give the pre-trained answer to 100%" in found.evidence


def test_the_gap_in_mutual_information_is_the_ratio_of_means(overfitted: Run) -> None:
    found = verdict(findings(analyse(overfitted)), "widest in domain")
    of = overfitted.predictions(3, "inside")
    information, wrong = of.mutual_information, of.predicted != of.answers
    assert f"inside {information[wrong].mean() / information[~wrong].mean():.3f} (" in found.evidence


def test_what_does_not_hold_is_not_seen(tmp_path: Path) -> None:
    def backwards(epoch: int, shared: np.ndarray, own: np.ndarray) -> np.ndarray:
        return (shared + 0.2 * own) * (4 - epoch) / 2 + np.array([-1.0, 0, 0, 0]) * epoch

    found = findings(analyse(made_run(tmp_path / "run", {"inside": backwards, "also": backwards})))
    assert verdict(found, "entropy falls").verdict == "not seen"
    assert verdict(found, "later").verdict == "not seen"


def test_without_overfitting_nothing_is_said_about_it(tmp_path: Path) -> None:
    def learning(epoch: int, shared: np.ndarray, own: np.ndarray) -> np.ndarray:
        return shared + np.array([1.0, 0, 0, 0]) * epoch + 0.1 * own

    found = findings(analyse(made_run(tmp_path / "run", {"inside": learning})))
    for words in ("later", "calibration error down", "stay torn", "widest in domain", "evolve differently"):
        assert verdict(found, words).verdict == "not testable", words


def test_one_member_cannot_show_what_ensembles_do(tmp_path: Path) -> None:
    found = findings(analyse(made_run(tmp_path / "run", {"inside": overfitting}, members=1)))
    assert {one.verdict for one in found} == {"not testable"}
    assert {one.evidence for one in found} == {"one member alone"}


def still(epoch: int, shared: np.ndarray, own: np.ndarray) -> np.ndarray:
    return shared + 0.3 * own


def surer(epoch: int, shared: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Another difficulty, and as still."""
    return 3 * shared + 0.3 * own


def test_tasks_that_differ_but_do_not_move_do_not_evolve_differently(tmp_path: Path) -> None:
    found = verdict(findings(analyse(made_run(tmp_path / "run", {"inside": still, "other": surer}))), "evolve")
    assert found.verdict == "not seen" and "epoch 1 to 3: inside confident " in found.evidence


def test_members_that_agree_keep_nothing_down(tmp_path: Path) -> None:
    def alike(epoch: int, shared: np.ndarray, own: np.ndarray) -> np.ndarray:
        return overfitting(epoch, shared, own * 0) + 1e-3 * own + shared * (epoch == 3)

    found = findings(analyse(made_run(tmp_path / "run", {"inside": alike})))
    assert verdict(found, "calibration error down").verdict == "not seen"


@pytest.mark.parametrize(("members", "size"), [(8, 4), (12, 6), (24, 6), (4, 2), (10, 5)])
def test_a_few_are_as_near_to_five_as_sizes_allow(tmp_path: Path, members: int, size: int) -> None:
    run = made_run(tmp_path / "run", {"inside": overfitting}, members=members, epochs=1)
    assert f"epoch 1: {size} of {members} members keep" in verdict(findings(analyse(run)), "few members").evidence


def test_a_pair_that_keeps_less_than_most_of_the_gain_is_told_so(tmp_path: Path) -> None:
    found = verdict(findings(analyse(made_run(tmp_path / "run", {"inside": overfitting}, members=4))), "few members")
    assert found.verdict == "partly"


def test_the_gap_is_seen_where_in_domain_alone_the_wrong_answers_are_disputed(tmp_path: Path) -> None:
    def disputed_where_wrong(epoch: int, shared: np.ndarray, own: np.ndarray) -> np.ndarray:
        wrong = (shared.argmax(axis=1) != 0)[:, None]
        return 3 * shared + epoch * own * (0.1 + wrong)

    def anywhere(epoch: int, shared: np.ndarray, own: np.ndarray) -> np.ndarray:
        return 3 * shared + epoch * own

    found = findings(analyse(made_run(tmp_path / "run", {"inside": disputed_where_wrong, "other": anywhere})))
    assert verdict(found, "widest in domain").verdict == "seen"
    turned = findings(analyse(made_run(tmp_path / "turned", {"inside": anywhere, "other": disputed_where_wrong})))
    assert verdict(turned, "widest in domain").verdict == "not seen"
    assert verdict(turned, "more often wrong").verdict in {"seen", "partly"}


def change(run: Run, epoch: int, task: str, **changed: object) -> Run:
    """The run with other predictions on a task at an epoch."""
    run.save_predictions(epoch, task, replace(run.predictions(epoch, task), **changed))
    return Run.open(run.path)


def unlabelled(run: Run, task: str) -> Run:
    for epoch in run.epochs:
        run = change(run, epoch, task, answers=np.full(QUESTIONS, -1))
    return run


def test_a_task_without_known_answers_is_left_out_and_named(tmp_path: Path) -> None:
    def sure_when_right(epoch: int, shared: np.ndarray, own: np.ndarray) -> np.ndarray:
        return 3 * shared + epoch * own * (0.1 + (shared.argmax(axis=1) != 0)[:, None])

    run = made_run(tmp_path / "run", {"inside": sure_when_right, "other": sure_when_right, "third": sure_when_right})
    before = verdict(findings(analyse(run)), "more often wrong")
    found = findings(analyse(unlabelled(run, "other")))
    assert before.verdict == verdict(found, "more often wrong").verdict == "seen"
    said = "other not testable with 0 right and 0 wrong answers"
    assert said in verdict(found, "more often wrong").evidence
    assert said in verdict(found, "widest in domain").evidence
    assert "; third " in verdict(found, "widest in domain").evidence


def test_few_wrong_answers_tell_nothing(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", {"inside": still})
    of = run.predictions(3, "inside")
    answers = of.predicted.copy()
    answers[:19] = (answers[:19] + 1) % 4
    found = findings(analyse(change(run, 3, "inside", answers=answers)))
    assert verdict(found, "more often wrong").verdict == "not testable"
    assert "inside not testable with 281 right and 19 wrong" in verdict(found, "more often wrong").evidence


def test_a_task_that_is_not_scored_at_the_end_is_not_compared_there(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", {"inside": overfitting, "other": kept})
    for epoch in (2, 3):
        run.keep(drop=[run.predictions_file(epoch, "other")])
    found = findings(analyse(run))
    for words in ("widest in domain", "evolve differently"):
        assert verdict(found, words).verdict == "not testable"
        assert verdict(found, words).evidence == "no other task is scored at epoch 3"
    assert "other" not in verdict(found, "more often wrong").evidence


def test_without_epoch_0_or_the_task_fitted_on_the_reason_is_that(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", {"inside": overfitting, "other": kept})
    run.keep(drop=[run.predictions_file(0, "inside")])
    assert "inside: not scored at epoch 0; other: " in verdict(findings(analyse(run)), "stay torn").evidence
    for epoch in run.epochs:
        run.keep(drop=[run.predictions_file(epoch, "inside")])
    for words in ("widest in domain", "evolve differently"):
        assert verdict(findings(analyse(run)), words).evidence == "the task fitted on is not scored"


def test_epochs_compare_by_the_members_that_are_there_at_all_of_them(tmp_path: Path) -> None:
    """The last two, sure and wrong, are gone after epoch 1: what is left has been best there, and grew no better."""

    def with_a_bad_one(epoch: int, shared: np.ndarray, own: np.ndarray) -> np.ndarray:
        logits = overfitting(epoch, shared, own)
        logits[-2:] += np.array([-9.0, 9.0, 0, 0]) * (epoch == 1)
        return logits

    run = made_run(tmp_path / "run", {"inside": with_a_bad_one}, members=5)
    for epoch in (2, 3):
        of = run.predictions(epoch, "inside").select(members=slice(3))
        run.save_predictions(epoch, "inside", replace(of, facts=of.facts | {"members": [0, 1, 2]}))
    analysis = analyse(run)
    nll = {epoch: run.predictions(epoch, "inside").select(members=slice(3)).nll() for epoch in (1, 2, 3)}
    assert min(nll, key=lambda epoch: nll[epoch]) == 1 == analysis.best
    assert run.predictions(1, "inside").nll() > nll[3]
    assert [of.members for of in analysis.comparable] == [[0, 1, 2]] * 3
    assert "not there at all of them do not count: 3, 4." in analysis.warnings[0]
    entropy = [run.predictions(epoch, "inside").select(members=slice(3)).predictive_entropy.mean() for epoch in (1, 3)]
    assert f"entropy {entropy[1] - entropy[0]:+.3f} (" in verdict(findings(analysis), "entropy falls").evidence


def test_an_epoch_on_other_questions_is_left_out_where_epochs_compare(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", {"inside": overfitting})
    best = analyse(run).best
    of = run.predictions(3, "inside")
    easy = np.argsort(-of.mean[:, 0])[:10]
    run.save_predictions(3, "inside", of.select(examples=easy))
    analysis = analyse(run)
    assert analysis.best == best and [one.epoch for one in analysis.comparable] == [1, 2]
    assert "inside was asked other questions at epoch 3" in analysis.warnings[0]
    assert "epoch 1 to 2" in verdict(findings(analysis), "entropy falls").evidence


def test_nothing_is_found_where_nothing_is_fitted_or_known(make_run: Maker, tmp_path: Path) -> None:
    assert findings(analyse(make_run({"facts_capitals": {"questions": 10}}, epochs=[0]))) == []
    unknown = Run(tmp_path / "unknown", FitConfig(model="m", task="t"), {})
    unknown.save_config()
    assert findings(analyse(unknown)) == []
