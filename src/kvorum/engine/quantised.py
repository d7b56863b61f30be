"""Base models held in fewer bits: what may be asked for, how transformers is told, and what becomes of it."""

import functools
import importlib.util
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers import BitsAndBytesConfig

from kvorum.engine import unpacked
from kvorum.errors import KvorumError

Quantize = Literal["off", "4bit", "8bit", "gguf"]
DeviceMap = Literal["off", "auto"]

log = logging.getLogger(__name__)

EXTRA = "pip install 'kvorum[quantized]'"
BLOCK, BLOCKS = 64, 256
"""Numbers that share a scale in 4 bits, and scales that share one of their own."""


def refuse_mismatch(source: Path, name: str, quantize: Quantize) -> None:
    """Raise `KvorumError` where a model cannot be held so."""
    is_gguf = source.suffix == ".gguf"
    if quantize == "gguf" and not is_gguf:
        raise KvorumError(
            f"quantize gguf keeps what a .gguf file holds, and '{name}' is none; name such a file, or say --quantize "
            "4bit or 8bit"
        )
    if quantize in ("4bit", "8bit") and is_gguf:
        raise KvorumError(
            f"quantize {quantize}: {source.name} is quantised already, and would be rounded twice; say --quantize gguf "
            "to keep it as it is"
        )


def refuse_missing(quantize: Quantize, device_map: DeviceMap) -> None:
    """Raise `KvorumError` where a package is not there that is needed."""
    needed = [("bitsandbytes", quantize in ("4bit", "8bit")), ("accelerate", quantize != "off" or device_map != "off")]
    what = f"quantize {quantize}" if quantize != "off" else f"device_map {device_map}"
    for package, wanted in needed:
        if wanted and importlib.util.find_spec(package) is None:
            raise KvorumError(f"{what} needs the package {package}; {EXTRA}")


def told(quantize: Quantize, precision: torch.dtype) -> dict[str, Any]:
    """What `from_pretrained` is told."""
    if quantize == "4bit":
        # As in QLoRA, Dettmers et al., arXiv 2305.14314.
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=precision,
        )
    elif quantize == "8bit":
        config = BitsAndBytesConfig(load_in_8bit=True)
    else:
        return {}
    return {"quantization_config": config}


def settle(model: nn.Module) -> None:
    """Let a model's quantised linear maps compute for fitting as for scoring, and each token by itself.

    bitsandbytes' own product in 8 bits rounds the inputs too, and spares columns that are large in any token of a pass:
    members that share one would influence each other. Here the weight is made of its 8 bits and the inputs stay. In 4
    bits it would lay the weight out anew for scoring on some CPUs, in a way that no gradient goes back through.
    """
    for module in model.modules():
        kind = type(module).__name__
        if kind == "Linear8bitLt":
            # Where accelerate has put a hook on a module, it calls this one.
            own = "_old_forward" if hasattr(module, "_hf_hook") else "forward"
            setattr(module, own, functools.partial(_in_8_bits, module))
        elif kind == "Linear4bit":
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010 -- nn.Module declares it no plain value


def _in_8_bits(module: Any, x: Tensor) -> Tensor:
    return unpacked.linear(x, [module.weight.data, module.weight.SCB], _rows, module.out_features, module.bias)


def _rows(held: Sequence[Tensor], part: slice, dtype: torch.dtype) -> Tensor:
    weight, scales = (x[part] for x in held)
    return weight.to(dtype).mul_((scales / 127).to(dtype)[:, None])


def is_quantised(module: nn.Module) -> bool:
    """Whether a module's weight is held in fewer bits."""
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and not weight.is_floating_point()


def say_what_is_left(model: nn.Module, quantize: Quantize) -> None:
    """Warn where most of a model's numbers stay as they are: a mixture's experts are no linear maps to transformers."""
    whole = {name: p.numel() for name, p in model.named_parameters() if p.is_floating_point() and p.ndim > 2}
    fewer = sum(numbers(module) for module in model.modules() if is_quantised(module))
    if sum(whole.values()) > fewer:
        log.warning(
            "quantize %s leaves %d stacked parameters at full size, such as %s: they are %s numbers, what is held in "
            "fewer bits is %s; where that does not fit, leave quantize off and say device_map auto",
            quantize,
            len(whole),
            next(iter(whole)),
            f"{sum(whole.values()):,}",
            f"{fewer:,}",
        )


def numbers(module: nn.Module) -> int:
    """How many numbers a module's own weights stand for, in however many bits they are held."""
    count = 0
    for name, parameter in module.named_parameters(recurse=False):
        if name == "weight" and isinstance(module, nn.Linear):
            count += module.in_features * module.out_features
        elif name == "weight" and isinstance(module, nn.Embedding):
            count += module.num_embeddings * module.embedding_dim
        else:
            count += parameter.numel()
    return count


def bytes_held(module: nn.Module) -> int:
    """What a module's own weights take, with their scales."""
    size = 0
    for parameter in module.parameters(recurse=False):
        size += parameter.numel() * parameter.element_size()
        state: Any = getattr(parameter, "quant_state", None)
        for scale in (getattr(parameter, "SCB", None), *_scales(state)):
            size += scale.numel() * scale.element_size() if isinstance(scale, Tensor) else 0
    return size


def _scales(state: Any) -> tuple[Any, ...]:
    if state is None:
        return ()
    # The tables of the values that the bits stand for are one for all.
    inner = getattr(state, "state2", None)
    return (state.absmax, *(() if inner is None else (inner.absmax,)))


def bytes_to_hold(rows: int, columns: int, quantize: Quantize) -> int:
    """What a linear map's weight takes in 4 or 8 bits, with its scales."""
    if quantize == "8bit":
        return rows * columns + 4 * rows
    scales = -(-rows * columns // BLOCK)
    return -(-rows * columns // 2) + scales + 4 * -(-scales // BLOCKS)
