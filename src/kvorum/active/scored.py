"""What the members of several seeds make of the test and of the pool, from one pass over all of it."""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float32

from kvorum.active.config import POOL
from kvorum.active.plan import Plan, candidates, members_of
from kvorum.posterior.hidden import HiddenMeans
from kvorum.posterior.posterior import Posterior
from kvorum.posterior.scoring import Probabilities
from kvorum.predictions import Predictions


class Scored:
    """Scores of a round of some seeds, and what each of them takes of it."""

    def __init__(
        self,
        plan: Plan,
        posterior: Posterior,
        labelled: Mapping[int, list[int]],
        number: int,
        *,
        hidden: bool,
        told: Callable[[int, int], None],
    ) -> None:
        self.plan = plan
        self.posterior = posterior
        self.labelled = labelled
        config, stack = plan.config, posterior.stack
        active = [stack.members[i] for i in stack.active]
        self.members = {seed: [active.index(m) for m in members_of(config, seed) if m in active] for seed in labelled}
        """Of each seed, places among the members that have not diverged; none where all have."""
        self.places = {seed: candidates(config, number, known, len(plan.pool)) for seed, known in labelled.items()}
        """Of each seed, the unlabelled questions that it may choose from next."""
        wanted = {place for places in self.places.values() for place in places}
        if hidden:
            wanted |= {place for places in labelled.values() for place in places}
        self.rows = {place: row for row, place in enumerate(sorted(wanted))}
        encoded = [plan.encoded[place] for place in self.rows]
        self.starts: dict[str, int] = {}
        for task, tokens in zip(plan.tests, plan.job.evaluation_encoded, strict=True):
            self.starts[task.name] = len(encoded)
            encoded += tokens
        self.means = HiddenMeans(list(self.members.values()), of=len(self.rows)) if hidden else None
        with posterior.scoring(encoded) as scorer:
            self.scores: Probabilities = scorer(encoded, told, hidden=self.means)

    def lost(self, seed: int) -> bool:
        """Whether no member of a seed can answer."""
        probs, rest = self.scores
        members = self.members[seed]
        return not (np.isfinite(probs[members]).all((1, 2)) & np.isfinite(rest[members]).all(1)).any()

    def test(self, seed: int, name: str) -> Predictions:
        """A seed's predictions on a test task."""
        task = next(one for one in self.plan.tests if one.name == name)
        rows = np.arange(self.starts[name], self.starts[name] + len(task.test))
        source = {"task": name, "split": task.test_split, "source": task.source}
        return self._of(seed).predictions(task.test, self._part(seed, rows), source)

    def pool(self, seed: int) -> Predictions | None:
        """A seed's predictions on the questions that it may choose from next; None where there is none."""
        places = self.places[seed]
        if not places:
            return None
        rows = np.array([self.rows[place] for place in places])
        questions = [self.plan.pool.questions[place] for place in places]
        return self._of(seed).predictions(questions, self._part(seed, rows), {"task": POOL})

    def hidden(self, seed: int) -> tuple[Float32[np.ndarray, "example dim"], Float32[np.ndarray, "labelled dim"]]:
        """The mean hidden states of those questions, and of what the seed has labelled."""
        assert self.means is not None
        means = self.means.means[list(self.members).index(seed)]
        wanted = (self.places[seed], self.labelled[seed])
        first, second = (means[[self.rows[place] for place in places]] for places in wanted)
        return first, second

    def _of(self, seed: int) -> Posterior:
        stack, mine = self.posterior.stack, members_of(self.plan.config, seed)
        pool = [self.plan.pool.questions[place] for place in self.labelled[seed]]
        return dataclasses.replace(
            self.posterior,
            stack=stack.select([i for i, member in enumerate(stack.members) if member in mine]),
            fitted_on=frozenset((q.question, q.choices) for q in pool),
            facts=self.posterior.facts | {"seed": seed},
        )

    def _part(self, seed: int, rows: np.ndarray) -> Probabilities:
        probs, rest = self.scores
        members = self.members[seed]
        return probs[members][:, rows], rest[members][:, rows]
