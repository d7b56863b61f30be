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
    for words in ("few members", "calibration error down", "entropy falls", "more often wrong"):
        assert verdict(found, words).verdict == "not testable", words


def test_nothing_is_found_where_nothing_is_fitted_or_known(make_run: Maker, tmp_path: Path) -> None:
    assert findings(analyse(make_run({"facts_capitals": {"questions": 10}}, epochs=[0]))) == []
    unknown = Run(tmp_path / "unknown", FitConfig(model="m", task="t"), {})
    unknown.save_config()
    assert findings(analyse(unknown)) == []
