"""A safetensors file of ours: tensors by name, and what is said of them as JSON in its header."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from kvorum.errors import KvorumError

KEY = "kvorum"


def save_tensors(tensors: Mapping[str, Tensor], path: str | Path, header: Mapping[str, Any]) -> None:
    """Write tensors and a header that JSON can hold.

    Raises OSError, as other writers do, where the disk does not take them.
    """
    write_safetensors(tensors, path, {KEY: json.dumps(header)})


def write_safetensors(tensors: Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str]) -> None:
    """Write tensors and the file's own metadata, texts by name.

    Raises OSError where the disk does not take them.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        save_file(plain, str(path), metadata=dict(metadata))
    except SafetensorError as error:
        if code := re.search(r"os error (\d+)", str(error)):
            raise OSError(int(code[1]), os.strerror(int(code[1])), str(path)) from error
        raise


def load_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_tensors` wrote: the tensors, and the header.

    Raises `KvorumError` for a file that is missing, damaged or something else.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            header = json.loads((file.metadata() or {})[KEY])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 -- it is no dict
    except FileNotFoundError:
        raise KvorumError(f"{path}: no such file") from None
    except (SafetensorError, LookupError, ValueError, TypeError, RecursionError, OSError) as error:
        raise KvorumError(f"{path}: is no file of tensors that kvorum wrote, or is damaged ({error})") from error
    if not isinstance(header, dict):
        raise KvorumError(f"{path}: its header holds a {type(header).__name__}, expected names and values")
    return tensors, header
