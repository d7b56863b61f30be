"""What was run: the essentials in words, and every setting and fact."""

from collections.abc import Mapping, Sequence
from typing import Any

from kvorum.report.evaluations import Evaluation, by_task
from kvorum.report.glance import left_out
from kvorum.report.words import count
from kvorum.run import Run


def task_of(run: Run) -> str:
    """The name of the task fitted on."""
    return str(run.facts.get("task", run.config.task))


def essentials(run: Run, evaluations: Sequence[Evaluation]) -> list[tuple[str, str]]:
    """What one asks first about a run."""
    config, facts = run.config, run.facts
    tasks = [task[-1] for task in by_task(evaluations)]
    gone = left_out(evaluations)
    fitted = f" ({count(facts['train_questions'], 'question')})" if "train_questions" in facts else ""
    versions = [f"{name} {facts[name]}" for name in ("kvorum", "torch", "transformers") if name in facts]
    imported = facts.get("imported", [])
    return [
        ("base model", config.model),
        ("revision of the base model", str(facts.get("base_revision") or "–")[:12]),
        ("said to be fitted on" if imported else "fitted on", f"{task_of(run)}{fitted}"),
        (
            "evaluated on",
            "\n".join(f"{each.task} ({count(len(each.predictions), 'question')})" for each in tasks) or "–",
        ),
        ("members", str(config.members)),
        ("members left out", "\n".join(gone) or "none"),
        ("adapter", f"rank {config.rank}, alpha {config.alpha:g}, {', '.join(config.targets)}"),
        *([("imported from", "\n".join(imported))] if imported else _fitting(run)),
        *_goes_on(run),
        ("answer format", config.answer_format),
        ("versions", "\n".join(versions) or "–"),
        *((("gone on with otherwise", "\n".join(drifts)),) if (drifts := drifts_of(run)) else ()),
    ]


def _goes_on(run: Run) -> list[tuple[str, str]]:
    """The posterior that it started from, if that is not the untouched model."""
    if run.config.warm_start is None:
        return []
    epoch = run.facts.get("warm_start_epoch")
    return [("goes on from", f"{run.config.warm_start}, epoch {epoch}; epoch 0 is that, not the untouched model")]


def _fitting(run: Run) -> list[tuple[str, str]]:
    """How it was fitted; of adapters that were fitted elsewhere nothing is known."""
    config = run.config
    return [
        ("prior", config.prior if config.prior == "none" else f"{config.prior}, l2 {config.l2:g}"),
        ("fitting", f"{count(config.epochs, 'epoch')}, batches of {config.batch_size}, learning rate {config.lr:g}"),
        ("seed", str(config.seed)),
    ]


def drifts_of(run: Run) -> list[str]:
    """A sentence a time when the run was gone on with although something was other than before."""
    return [
        f"after {drift['after']} ({drift['at'][:10]}): {'; '.join([*drift['differs'], *drift.get('rounding', [])])}"
        for drift in run.facts.get("drift", [])
    ] + ([f"lost for good: {', '.join(run.facts['lost'])}"] if _lost(run) else [])


def _lost(run: Run) -> bool:
    """Whether something that was there is gone; an imported run never had its optimizer and log."""
    return bool(run.facts.get("lost")) and not run.facts.get("imported")


def settings(run: Run) -> list[tuple[str, str]]:
    """Every setting and every fact but the prompt's template and what drifted, which stand for themselves."""
    facts = {name: value for name, value in run.facts.items() if name not in ("prompt_template", "drift", "lost")}
    found = {**flat(run.config.as_dict()), **{f"found: {name}": value for name, value in flat(facts).items()}}
    return [(name.replace("_", " "), value) for name, value in found.items()]


def flat(values: Mapping[str, Any], above: str = "") -> dict[str, str]:
    """Nested mappings as one, names joined by a blank; lists and tuples as words."""
    found: dict[str, str] = {}
    for key, value in values.items():
        name = f"{above}{key}"
        if isinstance(value, Mapping):
            found |= flat(value, f"{name} ")
        else:
            found[name] = in_words(value)
    return found


def in_words(value: Any) -> str:
    """A setting's value or a fact as one reads it; a dash for nothing."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(in_words, value)) or "–"
    return f"{value:,}" if isinstance(value, int) else str(value)
