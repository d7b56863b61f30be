"""The numbers of an experiment against closed forms, and against scipy on the same numbers."""

import json
import math
import re
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from kvorum.active.records import PartState
from kvorum.errors import KvorumError
from kvorum.report.learning.analyse import Learning, analyse
from kvorum.report.learning.estimate import Estimate, corrected
from kvorum.report.learning.needs import crossing
from kvorum.report.learning.verdicts import notes, standing_of, verdicts

from .conftest import make, question

RANDOM = [[0.5, 0.55, 0.6, 0.7], [0.5, 0.56, 0.62, 0.7], [0.5, 0.6, 0.64, 0.7]]
MI = [[0.5, 0.6, 0.7, 0.75], [0.5, 0.62, 0.7, 0.74], [0.5, 0.64, 0.72, 0.78]]
CURVES = {"random": RANDOM, "mutual_information": MI}


def t_interval(values, level=0.95) -> tuple[float, float]:
    low, high = stats.t.interval(level, len(values) - 1, loc=np.mean(values), scale=stats.sem(values))
    return float(low), float(high)


def function(learning: Learning, name: str):
    return next(each for each in learning.functions if each.name == name)


def same(found: Estimate | None, values, level=0.95) -> None:
    assert found is not None
    assert found.per_seed == pytest.approx(tuple(values))
    assert found.value == pytest.approx(np.mean(values))
    assert (found.low, found.high) == pytest.approx(t_interval(values, level))
    assert found.level == pytest.approx(level)


@pytest.fixture(scope="module")
def learning(tmp_path_factory) -> Learning:
    return analyse(make(tmp_path_factory.mktemp("analyse") / "experiment", CURVES))


def test_curves_and_their_intervals(learning):
    for name, curves in CURVES.items():
        points = function(learning, name).curves[0].points
        assert [point.labels for point in points] == [20, 40, 60, 80]
        for point, of_round in zip(points[1:], np.transpose(curves)[1:], strict=True):
            if np.ptp(of_round):
                same(point.accuracy, of_round)
            # Two members at 0.9 and 0.7 where right, at 0.3 and 0.1 where wrong: 0.8 and 0.2 for the mean.
            nll = -(of_round * math.log(0.8) + (1 - of_round) * math.log(0.2))
            assert point.nll.per_seed == pytest.approx(tuple(nll))


def test_differences_are_paired_by_seed_and_averaged_over_the_rounds_after_the_start(learning):
    shift = np.array(MI) - np.array(RANDOM)
    curve = function(learning, "mutual_information").curves[0]
    assert curve.points[0].accuracy_difference.per_seed == pytest.approx((0, 0, 0))
    for number in (1, 2, 3):
        same(curve.points[number].accuracy_difference, shift[:, number])
    same(curve.accuracy_area, shift[:, 1:].mean(axis=1))
    assert curve.compared == 3
    scale = math.log(0.2) - math.log(0.8)
    same(curve.nll_area, scale * shift[:, 1:].mean(axis=1))
    alone = function(learning, "random").curves[0]
    assert alone.accuracy_area is None
    assert all(point.accuracy_difference is None for point in alone.points)


def test_targets_are_quarters_of_the_way_of_random(learning):
    assert [target.accuracy for target in learning.targets] == pytest.approx([0.55, 0.6, 0.65, 0.7])
    assert [target.way for target in learning.targets] == [0.25, 0.5, 0.75, 1.0]


