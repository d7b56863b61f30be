"""Whether calibrations keep their promises: rules from one part of a run's real predictions, tried on the rest.

    python benchmarks/promises.py runs/cqa --task commonsense_qa --targets 0.3 0.4 0.5

Every split draws the calibration questions at random without replacement. The risk is promised of the population, not
of the questions that happen to be left; `rest` counts the splits in which the risk on those is at most the target,
`all` those in which it is on all questions of the task. A rule that abstains from everything, since no threshold is
known to keep the risk, keeps it; `refused` counts these splits.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from measure import table, write_json
from scipy.stats import betabinom

import kvorum
from kvorum.decisions import calibrate, decide
from kvorum.errors import KvorumError
from kvorum.predictions import Predictions
from kvorum.uncertainty.conformal import METHODS, conformal_rank
from kvorum.uncertainty.doubt import DOUBTS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--task", nargs="+", required=True, help="of those that the run has scored")
    parser.add_argument("--targets", type=float, nargs="+", default=[0.3, 0.4, 0.5])
    parser.add_argument("--scores", nargs="+", default=list(DOUBTS))
    parser.add_argument("--alphas", type=float, nargs="+", default=[0.1, 0.2])
    parser.add_argument("--share", type=float, default=0.5, help="of the questions that are calibrated on")
    parser.add_argument("--splits", type=int, default=100)
    parser.add_argument("--temperature", action="store_true")
    parser.add_argument("--json", type=Path, help="write all that was measured to this file")
    asked = parser.parse_args()
    run = kvorum.Run.open(asked.run)
    rows: list[dict[str, Any]] = []
    for task in asked.task:
        predictions = run.predictions(run.epochs[-1], task)
        known = predictions.select(examples=predictions.labelled)
        known.facts["trained_on_questions"] = 0
        splits = [np.random.default_rng((0, split)).permutation(len(known)) for split in range(asked.splits)]
        parts = [np.split(order, [round(asked.share * len(known))]) for order in splits]
        risks = [
            _risk(known, parts, task, score, target, asked.temperature)
            for score in asked.scores
            for target in asked.targets
        ]
        print(
            table(
                risks, f"{task}: selective risk, {len(parts[0][0])} questions to calibrate on, {len(parts[0][1])} left"
            )
        )
        print()
        sets = [_sets(known, parts, task, alpha, asked.temperature) for alpha in asked.alphas]
        sets = [row for both in sets for row in both]
        print(table(sets, f"{task}: answer sets"))
        print()
        rows += risks + sets
    if asked.json:
        write_json(asked.json, rows, run=asked.run.name, share=asked.share, temperature=asked.temperature)


def _risk(
    known: Predictions, parts: list[list[np.ndarray]], task: str, score: str, target: float, temperature: bool
) -> dict[str, Any]:
    wrong = ~known.correct
    answered, risk, kept_rest, kept_all, refused = [], [], 0, 0, 0
    for part, rest in parts:
        try:
            rules = calibrate(
                known.select(examples=part),
                target_risk=target,
                score=score,  # pyright: ignore[reportArgumentType]
                temperature=temperature,
            )
        except KvorumError:
            refused += 1
            continue
        decided = decide(known, rules).answered
        inside = decided[rest]
        answered.append(inside.mean())
        risk.append(wrong[rest][inside].mean() if inside.any() else 0.0)
        kept_rest += risk[-1] <= target
        kept_all += wrong[decided].mean() <= target
    several = bool(answered)
    return {
        "task": task,
        "score": score,
        "target": target,
        "refused": refused,
        "answered": float(np.mean(answered)) if several else None,
        "risk": float(np.mean(risk)) if several else None,
        "kept on the rest": int(kept_rest) + refused,
        "kept on all": int(kept_all) + refused,
        "of": len(parts),
    }


def _sets(
    known: Predictions, parts: list[list[np.ndarray]], task: str, alpha: float, temperature: bool
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    covered: dict[str, list[float]] = {method: [] for method in METHODS}
    sizes: dict[str, list[float]] = {method: [] for method in METHODS}
    for part, rest in parts:
        rules = calibrate(known.select(examples=part), coverage=1.0, alpha=alpha, temperature=temperature)
        decided = decide(known.select(examples=rest), rules)
        for method in METHODS:
            sets = decided.sets[method]
            covered[method].append(float(sets[np.arange(len(rest)), known.answers[rest]].mean()))
            sizes[method].append(float(sets.sum(axis=1).mean()))
    calibrated, left = len(parts[0][0]), len(parts[0][1])
    rank = conformal_rank(calibrated, alpha)
    # What the coverage of so many exchangeable questions is, given so many to calibrate on.
    law = betabinom(left, rank, calibrated + 1 - rank)
    for method in METHODS:
        rates = np.array(covered[method])
        found.append(
            {
                "task": task,
                "sets": method,
                "alpha": alpha,
                "coverage": float(rates.mean()),
                "least": float(rates.min()),
                "5% of splits lie below": float(np.quantile(rates, 0.05)),
                "in theory": float(law.ppf(0.05) / left),
                "mean size": float(np.mean(sizes[method])),
            }
        )
    return found


if __name__ == "__main__":
    main()
