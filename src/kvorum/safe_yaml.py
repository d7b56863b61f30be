"""YAML that somebody else may have written: plain values only, and no more of them than the file has room for."""

from pathlib import Path
from typing import Any

import yaml

from kvorum.errors import KvorumError

LARGEST = 16 * 2**20
"""Bytes in a file of settings; a run that left out ten thousand bad rows has 2 MB."""
MOST_VALUES = 1_000_000
"""Values in it, each counted as often as an alias repeats it: a few lines can spell out billions."""
DEEPEST = 50
"""How far values may lie within each other."""

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_yaml(path: Path) -> Any:
    """The value in a YAML file.

    Raises `KvorumError`, with the line where there is one, for what is missing, too large, no YAML, or more than plain
    values.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise KvorumError(f"{path}: is {size:,} bytes long; a file of settings has at most {LARGEST:,}")
        loader = LOADER(path.read_bytes())
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _count(node, path, {}, 1)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except OSError as error:
        raise KvorumError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError as error:
        raise KvorumError(f"{path}: is no text in UTF-8 (byte {error.start})") from None
    except yaml.YAMLError as error:
        raise KvorumError(f"{path}: is not valid YAML: {_on_one_line(error)}") from None
    except KvorumError:
        raise
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        # PyYAML lets through what a date, a number or a binary text makes of a value that is none.
        raise KvorumError(f"{path}: holds a value that cannot be read ({error})") from None


def _count(node: yaml.Node, path: Path, counted: dict[int, int | None], depth: int) -> int:
    """How many values a node stands for, aliases spelled out."""
    line = node.start_mark.line + 1
    if id(node) in counted:
        known = counted[id(node)]
        if known is None:
            raise KvorumError(f"{path}, line {line}: a value holds itself")
        return known
    if depth > DEEPEST:
        raise KvorumError(f"{path}, line {line}: values lie more than {DEEPEST} deep within each other")
    counted[id(node)] = None
    total = 1
    if isinstance(node, yaml.SequenceNode):
        children = list(node.value)
    elif isinstance(node, yaml.MappingNode):
        children = [child for pair in node.value for child in pair]
    else:
        children = []
    for child in children:
        total += _count(child, path, counted, depth + 1)
        if total > MOST_VALUES:
            raise KvorumError(f"{path}, line {line}: spells out more than {MOST_VALUES:,} values")
    counted[id(node)] = total
    return total


def _on_one_line(error: yaml.YAMLError) -> str:
    return " ".join(str(error).split())