def test_labels_needed_lie_on_straight_lines_between_rounds(learning):
    own, other = (function(learning, name).needs for name in ("mutual_information", "random"))
    # To 0.55, from 0.5: a half, five twelfths, five fourteenths of the first 20 labels.
    needs = [20 + 20 * part for part in (1 / 2, 5 / 12, 5 / 14)]
    randoms = [20 + 20 * part for part in (1, 5 / 6, 1 / 2)]
    assert own[0].per_seed == pytest.approx(needs)
    assert other[0].per_seed == pytest.approx(randoms)
    assert (own[0].median, own[0].least, own[0].most) == pytest.approx((needs[1], needs[2], needs[0]))
    assert own[0].by_mean == pytest.approx(20 + 20 * 0.05 / 0.12)
    logs = np.log(needs) - np.log(randoms)
    assert own[0].ratio.value == pytest.approx(math.exp(logs.mean()))
    # The logarithms differ less than one of the 200 test questions would move them, in a seed's two crossings.
    steps = [20 / (rise * 200 * math.sqrt(12)) for rise in (0.1, 0.12, 0.14)]
    randoms_steps = [20 / (rise * 200 * math.sqrt(12)) for rise in (0.05, 0.06, 0.1)]
    pairs = zip(needs, steps, randoms, randoms_steps, strict=True)
    floor = math.sqrt(np.mean([(own / of) ** 2 + (other / beside) ** 2 for of, own, beside, other in pairs]))
    width = stats.t.ppf(0.975, 2) * max(floor, np.std(logs, ddof=1)) / math.sqrt(3)
    assert own[0].ratio.low == pytest.approx(math.exp(logs.mean() - width))
    assert own[0].ratio.high == pytest.approx(math.exp(logs.mean() + width))
    assert own[0].ratio.per_seed == pytest.approx(tuple(np.exp(logs)))
    assert other[0].ratio is None
    assert other[3].by_mean == 80


def test_a_crossing():
    labels = [10, 20, 40]
    assert crossing(labels, np.array([0.5, 0.4, 0.6]), 0.45) == 10
    assert crossing(labels, np.array([0.4, 0.4, 0.6]), 0.45) == pytest.approx(25)
    assert crossing(labels, np.array([0.4, 0.6, 0.3]), 0.6) == 20
    assert crossing(labels, np.array([0.4, 0.5, 0.55]), 0.6) is None
    assert crossing(labels, np.array([np.nan] * 3), 0.6) is None


def test_an_unreached_target_is_beyond_every_number_and_a_ratio_over_its_rest_claims_nothing(tmp_path):
    curves = {
        "random": [[0.5, 0.6, 0.7, 0.8], [0.5, 0.6, 0.7, 0.8], [0.5, 0.6, 0.7, 0.8]],
        "mutual_information": [[0.5, 0.8, 0.8, 0.8], [0.5, 0.79, 0.8, 0.8], [0.5, 0.6, 0.6, 0.6]],
    }
    need = function(analyse(make(tmp_path / "a", curves, targets=[0.7])), "mutual_information").needs[0]
    assert (need.reached, need.most, need.only_random, need.only_this) == (2, None, 1, 0)
    assert need.per_seed[2] is None
    assert need.median == pytest.approx(20 + 20 * 0.2 / 0.29)
    assert need.ratio.seeds == 2
    assert (need.ratio.low, need.told) == (None, 0)
    curves["mutual_information"].append([0.5, 0.8, 0.8, 0.8])
    curves["random"].append(curves["random"][0])
    need = function(
        analyse(make(tmp_path / "four", curves, targets=[0.7], seeds=[0, 1, 2, 3])), "mutual_information"
    ).needs[0]
    assert need.ratio.seeds == 3
    assert need.ratio.high < 1
    assert need.told == 0
    curves["mutual_information"][1] = [0.5, 0.5, 0.5, 0.5]
    need = function(analyse(make(tmp_path / "b", curves, targets=[0.7])), "mutual_information").needs[0]
    assert (need.reached, need.median, need.ratio.low) == (1, None, None)
    never = function(analyse(make(tmp_path / "c", curves, targets=[0.9])), "mutual_information").needs[0]
    assert (never.reached, never.median, never.least, never.ratio, never.by_mean) == (0, None, None, None, None)
    assert never.within == 80


def test_a_function_that_saves_labels_in_every_seed_is_told(tmp_path):
    curves = {
        "random": RANDOM,
        "mutual_information": [[0.5, 0.7, 0.7, 0.7], [0.5, 0.7, 0.7, 0.7], [0.5, 0.7, 0.7, 0.71]],
    }
    need = function(analyse(make(tmp_path / "a", curves, targets=[0.7])), "mutual_information").needs[0]
    assert need.ratio.value == pytest.approx(0.5)
    assert need.told == -1


