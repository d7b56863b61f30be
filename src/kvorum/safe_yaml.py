"""YAML that somebody else may have written: plain values only, and no more of them than the file has room for."""

import json
import math
from pathlib import Path
from typing import Any

import yaml

from kvorum.bounded import read_bounded
from kvorum.errors import KvorumError

LARGEST = 16 * 2**20
"""Bytes in a file of settings; a run that left out ten thousand bad rows has 2 MB."""
MOST_VALUES = 200_000
"""Values in it, each counted as often as an alias repeats it: a few lines can spell out billions."""
MOST_TEXT = 2 * LARGEST
"""Characters of all values, counted like them."""
DEEPEST = 50
"""How far values may lie within each other."""
LONGEST_NUMBER = 40
"""Characters of a number."""

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_yaml(path: Path) -> Any:
    """The value in a YAML file: texts, numbers, truth values, nulls, and lists and mappings of them.

    Raises `KvorumError`, with the line where there is one, for what is missing, too large, no YAML, or anything else.
    """
    try:
        content = read_bounded(path, LARGEST)
        # As events first, of which none is kept.
        for number, _ in enumerate(yaml.parse(content, Loader=LOADER)):
            if number > MOST_VALUES:
                raise KvorumError(f"{path}: holds more than {MOST_VALUES:,} values")
        loader = LOADER(content)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _count(node, path, {}, 1)
            value = loader.construct_document(node)
        finally:
            loader.dispose()
    except OSError as error:
        raise KvorumError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise KvorumError(f"{path}: is no text in UTF-8 (byte {error.start})") from None
    except yaml.YAMLError as error:
        raise KvorumError(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from None
    except KvorumError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        # PyYAML lets through what a date, a number or a binary text makes of a value that is none.
        raise KvorumError(f"{path}: holds a value that cannot be read ({error})") from None
    _refuse_strange(value, path)
    return value


def _count(node: yaml.Node, path: Path, counted: dict[int, tuple[int, int] | None], depth: int) -> tuple[int, int]:
    """How many values a node stands for, and how many characters, aliases spelled out."""
    line = node.start_mark.line + 1
    if id(node) in counted:
        known = counted[id(node)]
        if known is None:
            raise KvorumError(f"{path}, line {line}: a value holds itself")
        return known
    if depth > DEEPEST:
        raise KvorumError(f"{path}, line {line}: values lie more than {DEEPEST} deep within each other")
    counted[id(node)] = None
    values, characters = 1, 0
    for child in _children(node, path, line):
        more = _count(child, path, counted, depth + 1)
        values, characters = values + more[0], characters + more[1]
        if values > MOST_VALUES or characters > MOST_TEXT:
            raise KvorumError(
                f"{path}, line {line}: spells out more than {MOST_VALUES:,} values or {MOST_TEXT:,} characters"
            )
    if isinstance(node, yaml.ScalarNode):
        characters = len(node.value)
        if node.tag.endswith((":int", ":float")) and (characters > LONGEST_NUMBER or ":" in node.value):
            raise KvorumError(f"{path}, line {line}: '{node.value[:40]}' is no number that is read; quote a text")
    counted[id(node)] = values, characters
    return values, characters


def _children(node: yaml.Node, path: Path, line: int) -> list[yaml.Node]:
    if isinstance(node, yaml.SequenceNode):
        return list(node.value)
    if not isinstance(node, yaml.MappingNode):
        return []
    names: set[str] = set()
    for key, _ in node.value:
        merges = key.tag == "tag:yaml.org,2002:merge"
        if not isinstance(key, yaml.ScalarNode) or not (merges or key.tag == "tag:yaml.org,2002:str"):
            raise KvorumError(f"{path}, line {line}: a name is '{str(key.value)[:40]}', which is no text; quote it")
        if key.value in names and not merges:
            raise KvorumError(f"{path}, line {key.start_mark.line + 1}: '{key.value[:40]}' is there twice")
        names.add(key.value)
    return [child for pair in node.value for child in pair]


def _refuse_strange(value: Any, path: Path) -> None:
    if isinstance(value, dict):
        for inner in value.values():
            _refuse_strange(inner, path)
    elif isinstance(value, list):
        for inner in value:
            _refuse_strange(inner, path)
    elif isinstance(value, float) and not math.isfinite(value):
        raise KvorumError(f"{path}: holds {value}; numbers are finite")
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise KvorumError(f"{path}: holds {str(value)[:40]}, which is more than 64 bits")
    elif not (value is None or isinstance(value, str | int | float)):
        raise KvorumError(f"{path}: holds {str(value)[:40]!r}, a {type(value).__name__}; quote it to give a text")


def as_yaml(content: Any) -> str:
    """A value of anything that JSON can hold as YAML that reads as the same."""
    plain = json.loads(json.dumps(content))
    text = yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)
    if yaml.safe_load(text) != plain:
        # Some characters, such as U+0085, do not survive as they are.
        text = yaml.safe_dump(plain, sort_keys=False)
    return text
