"""Every number of one task's predictions, with intervals, as a dict that JSON can hold."""

from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Float64, Int

from kvorum.uncertainty.bootstrap import Interval, bootstrap, resampled_means
from kvorum.uncertainty.entropy import expected_entropy, mutual_information, predictive_entropy
from kvorum.uncertainty.ranking import resampled_auroc
from kvorum.uncertainty.voice import CALIBRATION, METRICS, Voice, resampled_scores

RANKING = {"predictive_entropy": predictive_entropy, "mutual_information": mutual_information}


@runtime_checkable
class Answered(Protocol):
    """What `separation` asks of a task's predictions; `Predictions` has it."""

    @property
    def probs(self) -> Float64[np.ndarray, "member example candidate"]:
        """Of each candidate; 0 beyond a question's last."""
        ...

    @property
    def rest(self) -> Float64[np.ndarray, "member example"]:
        """Probability on everything that is no candidate."""
        ...


def summarize(
    probs: Float[np.ndarray, "member example candidate"],
    rest: Float[np.ndarray, "member example"],
    answers: Int[np.ndarray, "example"],
    *,
    bins: int = 10,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Scores of the ensemble and averaged over its members, uncertainties of right and of wrong answers, AUROCs.

    A number comes as `{"value", "low", "high"}` with its 95% bootstrap interval over questions, each None where it is
    not defined; medians and the members' own scores come alone. Entropies and NLL are in nats. An answer below 0 is
    unknown: its question counts in the uncertainties of `all` and nowhere else.
    """
    labelled = answers >= 0
    known = answers[labelled]
    voices = [Voice.of(p, r, known, bins=bins) for p, r in zip(probs[:, labelled], rest[:, labelled], strict=True)]
    ensemble = Voice.of_mean(probs[:, labelled], rest[:, labelled], known, bins=bins)
    right = np.zeros(len(answers), bool)
    right[labelled] = ensemble.correct
    groups = {"all": np.ones(len(answers), bool), "correct": right, "wrong": labelled & ~right}
    uncertainties = {
        "predictive_entropy": predictive_entropy(probs, rest),
        "expected_entropy": expected_entropy(probs, rest),
        "mutual_information": mutual_information(probs, rest),
    }

    def statistics(counts: Float64[np.ndarray, "resample example"]) -> dict[str, Float64[np.ndarray, "resample"]]:
        scores = resampled_scores([ensemble, *voices], counts[:, labelled])
        found = {f"ensemble/{metric}": each[0] for metric, each in scores.items()}
        found |= {f"members/{metric}": each[1:].mean(axis=0) for metric, each in scores.items()}
        for group, rows in groups.items():
            means = resampled_means(np.stack(list(uncertainties.values()), axis=1)[rows], counts[:, rows])
            found |= {f"{name}/{group}": means[:, column] for column, name in enumerate(uncertainties)}
        for name in RANKING:
            score = uncertainties[name][labelled]
            found[f"wrong/{name}"] = resampled_auroc(score, ~ensemble.correct, counts[:, labelled])
        return found

    calibration = [f"{whose}/{metric}" for whose in ("ensemble", "members") for metric in CALIBRATION]
    found = bootstrap(statistics, [len(answers)], resamples=resamples, seed=seed, reflected=calibration)
    alone = resampled_scores(voices, np.ones((1, int(labelled.sum()))))
    return {
        "questions": len(answers),
        "labelled": int(labelled.sum()),
        "members": len(probs),
        "ensemble": {metric: found[f"ensemble/{metric}"] for metric in METRICS},
        "member_average": {
            metric: {**found[f"members/{metric}"], "per_member": [_jsonable(each) for each in alone[metric][:, 0]]}
            for metric in METRICS
        },
        **{
            name: {group: _group(found[f"{name}/{group}"], values[rows]) for group, rows in groups.items()}
            for name, values in uncertainties.items()
        },
        "wrong_auroc": {name: found[f"wrong/{name}"] for name in RANKING},
    }


def separation(in_domain: Answered, other: Answered, *, resamples: int = 1000, seed: int = 0) -> dict[str, Interval]:
    """AUROC of entropy and of mutual information for telling another task's questions from those in domain.

    Above 0.5 the other task's questions are the more uncertain ones. Both tasks are resampled, each for itself.
    """
    sizes = [in_domain.rest.shape[1], other.rest.shape[1]]
    is_other = np.repeat([False, True], sizes)
    scores = {
        name: np.concatenate([score(task.probs, task.rest) for task in (in_domain, other)])
        for name, score in RANKING.items()
    }
    return bootstrap(
        lambda counts: {name: resampled_auroc(score, is_other, counts) for name, score in scores.items()},
        sizes,
        resamples=resamples,
        seed=seed,
    )


def _group(mean: Interval, values: Float64[np.ndarray, "chosen"]) -> dict[str, Any]:
    return {
        "mean": mean,
        "median": float(np.median(values)) if len(values) else None,
        "questions": len(values),
    }


def _jsonable(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
