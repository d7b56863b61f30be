"""Whether a run that is there can be gone on with: which settings, data or versions are other than they were."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from kvorum.config import FitConfig

# What may change when a run goes on, since it changes no result: where things lie, and how much is asked for.
MAY_CHANGE = frozenset(
    {
        "out",
        "data_root",
        "token_budget",
        "evaluate",
        "epochs",
        "save_minutes",
        "track",
        "trust_remote_code",
        "warm_start",
        "device_map",
        "gradient_checkpointing",
    }
)
IDENTITY = {
    "base_revision": "base model's revision",
    "dtype": "base model's precision",
    "prompt_template": "prompt template",
    "train_digest": "training questions",
    "tokens_digest": "tokenizer",
    "results_version": "version of kvorum's results",
    "start_digest": "posterior that it started from",
}
"""What was found and must be found again for the run to be the same one, and what it is called."""
VERSIONS = ("torch", "transformers", "device")
"""What changes results by no more than rounding."""

RESULTS_VERSION = 1
"""Counts up whenever the same settings give other results than before."""


def identity(config: FitConfig, facts: Mapping[str, Any]) -> str:
    """A digest of all that must not change."""
    settings = {name: value for name, value in config.as_dict().items() if name not in MAY_CHANGE}
    if settings["quantize"] == "off":
        # Runs that are older than this setting did not speak of it.
        del settings["quantize"]
    if _depends_on_epochs(settings):
        settings["epochs"] = config.epochs
    # A start from the prior has no digest, and did not speak of one before there was another.
    found = {name: facts.get(name) for name in IDENTITY if name != "start_digest" or facts.get(name)}
    return hashlib.sha256(json.dumps([settings, found], sort_keys=True, default=str).encode()).hexdigest()


def differing_settings(there: FitConfig, asked: FitConfig) -> list[str]:
    """Why a run with some settings cannot go on with others, a reason each; none where it can."""
    before, now = there.as_dict(), asked.as_dict()
    settings = [name for name in now if name not in MAY_CHANGE and before[name] != now[name]]
    differs = [f"its {name} is {before[name]}, asked for was {now[name]}" for name in settings]
    if now["epochs"] != before["epochs"] and _depends_on_epochs(now):
        differs.append(
            f"its epochs is {before['epochs']}, asked for was {now['epochs']}, and its learning rate depends on that"
        )
    return differs


def differing_facts(there: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """What a run was begun with and is no longer found, a sentence each."""
    return [
        f"{called}: was {_short(there.get(name))}, now {_short(found.get(name))}"
        for name, called in IDENTITY.items()
        # A fact that is younger than the run was not looked at when it was begun.
        if (name in there or name == "start_digest") and there.get(name) != found.get(name)
    ]


def differing_versions(there: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """What may change results by rounding, a phrase each."""
    return [
        f"{name} {there[name]}, now {found.get(name)}"
        for name in VERSIONS
        if name in there and there[name] != found.get(name)
    ]


def _depends_on_epochs(settings: Mapping[str, Any]) -> bool:
    """Whether the learning rate at a step depends on how many there will be."""
    return settings["schedule"] != "constant" or bool(settings["warmup"])


def _short(value: Any) -> str:
    text = str(value) if value not in (None, "") else "unknown"
    return text if len(text) <= 14 else f"{text[:12]!r}..."
