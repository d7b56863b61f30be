"""Groups of members, each fitted in a run directory of its own, made one run; and a run taken apart into groups."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kvorum.adapters import AdapterStack
from kvorum.errors import KvorumError
from kvorum.files import atomic, make_folder
from kvorum.posterior.optimizer import joined_states, state_of
from kvorum.posterior.saving import load_moments, save_moments
from kvorum.predictions import Predictions
from kvorum.run import Point, Run, differing_settings
from kvorum.run.directory import GROUPS, LOG
from kvorum.run.drift import differing_facts

OVER_MEMBERS = ("loss", "nll", "penalty", "gradient_norm")
"""What a line of the log has of each member."""

log = logging.getLogger(__name__)


def join(whole: Run, groups: Sequence[Run], tasks: Sequence[str]) -> None:
    """Count into a run the adapters, optimizer, log and predictions of all its members, which groups have fitted.

    All of it is there at once or, where this is cut short, nothing. What the run holds already stays as it is.

    Raises `KvorumError` where all members diverged, or the groups are not of one fit, to the same epoch.
    """
    refuse_apart(groups)
    last = {group.newest_epoch for group in groups}
    if len(last) > 1:
        raise KvorumError(f"{whole.path}: its groups are fitted to different epochs, {sorted(last)}")
    new: list[Path] = []
    for epoch in range(last.pop() + 1):
        stacks = [AdapterStack.load(group.checked(group.adapters_file(epoch))) for group in groups]
        stack = AdapterStack.joined(stacks)
        if not stack.active:
            raise KvorumError(
                f"every member diverged by epoch {epoch} (loss or gradient not finite); lower --lr (it is "
                f"{whole.config.lr}), or clip gradients with --clip"
            )
        if not whole.holds(whole.adapters_file(epoch)):
            new.append(_made(whole.adapters_file(epoch)))
            with atomic(new[-1]) as temporary:
                stack.save(
                    temporary, epoch=epoch, base_revision=whole.facts["base_revision"], model=whole.facts["model"]
                )
        for task in tasks:
            predictions = _predictions(groups, stack, epoch, task)
            if not whole.scored(epoch, task):
                new.append(_made(whole.predictions_file(epoch, task)))
                predictions.save(new[-1])
            elif whole.questions_digest(epoch, task) != predictions.questions_digest():
                whole.save_predictions(epoch, task, predictions)
    point = Point(groups[0].newest_epoch)
    if point != (0, 0) and not whole.holds(whole.optimizer_file(*point)):
        new.append(_made(whole.optimizer_file(*point)))
        with atomic(new[-1]) as temporary:
            save_moments(joined_states([load_moments(group, point) for group in groups]), temporary)
    if point != (0, 0):
        new.append(_join_logs(whole, groups))
    older = [other for other in whole.points if other < point]
    drop = [file for other in older for file in (whole.files_of(other) if other.step else whole.files_of(other)[1:])]
    whole.keep(*new, drop=drop)
    for task in tasks:
        for epoch in whole.epochs:
            whole.numbers(epoch, task)


def refuse_apart(groups: Sequence[Run]) -> None:
    """Raise `KvorumError` where groups were fitted with other settings, on another base model or other data."""
    first = groups[0]
    for other in groups[1:]:
        if differs := differing_settings(first.config, other.config) or differing_facts(first.facts, other.facts):
            raise KvorumError(
                f"groups {first.path.name} and {other.path.name} are not of one fit: {'; '.join(differs)}; put the "
                "same base model on every machine, and remove the group that is of another fit from the folder "
                f"{GROUPS}: the same command fits it anew"
            )


def split(whole: Run, part: Run, members: Sequence[int]) -> None:
    """Give a group what a run holds of its members, so that the group goes on from there."""
    new: list[Path] = []
    rows: list[int] = []
    for point in sorted({*map(Point, whole.epochs), *whole.points}):
        stack = AdapterStack.load(whole.checked(whole.adapters_file(*point)))
        rows = [stack.members.index(member) for member in members]
        new.append(_made(part.adapters_file(*point)))
        with atomic(new[-1]) as temporary:
            stack.select(rows).save(
                temporary, epoch=point.epoch, base_revision=whole.facts["base_revision"], model=whole.facts["model"]
            )
        if point != (0, 0) and point in whole.points:
            new.append(_made(part.optimizer_file(*point)))
            with atomic(new[-1]) as temporary:
                save_moments(state_of(load_moments(whole, point), rows), temporary)
    for epoch, task in sorted(whole.scores()):
        predictions = whole.predictions(epoch, task)
        voices = [row for row, member in enumerate(predictions.facts["members"]) if member in members]
        if voices:
            new.append(_made(part.predictions_file(epoch, task)))
            mine = predictions.select(members=voices)
            mine.facts["diverged"] = {
                member: why for member, why in mine.facts["diverged"].items() if int(member) in members
            }
            mine.save(new[-1])
    if whole.log:
        lines = [line | {name: [line[name][row] for row in rows] for name in OVER_MEMBERS} for line in whole.log]
        new.append(part.path / LOG)
        _write_log(new[-1], lines)
    part.keep(*new)


def _predictions(groups: Sequence[Run], stack: AdapterStack, epoch: int, task: str) -> Predictions:
    """Of all members that can answer."""
    found = [group.predictions(epoch, task) for group in groups if group.scored(epoch, task)]
    if not found:
        raise KvorumError(f"no member's probabilities on {task} are finite at epoch {epoch}; fit with a lower --lr")
    if len({one.questions_digest() for one in found}) > 1:
        raise KvorumError(f"groups are scored on different questions of {task} at epoch {epoch}")
    members = [member for one in found for member in one.facts["members"]]
    diverged = {str(member): why for member, why in stack.diverged.items()}
    diverged |= {member: why for one in found for member, why in one.facts["diverged"].items()}
    for member in stack.members:
        if member not in members:
            diverged.setdefault(str(member), "its predictions are not finite")
    first = found[0]
    return Predictions(
        probs=np.concatenate([one.probs for one in found]),
        rest=np.concatenate([one.rest for one in found]),
        answers=first.answers,
        ids=first.ids,
        subjects=first.subjects,
        questions=first.questions,
        choices=first.choices,
        facts=first.facts | {"members": members, "diverged": diverged},
    )


def _join_logs(whole: Run, groups: Sequence[Run]) -> Path:
    """The log of all members, on the disk; lines that are there already stay."""
    kept = whole.log
    behind = (kept[-1]["epoch"], kept[-1]["step"]) if kept else (0, -1)
    lines = list(kept)
    # A group that was once asked for more may be within the next epoch.
    logs = [[line for line in group.log if line["epoch"] <= group.newest_epoch] for group in groups]
    if len({len(one) for one in logs}) > 1:
        steps = ", ".join(f"{group.path.name} {len(one)}" for group, one in zip(groups, logs, strict=True))
        raise KvorumError(f"{whole.path}: the logs of its groups are of different numbers of steps: {steps}")
    for together in zip(*logs, strict=True):
        places = {(line["epoch"], line["step"]) for line in together}
        if len(places) > 1:
            raise KvorumError(f"{whole.path}: the logs of its groups are of different steps, {sorted(places)}")
        if places.pop() > behind:
            each: dict[str, Any] = {name: [one for line in together for one in line[name]] for name in OVER_MEMBERS}
            lines.append(together[0] | {"tokens": sum(line["tokens"] for line in together)} | each)
    _write_log(whole.path / LOG, lines)
    return whole.path / LOG


def _write_log(file: Path, lines: Sequence[dict[str, Any]]) -> None:
    with atomic(file) as temporary:
        temporary.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def _made(file: Path) -> Path:
    make_folder(file.parent)
    return file
