"""Which modules of a base model an adapter's configuration means, by PEFT's rules."""

import json
import re
import subprocess
import sys
from collections.abc import Sequence

from kvorum.errors import KvorumError
from kvorum.interchange.adapter_config import AdapterConfig

ALL_LINEAR = "all-linear"
SIMPLE = re.compile(r"[\w.\\^$|-]*")
"""A pattern without repetition, which cannot take long."""
MOST_HERE = 1_000_000
"""Patterns times names that are tried in this process."""
SECONDS = 10.0
"""For patterns with repetition, which are in a process of their own: a few characters can take years."""
PROGRAM = """
import json, re, sys
patterns, names = json.load(sys.stdin)
compiled = [re.compile(pattern) for pattern in patterns]
json.dump([next((i for i, one in enumerate(compiled) if one.fullmatch(name)), None) for name in names], sys.stdout)
"""
LAYER = re.compile(r".*?\.[^.]*\.(?P<index>\d+)\.")


def selected(config: AdapterConfig, modules: Sequence[str], linear: Sequence[str], where: str) -> list[str]:
    """The modules, out of all names of a model's, that get an adapter; `linear` is what `all-linear` stands for.

    Raises `KvorumError` for patterns that are none or take too long.
    """
    file, targets = f"{where}, target_modules", config.target_modules
    excluded = set(_called(config.exclude_modules, modules, f"{where}, exclude_modules"))
    if isinstance(targets, str) and targets.lower() == ALL_LINEAR:
        found = list(linear)
    else:
        found = _called(targets, modules, file)
    if not isinstance(targets, str):
        found = _in_layers(config, found, set(targets), where)
    return [name for name in found if name not in excluded]


def ranks_and_alphas(config: AdapterConfig, modules: Sequence[str], where: str) -> dict[str, tuple[int, float]]:
    """The rank and the alpha of each module, the patterns of the configuration applied."""
    ranks, alphas = config.rank_pattern or {}, config.alpha_pattern or {}
    rank_of = _first_pattern(list(ranks), modules, f"{where}, rank_pattern")
    alpha_of = _first_pattern(list(alphas), modules, f"{where}, alpha_pattern")
    return {
        name: (ranks.get(rank_of.get(name, ""), config.r), alphas.get(alpha_of.get(name, ""), config.lora_alpha))
        for name in modules
    }


def _first_pattern(patterns: list[str], names: Sequence[str], where: str) -> dict[str, str]:
    """By name the first pattern that its end matches."""
    found = _matches([rf"(.*\.)?({pattern})" for pattern in patterns], names, where)
    return {name: patterns[place] for name, place in zip(names, found, strict=True) if place is not None}


def _called(wanted: str | list[str] | None, names: Sequence[str], where: str) -> list[str]:
    """Names that one regular expression matches whole, or that are, or end with, one of a list."""
    if not wanted:
        return []
    if isinstance(wanted, str):
        return [name for name, place in zip(names, _matches([wanted], names, where), strict=True) if place is not None]
    ends = set(wanted)
    return [name for name in names if any(end in ends for end in _ends(name))]


def _ends(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[start:]) for start in range(len(parts))]


def _in_layers(config: AdapterConfig, names: Sequence[str], whole: set[str], where: str) -> list[str]:
    """Those in the layers that are asked for; a module named in full needs no layer."""
    layers = config.layers_to_transform
    if layers is None or layers == []:
        return list(names)
    wanted = {layers} if isinstance(layers, int) else set(layers)
    given = config.layers_pattern or []
    expressions = []
    for pattern in [given] if isinstance(given, str) else given:
        if not re.fullmatch(r"\w[\w.]*", pattern):
            raise KvorumError(f"{where}, layers_pattern: '{pattern[:60]}' is no name of a list of layers")
        expressions.append(re.compile(rf"(?:^|.*?\.){pattern}\.(?P<index>\d+)\."))
    found = []
    for name in names:
        matches = (expression.match(name) for expression in (expressions or [LAYER]))
        match = next((one for one in matches if one is not None), None)
        if name in whole or (match is not None and int(match["index"]) in wanted):
            found.append(name)
    return found


def _matches(patterns: Sequence[str], names: Sequence[str], where: str) -> list[int | None]:
    """By name the place of the first pattern that matches all of it."""
    if not patterns or not names:
        return [None] * len(names)
    simple = all(SIMPLE.fullmatch(pattern.removeprefix(r"(.*\.)?(").removesuffix(")")) for pattern in patterns)
    try:
        if simple and len(patterns) * len(names) <= MOST_HERE:
            compiled = [re.compile(pattern) for pattern in patterns]
            return [next((i for i, one in enumerate(compiled) if one.fullmatch(name)), None) for name in names]
        for pattern in patterns:
            re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise KvorumError(f"{where}: is no regular expression ({error})") from None
    try:
        done = subprocess.run(
            [sys.executable, "-I", "-c", PROGRAM],
            input=json.dumps([list(patterns), list(names)]),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise KvorumError(f"{where}: takes longer than {SECONDS:g} s to hold against the modules' names") from None
    except subprocess.CalledProcessError as error:
        raise KvorumError(f"{where}: cannot be held against the modules' names ({error.stderr[-200:]})") from None
    return json.loads(done.stdout)
