"""What a fit would do, in words and numbers, and one whole prompt with its tokens."""

from collections.abc import Mapping, Sequence

from kvorum.posterior.job import Job

GIB = 2**30


def describe(job: Job, more: Sequence[tuple[str, str]] = (), *, out: str | None = None) -> str:
    """The model, questions, steps, tokens and memory of a fit, and its first question as the model reads it.

    `more`: further rows, each what it is about and what is said of it; `out`: the run directory, if it is no path.
    """
    config, memory, each = job.config, job.memory_estimate(), job.parameters_per_member
    rows = [
        ("base model", f"{job.base.name}, {job.base.parameters:,} parameters, on {job.base.device}"),
        ("held", f"{how_held(job)}, about {job.base.bytes / GIB:.1f} GiB"),
        (
            "adapters",
            f"{config.members} members x {each:,} = {config.members * each:,} trainable parameters on "
            f"{len(job.targets)} modules, rank {config.rank}, alpha {config.alpha:g}",
        ),
        ("prior", f"{config.prior}, l2 {config.l2:g}" if config.prior != "none" else "none"),
        ("fitted on", f"{job.task.name} ({job.task.source}), {job.task.train_split}: {len(job.train):,} questions"),
        *(("scored on", f"{t.name} ({t.source}), {t.test_split}: {len(t.test):,} questions") for t in job.evaluation),
        (
            "steps",
            f"{config.epochs} epochs x {job.steps_per_epoch:,} = {config.epochs * job.steps_per_epoch:,} steps of "
            f"{config.batch_size} questions a member",
        ),
        (
            "tokens",
            f"{job.tokens_per_epoch:,} an epoch over all members, none of them padding; at most "
            f"{job.token_budget:,} a pass",
        ),
        ("memory", told(memory, 1)),
        *more,
        ("run directory", out or str(job.out)),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join([*(f"{name:<{width}}  {value}" for name, value in rows), "", *_prompt(job)])


def told(memory: Mapping[str, int], digits: int) -> str:
    """What a `Job.memory_estimate` comes to, and of what, in GiB."""
    total, parts = sum(memory.values()) / GIB, [f"{name} {size / GIB:.2f}" for name, size in memory.items()]
    if "activations" not in memory:
        return f"more than {total:.{digits}f} GiB: {', '.join([*parts, 'activations unknown'])}"
    return f"about {total:.{digits}f} GiB: {', '.join(parts)}"


def how_held(job: Job) -> str:
    """The precision or the bits of the base model's linear maps, and where they are."""
    precision = str(job.base.model.dtype).removeprefix("torch.")
    held = precision if job.base.quantize == "off" else f"{job.base.quantize}, all else {precision}"
    return held if job.config.device_map == "off" else f"{held}, spread over the devices of the machine"


def _prompt(job: Job) -> list[str]:
    """The first training question: its text, then its tokens, scored ones in double brackets."""
    question, encoded = job.train[0], job.encoded[0]
    lines = [f"the first question ({question.id}), {job.prompt.answer_format} format:", ""]
    lines += [f"  {line}" for line in job.base.tokenizer.decode(encoded.prompt).split("\n")]
    tokens = " ".join(_shown(job, token) for token in encoded.prompt)
    lines += ["", f"its {len(encoded.prompt)} prompt tokens:", f"  {tokens}", ""]
    lines.append("and after it, the candidates; [[tokens]] are scored, each from the position before it:")
    for number, candidate in enumerate(encoded.candidates):
        mark = "right" if number == encoded.answer else "     "
        lines.append(f"  {mark}  {' '.join(f'[[{_shown(job, token)}]]' for token in candidate)}")
    return lines


def _shown(job: Job, token: int) -> str:
    return f"{job.base.tokenizer.decode([token])!r}:{token}"