def test_verdicts_go_by_whether_the_interval_leaves_out_zero(tmp_path):
    offsets = {"entropy": [0.1, 0.11, 0.1], "margin": [-0.1, -0.11, -0.1], "k_centre": [0.1, -0.1, 0.005]}
    curves = {"random": [[0.5, 0.6, 0.6]] * 3}
    curves |= {name: [[0.5, 0.6 + by, 0.6 + by] for by in of] for name, of in offsets.items()}
    found = analyse(make(tmp_path / "a", curves, acquisitions=list(curves), rounds=2))
    assert found.level == pytest.approx(1 - 0.05 / 3)
    same(function(found, "entropy").curves[0].accuracy_area, offsets["entropy"], 1 - 0.05 / 3)
    said = {verdict.function: verdict for verdict in verdicts(found)}
    assert {name: of.standing for name, of in said.items()} == {
        "random": "baseline",
        "entropy": "better",
        "margin": "worse",
        "k_centre": "cannot be told apart",
    }
    assert said["entropy"].sentences[0].startswith("entropy is better than random: its accuracy differs from random's")
    assert said["margin"].sentences[0].startswith("Random is better than margin: ")
    assert said["k_centre"].sentences[0].startswith("k_centre and random cannot be told apart: ")
    assert "+0.103" in said["entropy"].sentences[0]
    assert "3 seeds" in said["entropy"].sentences[0]
    assert "98.33%" in notes(found)[0]
    assert "Bonferroni" in notes(found)[0]


def test_the_correction_widens_what_one_comparison_would_tell(tmp_path):
    """A difference that 95% would tell from zero, and 99.29% does not."""
    names = ["random", "entropy", "margin", "least_confidence", "power_bald", "batch_bald", "k_centre"]
    names.append("mutual_information")
    near = {name: [[0.5, 0.6]] * 3 for name in names} | {"entropy": [[0.5, 0.615], [0.5, 0.62], [0.5, 0.625]]}
    one = make(tmp_path / "one", near, acquisitions=["random", "entropy"], rounds=1)
    all_of_them = make(tmp_path / "all", near, acquisitions=names, rounds=1)
    assert corrected(7) == pytest.approx(1 - 0.05 / 7)
    assert standing_of(function(analyse(one), "entropy")) == "better"
    assert standing_of(function(analyse(all_of_them), "entropy")) == "cannot be told apart"


def test_one_seed_tells_nothing(tmp_path):
    found = analyse(make(tmp_path / "a", lambda name, number, seed: CURVES[name][0][number], seeds=[7]))
    own = function(found, "mutual_information")
    assert own.curves[0].accuracy_area.value == pytest.approx(np.mean([0.05, 0.1, 0.05]))
    assert own.curves[0].accuracy_area.low is None
    assert standing_of(own) == "too few seeds"
    assert own.needs[0].told == 0
    assert notes(found)[0].startswith("There is one seed, too few")
    assert verdicts(found)[1].sentences[0].startswith("1 seed, too few to tell mutual_information from random: ")
    assert {curve.mutual_information.verdict for curve in own.doubt} == {"cannot be told"}


@pytest.mark.parametrize("done", [{"random": 1}, {"mutual_information": 1}, {"random": 0}])
def test_functions_are_compared_over_the_rounds_that_both_have(tmp_path, done):
    found = analyse(make(tmp_path / "a", CURVES, done=done))
    own = function(found, "mutual_information")
    shared = min(done.values())
    shift = (np.array(MI) - np.array(RANDOM))[:, 1 : shared + 1]
    assert own.curves[0].compared == shared
    if shared:
        same(own.curves[0].accuracy_area, shift.mean(axis=1))
    else:
        assert own.curves[0].accuracy_area is None
        assert standing_of(own) == "not compared"
    assert own.rounds == done.get("mutual_information", 3)
    assert any("not all are done" in note for note in notes(found))
    if done == {"random": 0}:
        assert found.targets == ()
        assert any(note.startswith("Random has done no round yet") for note in notes(found))
        assert not any("does not rise" in note for note in notes(found))


def test_a_round_counts_when_all_seeds_have_it(tmp_path):
    learned = make(tmp_path / "a", CURVES)
    learned.record_file("random", 2, 1).unlink()
    assert function(analyse(learned), "random").rounds == 1
    learned.record_file("random", 0, 2).unlink()
    with pytest.raises(KvorumError, match="not even the start is done for all seeds"):
        analyse(learned)


