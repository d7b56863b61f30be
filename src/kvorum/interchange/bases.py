"""Whether adapters are of one base model, and of the one that they are put on."""

import logging
from collections.abc import Sequence

from kvorum.engine import BaseModel
from kvorum.errors import KvorumError
from kvorum.interchange import ensemble
from kvorum.interchange.adapter_config import AdapterConfig
from kvorum.interchange.ensemble import HUB_NAMES
from kvorum.interchange.sources import Source

log = logging.getLogger(__name__)


def refuse_other_bases(sources: Sequence[Source], configs: Sequence[AdapterConfig], *, given: bool) -> None:
    """Raise `KvorumError` for adapters of different base models: by the last part of their names, and revisions.

    What kvorum.json says beside them counts unless the base model is `given`.
    """
    names, revisions, exact = [], [], []
    for source, config in zip(sources, configs, strict=True):
        said, where = source.ensemble, f"{source.name} (by {ensemble.NAME})"
        if said is not None and not given:
            names.append((where, said.base_for_others))
            exact.append((where, said.base_revision))
        names.append((source.name, config.base_model_name_or_path))
        revisions.append((source.name, config.revision))
    named = [(who, name) for who, name in names if name]
    for who, name in named[1:]:
        first, of_first = named[0]
        if _last(of_first) != _last(name):
            raise KvorumError(
                f"{who}: is of the base model '{short(name)}', {first} of '{short(of_first)}'; an ensemble has one"
            )
    # A commit of the hub, which PEFT records, is not to be held against the fingerprint of weights in a folder.
    for kind in (revisions, exact):
        pinned = [(who, revision) for who, revision in kind if revision]
        for who, revision in pinned[1:]:
            first, of_first = pinned[0]
            if revision != of_first:
                raise KvorumError(
                    f"{who}: is of revision {short(revision)} of the base model, {first} of {short(of_first)}; an "
                    f"ensemble has one{'; say which to use with base' if kind is exact else ''}"
                )


def say_if_other(given: str, named: str | None) -> None:
    """Warn where the adapters name another base model than the one that is given."""
    if named and _last(HUB_NAMES.get(given, given)) != _last(named):
        log.warning("the adapters name the base model '%s'; they are put on '%s'", short(named), given)


def say_if_not_the_very_one(base: BaseModel, sources: Sequence[Source]) -> None:
    """Warn of every exported ensemble that was fitted on another base model than this, or on other weights of it."""
    seen = set()
    for source in sources:
        said = source.ensemble
        if said is None or (said.model, said.base_revision, said.quantize) in seen:
            continue
        seen.add((said.model, said.base_revision, said.quantize))
        if said.quantize != base.quantize:
            log.warning(
                "%s was fitted on the base model with quantize %s, and is put on it with quantize %s, so answers may "
                "differ",
                source.name,
                said.quantize,
                base.quantize,
            )
        name = said.base_for_others
        other_name = name is not None and _last(HUB_NAMES.get(base.name, base.name)) != _last(name)
        if said.base_revision != base.revision if said.base_revision else other_name:
            log.warning(
                "the base model is not the very one that %s was fitted on (%s of %s), so answers may differ",
                source.name,
                said.base_revision[:12] if said.base_revision else "no revision",
                short(said.model or "an unnamed model"),
            )


def short(value: object) -> str:
    """A stranger's text, cut to what a message can hold."""
    text = str(value)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _last(name: str) -> str:
    return name.rstrip("/\\").replace("\\", "/").rpartition("/")[2].lower()
