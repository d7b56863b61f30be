"""Beginning an experiment's directory, or going on with the one that is there."""

import platform
import time
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from kvorum.active.config import LearnConfig, name_of
from kvorum.active.plan import Plan
from kvorum.active.records import CONFIG, ROUNDS, Learned
from kvorum.errors import KvorumError
from kvorum.files import TEMPORARY, atomic, half_written, make_folder, remove
from kvorum.run import differing_settings
from kvorum.run.lock import HOLDER, LOCK
from kvorum.safe_yaml import as_yaml
from kvorum.tasks.digest import digest

FIXED = ("pool", "initial", "batch", "start", "candidates")
"""Keys that change the rounds that are done already; test, besides, must hold what it held."""
IDENTITY = {"pool_digest": "pool", "test_digest": "test questions", "base_revision": "base model's revision"}


def begin(config: LearnConfig, facts: Mapping[str, Any], path: Path | None = None) -> Learned:
    """The experiment's directory, new or to go on with; only for whom holds the lock.

    `facts`: those of `facts_of`. `path`: where the directory is, if not where the experiment's `out` says. More rounds,
    seeds and acquisition functions may be asked for than before.

    Raises `KvorumError` where the directory holds another experiment, or something else.
    """
    path = path or Path(config.out)
    if (path / CONFIG).is_file():
        there = Learned.open(path)
        if differs := _differing(there, config, facts):
            raise KvorumError(
                f"{path} holds another experiment: {'; '.join(differs)}. Choose another --out, or remove it"
            )
        facts = {**facts, "started": there.facts.get("started", facts["started"])}
    else:
        refuse_foreign(path, [file.name for file in path.iterdir()])
    for half in (file for kind in TEMPORARY for file in path.rglob(kind)):
        remove(half)
    make_folder(path / ROUNDS)
    with atomic(path / CONFIG) as temporary:
        temporary.write_text(as_yaml(config.as_dict() | {"facts": dict(facts)}), encoding="utf-8")
    return Learned(path, config)


def refuse_foreign(where: object, names: Iterable[str]) -> None:
    """Raise `KvorumError` for a directory that holds something else than an experiment, by the names in it."""
    if foreign := [name for name in names if not _ours(name)]:
        raise KvorumError(f"{where} holds no experiment, but {min(foreign)}; choose another --out")


def facts_of(plan: Plan) -> dict[str, Any]:
    """What was found besides what was asked."""
    base = plan.job.base
    return {
        **{name: version(name) for name in ("kvorum", "torch", "transformers")},
        "python": platform.python_version(),
        "device": str(base.device),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "model": base.name,
        "base_revision": base.revision,
        "base_parameters": base.parameters,
        "parameters_per_member": plan.job.parameters_per_member,
        "prompt_template": plan.job.prompt.template,
        "pool_questions": plan.pool.sizes,
        "pool_digest": digest(plan.pool.questions, ids=True),
        "test_questions": {task.name: len(task.test) for task in plan.tests},
        "test_digest": digest([question for task in plan.tests for question in task.test], ids=True),
    }


def _differing(there: Learned, asked: LearnConfig, facts: Mapping[str, Any]) -> list[str]:
    """Why what is done there cannot be gone on with."""
    if there.tests != tuple(map(name_of, asked.test)):
        return [f"its test was {', '.join(there.tests)}"]
    before, now = there.config.as_dict(), asked.as_dict()
    differs = [
        f"its {name} was {before[name]}, asked for was {now[name]}" for name in FIXED if before[name] != now[name]
    ]
    differs += differing_settings(there.config.fit, asked.fit)
    if there.config.fit.epochs != asked.fit.epochs:
        differs.append(f"its epochs is {there.config.fit.epochs}, asked for was {asked.fit.epochs}")
    return differs + [
        f"the {called} is another than it was"
        for name, called in IDENTITY.items()
        if there.facts.get(name) != facts[name]
    ]


def _ours(name: str) -> bool:
    """Whether a directory in which nothing has begun may hold this: locks, and what a stop left half written."""
    return name in (LOCK, HOLDER, ROUNDS) or half_written(name)
