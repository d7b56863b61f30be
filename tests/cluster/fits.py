"""Fits in groups of members, in this process, and what makes two runs the same fit."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

import kvorum
from kvorum.adapters import AdapterStack
from kvorum.cluster.fit import Asked, Runner, ask, fit_in_groups, one_after_another
from kvorum.config import fit_config
from kvorum.posterior.progress import Silent
from kvorum.posterior.saving import load_moments
from kvorum.run import Point, Run

SETTINGS: dict[str, Any] = {
    "members": 4,
    "rank": 2,
    "alpha": 4.0,
    "epochs": 2,
    "batch_size": 5,
    "lr": 1e-2,
    "device": "cpu",
    "evaluate_limit": 6,
}
OWN = {"started", "groups", "tokens_per_epoch"}
"""Facts in which a run that was joined may differ from one that was not."""
LOOSE = {"atol": 2e-4, "rtol": 2e-4}
"""Passes of other sizes round otherwise, and AdamW makes a step of full length of a gradient's last digit."""


def asked(model: str, task: str, out: object, **settings: Any) -> Asked:
    return ask(fit_config(SETTINGS | {"model": model, "task": task, "out": str(out)} | settings, where="test"))


def told(line: str) -> None:
    """Nobody."""


def in_groups(model: str, task: str, out: object, per_worker: int | None = 2, **settings: Any) -> Run:
    """A fit whose groups are fitted one after another, or by a runner."""
    runner: Runner = settings.pop("runner", None) or one_after_another(Silent, told)
    fit_in_groups(asked(model, task, out, **settings), runner, per_worker=per_worker)
    return Run.open(str(out)) if "://" not in str(out) else Run.taken_as_it_is(Path(str(out)))


def at_once(model: str, task: str, out: object, **settings: Any) -> Run:
    """The same fit of all members together."""
    kvorum.fit(model, task, out=str(out), **(SETTINGS | settings))
    return Run.open(str(out))


def held(run: Run) -> dict[str, bytes]:
    """The bytes of all that was computed."""
    files = run.manifest.files
    return {name: (run.path / name).read_bytes()[: files[name].bytes] for name in files if name != "config.yaml"}


def same_fit(one: Run, two: Run) -> None:
    """Assert that two runs are of one fit, up to rounding."""
    assert one.manifest.files.keys() == two.manifest.files.keys()
    assert one.manifest.identity == two.manifest.identity
    assert _plain(one.facts) == _plain(two.facts)
    assert one.facts["tokens_per_epoch"] == two.facts["tokens_per_epoch"]
    for epoch in one.epochs:
        stacks = [AdapterStack.load(run.checked(run.adapters_file(epoch))) for run in (one, two)]
        assert stacks[0].members == stacks[1].members and stacks[0].diverged == stacks[1].diverged
        alive = [i for i, member in enumerate(stacks[0].members) if member not in stacks[0].diverged]
        _close(*(dict(stack.named_parameters()) for stack in stacks), alive)
    assert one.points == two.points
    alive = [i for i, member in enumerate(stacks[0].members) if member not in stacks[0].diverged]
    for point in one.points:
        if point != Point(0):
            moments = [load_moments(run, point) for run in (one, two)]
            assert torch.equal(moments[0].pop("active"), moments[1].pop("active"))
            _close(*moments, alive)
    assert one.scores() == two.scores()
    for epoch, task in one.scores():
        there, here = one.predictions(epoch, task), two.predictions(epoch, task)
        assert there.facts == here.facts
        assert (there.ids, there.choices, there.subjects) == (here.ids, here.choices, here.subjects)
        np.testing.assert_allclose(there.probs, here.probs, atol=2e-4)
        np.testing.assert_allclose(there.rest, here.rest, atol=2e-4)
    assert len(one.log) == len(two.log)
    for left, right in zip(one.log, two.log, strict=True):
        assert list(left) == list(right)
        for name, value in left.items():
            if isinstance(value, list):
                pair = [[one[row] for row in alive] for one in (value, right[name])]  # of the others, nothing counts
                np.testing.assert_allclose(*pair, atol=2e-3, rtol=2e-3, err_msg=name)
            else:
                assert value == right[name], name


def no_leftovers(run: Run) -> None:
    """Assert that nothing but the run lies there, all of it whole."""
    assert run.damage() == [] and run.unlisted() == []
    assert not list(run.path.rglob("*.tmp")) and not list(run.path.rglob("step-*"))
    assert not (run.path / "groups").exists()


def _plain(facts: Mapping[str, Any]) -> str:
    return json.dumps({name: value for name, value in facts.items() if name not in OWN}, sort_keys=True)


def _close(one: Mapping[str, torch.Tensor], two: Mapping[str, torch.Tensor], alive: list[int]) -> None:
    assert one.keys() == two.keys()
    for name, value in one.items():
        rows = (value[alive], two[name][alive]) if value.ndim else (value, two[name])
        torch.testing.assert_close(*rows, **LOOSE, msg=lambda said, name=name: f"{name}: {said}")
