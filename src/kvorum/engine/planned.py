"""A base model without its weights, with modules as they would be held: to plan with where it would not fit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import AutoTokenizer
from transformers.pytorch_utils import Conv1D

from kvorum.adapters.targets import target_of
from kvorum.engine import unpacked
from kvorum.engine.base_model import (
    BaseModel,
    Dtype,
    gguf_weights,
    place_of,
    precision_of,
    skeleton,
    source_of,
)
from kvorum.engine.quantised import Quantize, bytes_held, bytes_to_hold, is_quantised, refuse_mismatch, say_what_is_left
from kvorum.errors import KvorumError, first_line


class LinearInBits(nn.Linear):
    """A linear map whose weight takes so many bytes, and is made of them whenever it is used; of no values."""

    def __init__(self, in_features: int, out_features: int, size: int, bias: Tensor | None, *, whole: bool) -> None:
        nn.Module.__init__(self)
        # bitsandbytes' product in 4 bits makes all of a weight at once.
        self.at_once = in_features * out_features if whole else None
        self.in_features, self.out_features = in_features, out_features
        self.weight = nn.Parameter(torch.empty(size, dtype=torch.uint8, device="meta"), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(torch.empty_like(bias, device="meta"), requires_grad=False)

    def forward(self, input: Float[Tensor, "*token in_"]) -> Float[Tensor, "*token out"]:
        """A result of the right shape."""
        columns, device = self.in_features, input.device

        def rows(_: Sequence[Tensor], part: slice, dtype: torch.dtype) -> Tensor:
            return torch.empty(part.stop - part.start, columns, dtype=dtype, device=device)

        return unpacked.linear(input, [], rows, self.out_features, self.bias, at_once=self.at_once)


def planned_base(
    name: str,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = "off",
    trust_remote_code: bool = False,
) -> BaseModel:
    """What `load_base` would load, on the device `meta`: its configuration and its tokenizer alone are read.

    Neither the device nor the packages that it needs must be there. Raises `KvorumError` where there is no such model.
    """
    refuse_mismatch(Path(name), name, quantize)
    where, source = place_of(device), source_of(name)
    model: Any = skeleton(name, revision=revision, trust_remote_code=trust_remote_code)
    model = model.to(precision_of(dtype, where)).requires_grad_(False).eval()
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "revision": revision}
    try:
        if source.suffix == ".gguf":
            tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
        else:
            tokenizer = AutoTokenizer.from_pretrained(str(source), **options)
    except (OSError, ValueError, KeyError) as error:
        raise KvorumError(f"the tokenizer of model '{name}' could not be loaded: {first_line(error)}") from error
    if quantize == "gguf":
        gguf_weights().put_in_blocks(source, model, model.dtype)
    elif quantize != "off":
        head = model.get_output_embeddings()
        for place, module in list(model.named_modules()):
            if isinstance(module, nn.Linear | Conv1D) and module is not head:
                target = target_of(place, module)
                size = bytes_to_hold(target.out_features, target.in_features, quantize)
                whole = quantize == "4bit"
                own = LinearInBits(target.in_features, target.out_features, size, module.bias, whole=whole)
                model.set_submodule(place, own)
    if quantize != "off":
        say_what_is_left(model, quantize)
    return BaseModel(name, model, tokenizer, "", quantize, where)


def without_values(module: nn.Module) -> nn.Module | None:
    """A stand-in for a quantised linear map; None for any other module."""
    if not isinstance(module, nn.Linear) or not is_quantised(module):
        return None
    if hasattr(module, "kind"):
        return gguf_weights().GgufLinear(module, module.kind)
    whole = module.at_once is not None if isinstance(module, LinearInBits) else type(module).__name__ == "Linear4bit"
    return LinearInBits(module.in_features, module.out_features, bytes_held(module), module.bias, whole=whole)
