"""What an experiment did, in words: the lead of its page, the essentials, every setting and what was found."""

from kvorum.report.learning.analyse import Learning
from kvorum.report.learning.chosen import PoolPart
from kvorum.report.ran import flat
from kvorum.report.words import count


def lead(learning: Learning) -> str:
    """What was done, in a few sentences."""
    config = learning.config
    names = _listed([function.name for function in learning.functions])
    tests = _listed([f"{test.task} ({count(test.questions, 'question')})" for test in learning.tests])
    start = "the untouched model" if config.start == "prior" else "where the round before ended"
    pool = _listed(
        [f"{part.part} ({_size(learning, part)}{', noise' if part.noise else ''})" for part in learning.parts]
    )
    return (
        f"{count(config.members, 'member')} on {config.fit.model}, fitted on {config.initial:,} questions drawn by lot "
        f"from a pool of {pool} and then, in {count(config.rounds, 'round')}, on {config.batch:,} more that {names} "
        f"chose, each for itself; every fit from {start}. Repeated with {count(learning.seeds, 'seed')}. Every round "
        f"is scored on {tests}."
    )


def essentials(learning: Learning) -> list[tuple[str, str]]:
    """What one asks first about an experiment."""
    config, facts, fit = learning.config, learning.facts, learning.config.fit
    versions = [f"{name} {facts[name]}" for name in ("kvorum", "torch", "transformers") if name in facts]
    done = [f"{function.name}: {function.rounds} of {config.rounds}" for function in learning.functions]
    pool = [
        f"{part.part}{' (noise)' if part.noise else ''}: {_size(learning, part)}"
        + (f", limit {of.limit:,}" if of.limit is not None else "")
        for part, of in zip(learning.parts, config.pool, strict=True)
    ]
    tests = [
        f"{test.task}: {count(test.questions, 'question')}"
        + (f", {test.known:,} with a known answer" if test.known != test.questions else "")
        for test in learning.tests
    ]
    return [
        ("base model", fit.model),
        ("revision of the base model", str(facts.get("base_revision") or "–")[:12]),
        ("pool", "\n".join(pool)),
        ("tested on", "\n".join(tests)),
        ("members", str(config.members)),
        ("seeds", ", ".join(map(str, config.seeds))),
        ("labels", f"{config.initial:,} at the start, {config.batch:,} a round"),
        ("rounds done", "\n".join(done)),
        ("members start from", "the untouched model" if config.start == "prior" else "the round before"),
        ("fitting", f"{count(fit.epochs, 'epoch')}, batches of {fit.batch_size}, learning rate {fit.lr:g}"),
        ("answer format", fit.answer_format),
        ("versions", "\n".join(versions) or "–"),
    ]


def settings(learning: Learning) -> list[tuple[str, str]]:
    """Every setting and every fact."""
    asked = learning.config.as_dict()
    parts = {f"pool {part['task']}": {"limit": part["limit"], "labels": part["labels"]} for part in asked.pop("pool")}
    found = {**flat(asked), **flat(parts), **{f"found: {name}": said for name, said in flat(learning.facts).items()}}
    return [(name.replace("_", " "), said) for name, said in found.items()]


def _size(learning: Learning, part: PoolPart) -> str:
    """Of a part; where that was not noted and only some are scored, how many of those."""
    noted = learning.facts.get("pool_questions", {})
    if isinstance(noted, dict) and isinstance(noted.get(part.part), int):
        return count(noted[part.part], "question")
    if learning.config.candidates is not None:
        return f"{part.questions:,.0f} scored after the start"
    return count(round(part.questions + part.drawn), "question")


def _listed(words: list[str]) -> str:
    *before, last = words
    return f"{', '.join(before)} and {last}" if before else last