def test_without_random_nothing_is_compared(tmp_path):
    found = analyse(make(tmp_path / "a", {"entropy": MI}, acquisitions=["entropy"], targets=[0.6]))
    assert not found.has_random
    assert found.compared == 0
    (own,) = found.functions
    assert own.curves[0].accuracy_area is None
    assert own.needs[0].ratio is None
    assert own.needs[0].median == pytest.approx(20 + 20 * 0.1 / 0.12)
    assert standing_of(own) == "not compared"
    assert any("Random is not among the functions" in note for note in notes(found))
    assert analyse(make(tmp_path / "b", {"entropy": MI}, acquisitions=["entropy"])).targets == ()


def test_scores_on_other_questions_or_of_other_labels_are_refused(tmp_path):
    learned = make(tmp_path / "a", CURVES)
    record = learned.record("random", 1, 0)
    learned.save(record.model_copy(update={"labels": 41}))
    with pytest.raises(KvorumError, match="the seeds have 40, 41 labels"):
        analyse(learned)
    learned.save(record)
    file = learned.test_file("random", 1, 0, "facts_capitals")
    learned.test("random", 1, 0, "facts_capitals").select(examples=slice(1, None)).save(file)
    with pytest.raises(KvorumError, match=re.escape(str(file))):
        analyse(learned)
    from kvorum.files import sha256

    learned.save(record.model_copy(update={"files": {file.name: sha256(file)}}))
    with pytest.raises(KvorumError, match="holds other questions than the first round"):
        analyse(learned)


PARTS = [{"task": "facts_capitals"}, {"task": "data/lots.jsonl", "labels": "random"}]


def test_what_was_chosen(tmp_path):
    noisy = {0: 1, 1: 2, 2: 3}

    def added(name, number, seed):
        drawn = [question("lots", f"{number}-{place}", subject="lots") for place in range(noisy[seed])]
        own = "" if name == "random" else name
        count = 4 - noisy[seed]
        return drawn + [
            question(
                "facts_capitals", f"{own}{number}-{place}", subject="cities", repeats=place == 0, entropy=1.0,
                mutual_information=0.4,
            )
            for place in range(count)
        ]  # fmt: skip

    def states(name, number, seed):
        return [
            PartState(part="facts_capitals", questions=30, entropy=0.5, mutual_information=0.1 + 0.1 * number),
            PartState(part="lots", questions=10, entropy=0.9, mutual_information=0.1 + 0.1 * number),
        ]

    found = analyse(make(tmp_path / "a", CURVES, pool=PARTS, added=added, states=states, rounds=2))
    assert [(part.part, part.noise, part.questions, part.share) for part in found.parts] == [
        ("facts_capitals", False, 30, 0.75),
        ("lots", True, 10, 0.25),
    ]
    chosen = function(found, "mutual_information").chosen
    assert chosen.questions == 24
    assert [part.questions for part in chosen.parts] == [12, 12]
    same(chosen.noise, [0.25, 0.5, 0.75], 1 - 0.05 / 2)
    same(chosen.parts[1].share, [0.25, 0.5, 0.75])
    assert chosen.repeats == 6
    assert chosen.repeats_share.value == pytest.approx(0.25)
    assert [(subject.subject, subject.questions) for subject in chosen.subjects] == [("cities", 12), ("lots", 12)]
    entropy = [(1 * 0.6 + 3 * 1.0) / 4, (2 * 0.6 + 2 * 1.0) / 4, (3 * 0.6 + 1 * 1.0) / 4]
    same(chosen.entropy.chosen, entropy)
    same(chosen.entropy.difference, np.array(entropy) - 0.6)
    # What is chosen before round 2 is from the pool that the fit of round 1 has scored.
    assert [each.mutual_information.pool.value for each in chosen.rounds] == pytest.approx([0.1, 0.2])
    assert [each.shares for each in chosen.rounds] == [pytest.approx((0.5, 0.5))] * 2
    # The noise is the same questions, the rest is not: 2, 4 and 6 in common of 16 - 2, 16 - 4, 16 - 6.
    (overlap,) = found.overlaps
    same(overlap.jaccard, [2 / 14, 4 / 12, 6 / 10])
    assert overlap.round == 2


