"""The study's numbers and questions, on a terminal and for scripts."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from kvorum import KvorumError, Run
from kvorum.config import StudyOptions
from kvorum.report.analysis import Analysis, analyse
from kvorum.report.findings import findings
from kvorum.report.grid import marked
from kvorum.terminal import numbers_tables
from kvorum.terminal_study import question_list, question_table, study_dict, study_tables
from tests.report.conftest import make


@pytest.fixture(scope="module")
def analysis(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    """Two tasks; members forget some of what the base model knew."""
    tasks = {
        "facts_capitals": {"questions": 60, "skill": 0.3, "spread": 0.6},
        "facts_sums": {"questions": 30, "skill": -0.3, "spread": 0.4, "unknown": 2},
    }
    return analyse(make(tmp_path_factory.mktemp("terminal") / "run", tasks))


def printed(analysis: Analysis) -> str:
    console = Console(width=160)
    with console.capture() as capture:
        for table in study_tables(analysis):
            console.print(table)
    return capture.get()


def test_json_holds_every_number_of_every_epoch_and_task(analysis: Analysis) -> None:
    found = json.loads(json.dumps(study_dict(analysis), allow_nan=False))
    assert found["cuts"]["entropy"] == analysis.cuts.entropy and found["best_epoch"] == analysis.best
    assert set(found["tasks"]) == {"facts_capitals", "facts_sums"}
    for task in analysis.tasks:
        for one in task:
            numbers = found["tasks"][one.task][str(one.epoch)]
            assert one.change is not None
            assert numbers["subensembles"] == one.subensembles
            assert numbers["outcomes"]["forgotten"] == one.change.outcomes["forgotten"]
            assert numbers["quadrants"]["torn"]["share"]["value"] == pytest.approx(np.mean(one.quadrant == 1))


def test_the_tables_show_the_counts_and_where_the_plane_is_cut(analysis: Analysis) -> None:
    text = printed(analysis)
    assert f"entropy is cut at {analysis.cuts.entropy:.4g} nats ({analysis.cuts.entropy_from})" in text
    assert text.count("Against epoch 0") == 2 and text.count("How different two members are") == 2
    change = analysis.tasks[0][-1].change
    assert change is not None
    shares = [f"{of['share']['value']:.3f}" for of in change.outcomes.values() if of["share"]["value"] >= 0.1]
    assert shares and all(share in text for share in shares)


def test_each_finding_stands_in_the_table_and_in_json_with_its_verdict(analysis: Analysis) -> None:
    found = findings(analysis)
    assert [one["claim"] for one in study_dict(analysis)["findings"]] == [one.claim for one in found]
    lines = [line for line in printed(analysis).splitlines() if any(line.startswith(one.claim[:20]) for one in found)]
    assert len(lines) == len(found) > 0
    for line, one in zip(lines, found, strict=True):
        assert one.verdict in line[36:52]
    assert {one["verdict"] for one in study_dict(analysis)["findings"]} == {one.verdict for one in found}


def test_a_task_scored_at_no_marked_epoch_is_shown_at_its_last_and_brackets_are_no_markup(tmp_path: Path) -> None:
    settings = {"questions": 40, "skill": 0.4, "spread": 0.6}
    run = make(tmp_path / "run", {"facts_capitals": settings, "of [bold]words[x]": settings})
    for epoch in (2, 3):
        run.keep(drop=[run.predictions_file(epoch, "of [bold]words[x]")])
    found = analyse(run, StudyOptions(mark=(2, 3)))
    assert [(one.task, one.epoch) for one in marked(found)][2:] == [("of [bold]words[x]", 1)]
    run = make(tmp_path / "whole", {"facts_capitals": settings, "of [bold]words[x]": settings})
    assert "of [bold]words[x]" in "".join(printed(analyse(run)).partition("confident, torn, disputed")[0].split("\n"))


def test_members_that_diverged_are_told_of(tmp_path: Path) -> None:
    run = make(tmp_path / "run", {"facts_capitals": {"questions": 30, "spread": 0.5}})
    of = run.predictions(3, "facts_capitals").select(members=[0, 1, 2, 3])
    facts = of.facts | {"members": [0, 1, 2, 3], "diverged": {"4": "epoch 3, step 1"}}
    run.save_predictions(3, "facts_capitals", replace(of, facts=facts))
    analysis = analyse(Run.open(run.path))
    assert any("Member 4 diverged by epoch 3, step 1" in warning for warning in study_dict(analysis)["warnings"])
    assert "Member 4 diverged by epoch 3, step 1" in " ".join(printed(analysis).split())
    heading = next(iter(numbers_tables(analysis.run)))
    assert str(heading) == "facts_capitals: 30 questions, 5 members, 4 at epoch 3, the others diverged"


@pytest.mark.parametrize("outcome", ["retained", "forgotten", "acquired", "never-known", None])
@pytest.mark.parametrize("quadrant", ["confident", "torn", "disputed", None])
def test_the_questions_behind_a_cell_are_as_many_as_it_counts(
    analysis: Analysis, outcome: str | None, quadrant: str | None
) -> None:
    for task in analysis.tasks:
        for one in task:
            found = question_list(analysis, task=one.task, epoch=str(one.epoch), outcome=outcome, quadrant=quadrant)
            before, now = (analysis.run.predictions(epoch, one.task) for epoch in (0, one.epoch))
            expected = 0
            for row in range(len(now)):
                name = {(1, 1): "retained", (1, 0): "forgotten", (0, 1): "acquired", (0, 0): "never-known"}[
                    int(before.correct[row]), int(now.correct[row])
                ]
                kind = (
                    "disputed"
                    if now.mutual_information[row] > analysis.cuts.mutual_information
                    else "torn"
                    if now.predictive_entropy[row] > analysis.cuts.entropy
                    else "confident"
                )
                right = outcome is None or (name == outcome and bool(now.labelled[row]))
                expected += right and (quadrant is None or kind == quadrant)
            assert len(found) == expected


def test_a_listed_question_says_what_was_right_and_what_was_answered(analysis: Analysis) -> None:
    now = analysis.run.predictions(3, "facts_sums")
    found = question_list(analysis, task="facts_sums")
    assert [one["id"] for one in found] == list(now.ids)
    assert found[0]["answer"] is None and found[0]["outcome"] is None and found[0]["kl"] > 0
    last = found[-1]
    assert last["answer"] == now.choices[-1][now.answers[-1]] and last["ensemble"] == now.choices[-1][now.predicted[-1]]
    assert last["probabilities"] == pytest.approx(now.mean[-1, : len(now.choices[-1])])
    console = Console(width=200)
    with console.capture() as capture:
        console.print(question_table(found))
    assert "30 questions" in capture.get() and "number 29 of the rivers" in capture.get()


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"task": "facts_capital"}, "no scores on 'facts_capital'; did you mean 'facts_capitals'"),
        ({"epoch": "9"}, "not scored at epoch '9'; expected last or one of 0, 1, 2, 3"),
    ],
)
def test_what_is_not_scored_cannot_be_listed(analysis: Analysis, asked: dict, says: str) -> None:
    with pytest.raises(KvorumError, match=says):
        question_list(analysis, **asked)


def test_an_outcome_needs_epoch_0(tmp_path: Path) -> None:
    run = make(tmp_path / "run", {"facts_capitals": {"questions": 10}}, epochs=[1])
    with pytest.raises(KvorumError, match="facts_capitals is not scored at epoch 0"):
        question_list(analyse(run), outcome="forgotten")
    assert len(question_list(analyse(run), quadrant=None)) == 10


def test_a_run_without_scores_says_so(tmp_path: Path) -> None:
    run = make(tmp_path / "run", {}, epochs=[0])
    assert "nothing is scored yet" in printed(analyse(Run.open(run.path)))
    with pytest.raises(KvorumError, match="nothing is scored yet"):
        question_list(analyse(run))
