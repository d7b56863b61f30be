"""What a verdict may claim, and what it must not leave out."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kvorum.active.records import PartState
from kvorum.report.learning.analyse import Function, Learning, analyse
from kvorum.report.learning.estimate import Estimate, corrected, of_accuracy, of_share
from kvorum.report.learning.numbers import needed, needed_by_mean, range_of, ratio_basis, shift
from kvorum.report.learning.page import write_learning
from kvorum.report.learning.tables import difference
from kvorum.report.learning.verdicts import notes, standing_of, verdicts

from .conftest import make, question

RISES = [[0.5, 0.6, 0.7, 0.8]] * 3
FLAT = [[0.5, 0.5, 0.5, 0.5]] * 3
NOISY = [{"task": "facts_capitals"}, {"task": "data/lots.jsonl", "labels": "random"}]


def of(learning: Learning, name: str = "mutual_information") -> Function:
    return next(each for each in learning.functions if each.name == name)


def said(learning: Learning, name: str = "mutual_information") -> str:
    return " ".join(next(each for each in verdicts(learning) if each.function == name).sentences)


def two(folder: Path, random: Any, own: Any, **config: Any) -> Learning:
    return analyse(make(folder, {"random": random, "mutual_information": own}, **config))


def rate(estimates: Iterable[Estimate], truth: float) -> float:
    """How often an interval leaves out what is true."""
    return float(np.mean([each.side_of(truth) != 0 for each in estimates]))


@pytest.mark.parametrize(("questions", "rounds", "spread"), [(12, 1, 1.0), (12, 3, 0.5), (30, 1, 1.0), (30, 2, 0.75)])
def test_accuracies_that_agree_by_luck_are_not_told_apart(questions, rounds, spread):
    """Differences of whole test questions about zero, at the level of seven comparisons."""
    drawn = np.random.default_rng(0).normal(0, spread, size=(4000, 3, rounds))
    means = (np.round(drawn) / questions).mean(axis=2)
    floor = np.sqrt(2 / rounds) * of_accuracy(questions)
    level = corrected(7)
    nominal = 1 - level
    assert rate((Estimate.of(each, level, 1e-12) for each in means), 0.0) > 2 * nominal
    assert rate((Estimate.of(each, level, floor) for each in means), 0.0) <= 1.2 * nominal


@pytest.mark.parametrize(("questions", "share"), [(12, 0.156), (12, 0.05), (8, 0.9)])
def test_shares_that_agree_by_luck_are_not_told_from_the_pool(questions, share):
    hits = np.random.default_rng(0).binomial(questions, share, size=(4000, 3))
    floors = [of_share(int(of_seeds.sum()), 3 * questions, 3) for of_seeds in hits]
    shares = hits / questions
    bare = (Estimate.of(each, floor=1e-12) for each in shares)
    assert rate(bare, share) > 0.065
    assert rate((Estimate.of(each, floor=floor) for each, floor in zip(shares, floors, strict=True)), share) <= 0.06


def test_equal_seeds_are_no_certainty(tmp_path):
    found = two(tmp_path / "a", [[0.5, 0.6]] * 3, [[0.5, 0.605]] * 3, rounds=1)
    area = of(found).curves[0].accuracy_area
    # One question of 200: four and a third standard errors of rounding are more.
    assert area.low < 0 < area.high
    assert area.high - area.value == pytest.approx(4.302653 * np.sqrt(2 / 12) / 200 / np.sqrt(3))
    assert standing_of(of(found)) == "cannot be told apart"
    assert of(found).curves[0].nll_area.alike
    assert "(all seeds gave the same number)" in said(found)
    assert standing_of(of(two(tmp_path / "b", RISES, FLAT))) == "worse"


def test_no_noise_among_a_few_questions_is_still_not_told(tmp_path):
    def states(name, number, seed):
        return [
            PartState(part=part, questions=left, entropy=0.5, mutual_information=0.1)
            for part, left in (("facts_capitals", 93), ("lots", 7))
        ]

    found = two(tmp_path / "a", RISES, RISES, pool=NOISY, states=states)
    noise = of(found).chosen.noise
    assert noise.per_seed == (0, 0, 0)
    assert noise.low < 0.07 < noise.high
    assert "not to be told from its share of the pool, 0.070" in said(found)


def test_two_seeds_tell_nothing_and_say_so(tmp_path):
    found = two(tmp_path / "a", RISES, FLAT, seeds=[0, 1], pool=NOISY)
    own = of(found)
    assert standing_of(own) == "too few seeds"
    assert own.curves[0].accuracy_area.low is None
    assert not difference(own.curves[0].accuracy_area, "higher").tone
    assert "2 seeds, too few to tell mutual_information from random" in said(found)
    assert "(−0.200 and −0.200 by seed)" in said(found)
    assert "too few seeds to tell" in said(found)
    assert notes(found)[0].startswith("There are 2 seeds, too few")
    assert "less than" not in said(found)
    assert all(trend.mutual_information.verdict == "cannot be told" for trend in own.doubt)


def test_who_alone_reaches_an_accuracy_is_said(tmp_path):
    found = two(tmp_path / "a", RISES, FLAT, targets=[0.7])
    assert "Accuracy 0.700: random reaches it in 3 of 3 seeds, mutual_information in none within 80 labels." in said(
        found
    )
    assert ratio_basis(of(found).needs[0]) == "random only: 3 of 3"
    found = two(tmp_path / "b", FLAT, RISES, targets=[0.7, 0.9])
    assert "Accuracy 0.700: mutual_information reaches it in 3 of 3 seeds, random in none within 80 labels." in said(
        found
    )
    assert "Accuracy 0.900: neither reaches it within 80 labels." in said(found)
    assert ratio_basis(of(found).needs[0]) == "this only: 3 of 3"
    page = write_learning(make(tmp_path / "c", {"random": RISES, "mutual_information": FLAT}, targets=[0.7]))
    assert "random only: 3 of 3" in page.read_text(encoding="utf-8")


def test_an_unfinished_experiment_is_compared_up_to_the_labels_that_both_have(tmp_path):
    found = two(tmp_path / "a", RISES, RISES, done={"mutual_information": 1}, targets=[0.6, 0.7])
    first, second = of(found).needs
    assert (second.only_random, second.ratio, second.compared_within) == (0, None, 40)
    assert first.ratio.value == pytest.approx(1)
    assert "Accuracy 0.700: neither reaches it within 40 labels." in said(found)
    assert said(found).startswith("So far, 1 of 3 rounds: ")
    assert "So far, 1 of 3 rounds: Mutual information" in said(found)
    assert "So far" not in said(two(tmp_path / "b", RISES, RISES))


def test_of_a_function_without_a_round_nothing_is_said(tmp_path):
    learned = make(
        tmp_path / "a",
        {"random": RISES, "mutual_information": FLAT},
        done={"mutual_information": 0},
        targets=[0.5, 0.7],
        pool=NOISY,
    )
    found = analyse(learned)
    own = of(found)
    assert said(found) == ""
    assert own.chosen is None
    for point in own.curves[0].points:
        assert (point.accuracy_difference, point.nll_difference) == (None, None)
    for need in own.needs:
        assert (need.ratio, need.only_random, need.only_this) == (None, 0, 0)
        assert [needed(need), needed_by_mean(need), range_of(need), ratio_basis(need)] == ["–", "–", "", ""]
    assert (
        of(analyse(make(tmp_path / "b", {"random": RISES, "mutual_information": RISES}, done={"random": 0})))
        .curves[0]
        .points[0]
        .accuracy_difference
        is None
    )


def test_nll_is_in_the_verdict_for_better_and_for_worse(tmp_path):
    rising = [[0.5, 0.6, 0.7, 0.8], [0.5, 0.61, 0.71, 0.81], [0.5, 0.62, 0.7, 0.81]]
    better, worse = two(tmp_path / "a", FLAT, rising), two(tmp_path / "b", rising, FLAT)
    assert "Its NLL is lower than random's, which is better: −" in said(better)
    assert "Its NLL is higher than random's, which is worse: +" in said(worse)
    for found in (better, worse):
        area = of(found).curves[0].nll_area
        assert f"nats over the same rounds (95% interval {shift(area).interval}, 3 seeds)" in said(found)
    mixed = two(tmp_path / "c", rising, [rising[1], rising[2], rising[0]])
    assert "Its NLL cannot be told from random's: " in said(mixed)


@pytest.mark.parametrize("names", [["random"], ["random", "entropy"], ["random", "entropy", "margin"], ["entropy"]])
def test_what_is_not_corrected_for_is_always_said(tmp_path, names):
    found = analyse(make(tmp_path / "a", lambda name, number, seed: 0.5 + 0.1 * number, acquisitions=names))
    words = " ".join(notes(found))
    for what in ("accuracies to reach", "test tasks", "two scores", "rounds one by one", "slopes", "before it is done"):
        assert what in words


def test_the_start_bounds_the_labels_needed_and_is_no_ratio(tmp_path):
    random = [[0.7, 0.7, 0.7, 0.8], [0.5, 0.6, 0.7, 0.8], [0.5, 0.6, 0.7, 0.8], [0.5, 0.6, 0.7, 0.8]]
    own = [[0.7, 0.7, 0.7, 0.8], [0.5, 0.8, 0.8, 0.8], [0.5, 0.8, 0.8, 0.8], [0.5, 0.8, 0.8, 0.8]]
    found = two(tmp_path / "a", random, own, targets=[0.55, 0.7], seeds=[0, 1, 2, 3])
    low, high = of(found).needs
    assert low.mean_at_start
    assert needed_by_mean(low) == "≤ 20"
    assert not high.mean_at_start
    assert range_of(high).startswith("≤ 20 to ")
    assert high.ratio.per_seed[0] is None
    assert high.ratio.seeds == 3
    assert high.ratio.value == pytest.approx((20 + 20 * 2 / 3) / 60)
    assert ratio_basis(high).split("\n")[1:] == ["3 of 4 seeds", "at the start: 1 of 4"]
    found = two(tmp_path / "b", random, own, targets=[0.4], seeds=[0, 1, 2, 3])
    assert of(found).needs[0].ratio is None
    assert "Accuracy 0.400: the start reaches it in every seed." in said(found)
    # The median of an even number of seeds is half of what the start bounds.
    found = two(tmp_path / "c", [random[0], *random[1:2]], [own[0], *own[1:2]], targets=[0.7], seeds=[0, 1])
    assert needed(of(found).needs[0]).startswith("≤ ")


@pytest.mark.parametrize("values", [[0.3 - 0.2 - 0.1] * 3, [1e-17, 2e-17, 3e-17], [1e-12, 1e-12, 1.1e-12]])
def test_what_rounding_leaves_is_coloured_no_more_than_it_is_told(values):
    for floor in (0.0, 1e-13):
        found = Estimate.of(values, floor=floor)
        assert found.side_of(0.0) == 0
        assert shift(found, "higher").verdict == ""
        assert difference(found, "higher").tone == ""
        assert shift(found).text == "0.000"
    told = Estimate.of([0.1, 0.11, 0.12])
    assert (shift(told, "higher").verdict, shift(told, "lower").verdict, shift(told).verdict) == (
        "better",
        "worse",
        "differs",
    )


def test_mutual_information_is_first_that_of_the_test_and_the_pool_is_called_selected(tmp_path):
    def states(name, number, seed):
        return [
            PartState(
                part="facts_capitals", questions=30, entropy=0.5, mutual_information=0.1 + 0.01 * number * (seed + 9)
            )
        ]

    def added(name, number, seed):
        doubt = 0.9 if name == "mutual_information" else 0.01
        return [question("facts_capitals", f"{name}-{number}-{seed}", mutual_information=doubt)]

    found = two(tmp_path / "a", RISES, RISES, states=states, added=added)
    words = said(found)
    assert words.index("on facts_capitals, whose questions stay the same") < words.index(
        "over the unlabelled pool it rises"
    )
    assert "part of a fall there is selection" in words
    assert "selection" not in said(found, "random")
    found = two(tmp_path / "b", RISES, RISES, states=states, added=added, candidates=30)
    assert "over the drawn candidates of the pool it rises" in said(found)
    assert "unlabelled pool" not in said(found)


def test_why_there_is_no_accuracy_to_reach(tmp_path):
    assert "Random does not rise above the start, so" in " ".join(notes(two(tmp_path / "a", FLAT, RISES)))
    assert "Random has done no round yet, so" in " ".join(notes(two(tmp_path / "b", FLAT, RISES, done={"random": 0})))