def test_doubt_over_the_pool_is_weighted_by_questions_and_its_slope_is_per_100_labels(tmp_path):
    falls = [-0.02, -0.03, -0.025]

    def states(name, number, seed):
        fall = falls[seed] * number if name != "entropy" else 0.02 * number + 0.001 * seed * number
        if name == "margin":
            fall = (-0.02, 0.02, 0.0)[seed] * number
        return [
            PartState(part="facts_capitals", questions=30, entropy=0.5, mutual_information=0.3 + fall),
            PartState(part="lots", questions=10, entropy=0.9, mutual_information=0.2),
        ]

    names = ["random", "entropy", "margin"]
    curves = {name: [[0.5, 0.55, 0.6]] * 3 for name in names}
    spread = {name: 0.1 for name in names}
    found = analyse(
        make(
            tmp_path / "a",
            curves,
            acquisitions=names,
            rounds=2,
            pool=PARTS,
            states=states,
            apart=lambda name, number, seed: spread[name] - 0.03 * number,
        )
    )
    pool, capitals, lots, test = function(found, "random").doubt
    assert [curve.kind for curve in (pool, capitals, lots, test)] == ["pool", "part", "noise", "test"]
    assert pool.points[0].mutual_information.value == pytest.approx((30 * 0.3 + 10 * 0.2) / 40)
    assert pool.points[0].entropy.value == pytest.approx(0.6)
    level = 1 - 0.05 / 3
    # 20 labels a round, three quarters of the pool.
    same(pool.mutual_information.slope, [0.75 * fall * 5 for fall in falls], level)
    same(capitals.mutual_information.slope, [fall * 5 for fall in falls], level)
    assert capitals.mutual_information.verdict == "falls"
    assert lots.mutual_information.verdict == "cannot be told"
    assert lots.mutual_information.slope.value == pytest.approx(0)
    assert function(found, "entropy").doubt[1].mutual_information.verdict == "rises"
    assert function(found, "margin").doubt[1].mutual_information.verdict == "cannot be told"

    def information(apart):
        halves = [stats.entropy([p, 1 - p]) for p in (0.8 + apart, 0.8 - apart)]
        return stats.entropy([0.8, 0.2]) - np.mean(halves)

    assert [point.mutual_information.value for point in test.points] == pytest.approx(
        [information(apart) for apart in (0.1, 0.07, 0.04)]
    )


def test_an_emptied_part_has_no_doubt(tmp_path):
    def states(name, number, seed):
        left = 0 if number else 5
        doubt = None if number else 0.5
        return [
            PartState(part="facts_capitals", questions=30, entropy=0.5, mutual_information=0.1),
            PartState(part="lots", questions=left, entropy=doubt, mutual_information=doubt),
        ]

    found = analyse(make(tmp_path / "a", CURVES, pool=PARTS, states=states))
    pool, _, lots, _ = function(found, "random").doubt
    assert lots.points[1].entropy.value is None
    assert lots.entropy.slope is None
    assert pool.points[1].entropy.value == pytest.approx(0.5)


def test_json_holds_no_number_that_is_none(experiment, tmp_path):
    for learned in (experiment, make(tmp_path / "a", CURVES, seeds=[1], done={"random": 0}, rounds=2)):
        found = json.loads(json.dumps(analyse(learned).as_dict(), allow_nan=False))
        assert [each["function"] for each in found["verdicts"]] == [each["name"] for each in found["functions"]]
        assert found["functions"][0]["doubt"][0]["entropy"]["verdict"] in ("falls", "cannot be told")


def test_the_analysis_needs_neither_torch_nor_matplotlib(experiment):
    code = (
        "import sys, kvorum.terminal_learning; from kvorum.active.records import Learned\n"
        "from kvorum.report.learning.analyse import analyse\n"
        f"analyse(Learned.open({str(experiment.path)!r})).as_dict()\n"
        "print([name for name in ('torch', 'transformers', 'matplotlib', 'sklearn') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
