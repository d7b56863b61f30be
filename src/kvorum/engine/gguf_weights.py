"""Weights that stay as a GGUF file has them, in blocks of a few bits.

transformers reads the file and says which weights may stay as they are. It would compute with them through kernels from
the hub, without which, and while fitting, it makes them whole; here each is made of its blocks whenever it is used.

Imported only where it is wanted: an older transformers has none of what it builds on.
"""

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import modeling_gguf_pytorch_utils as reading
from transformers.integrations.gguf.dequant import GGML_BLOCK, dequantize, row_bytes
from transformers.integrations.gguf.reader import GgufHeader, load_gguf_state_dict
from transformers.quantizers import auto
from transformers.quantizers.quantizer_gguf import GgufHfQuantizer

from kvorum.engine import unpacked
from kvorum.errors import KvorumError

BY_ROWS = (
    reading.TensorProcessor,
    reading.LlamaTensorProcessor,
    reading.Gemma2TensorProcessor,
    reading.NemotronTensorProcessor,
)
"""What transformers does to the weights of a file, where it moves whole rows of linear maps and no more."""
KEPT = (nn.Linear, nn.Embedding)


class GgufLinear(nn.Linear):
    """A linear map with its weight in blocks: rows of bytes."""

    def __init__(self, before: nn.Linear, kind: int) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.kind = before.in_features, before.out_features, kind
        self.weight = _blocks(self.out_features, self.in_features, kind)
        self.bias = before.bias

    def forward(self, input: Float[Tensor, "*token in_"]) -> Float[Tensor, "*token out"]:
        """The weight is made of its blocks for this product alone."""
        return unpacked.linear(input, [self.weight], functools.partial(_rows, self.kind), self.out_features, self.bias)


class GgufEmbedding(nn.Embedding):
    """A table of embeddings with its rows in blocks."""

    def __init__(self, before: nn.Embedding, kind: int, dtype: torch.dtype) -> None:
        nn.Module.__init__(self)
        self.num_embeddings, self.embedding_dim, self.kind = before.num_embeddings, before.embedding_dim, kind
        self.padding_idx, self.dtype = before.padding_idx, dtype
        self.weight = _blocks(self.num_embeddings, self.embedding_dim, kind)

    def forward(self, input: Int[Tensor, "*token"]) -> Float[Tensor, "*token dim"]:
        """Only the rows that are asked for are made."""
        rows = self.weight.index_select(0, input.flatten())
        return _whole(rows, self.kind, self.dtype).view(*input.shape, self.embedding_dim)


def _blocks(rows: int, columns: int, kind: int) -> nn.Parameter:
    empty = torch.empty(rows, row_bytes(kind, columns), dtype=torch.uint8, device="meta")
    return nn.Parameter(empty, requires_grad=False)


def _rows(kind: int, held: Sequence[Tensor], part: slice, dtype: torch.dtype) -> Tensor:
    rows = held[0][part]
    return _whole(rows, kind, dtype).view(len(rows), -1)


def _whole(blocks: Tensor, kind: int, dtype: torch.dtype) -> Tensor:
    """Rounded once, at the end: made in a lower precision, the scales of the blocks would be rounded first."""
    return dequantize(blocks, kind, torch.float32).to(dtype)


@dataclasses.dataclass(frozen=True)
class Plan:
    """Which weights of a file stay in blocks, and what the others are called."""

    names: dict[str, str]
    """A weight's name in the model, by that in the file."""
    kinds: dict[str, int]
    """The number of its kind of blocks, by the name in the model of a weight that stays."""
    processor: Any


def plan_of(path: Path, model: PreTrainedModel) -> Plan:
    """What becomes of the weights in a file, as a model holds them; its own are not looked at.

    Raises `KvorumError` where none can stay as it is.
    """
    try:
        header = GgufHeader.from_file(str(path))
    except (OSError, ValueError, KeyError) as error:
        raise KvorumError(f"{path}: cannot be kept as it is ({str(error).partition(chr(10))[0]})") from error
    processor = reading.TENSOR_PROCESSORS.get(header.architecture, reading.TensorProcessor)(
        config=model.config.get_text_config().to_dict()
    )
    if type(processor) not in BY_ROWS:
        raise KvorumError(
            f"{path}: the weights of a '{header.architecture}' must be made whole to be read; leave quantize off"
        )
    names = reading.get_gguf_hf_weights_map(model, processor)
    modules = dict(model.named_modules())
    kinds = {
        names[name]: kind
        for name, kind in header.ggml_types.items()
        if kind in GGML_BLOCK and type(modules.get(names.get(name, "").removesuffix(".weight"))) in KEPT
    }
    if not kinds:
        raise KvorumError(f"{path}: holds no quantised weight that could stay so; leave quantize off")
    tied: dict[str, str] = getattr(model, "_tied_weights_keys", None) or {}
    if model.config.get_text_config().tie_word_embeddings:
        kinds |= {name: kinds[source] for name, source in tied.items() if source in kinds and name not in kinds}
    return Plan(names, kinds, processor)


def _read(path: Path, plan: Plan, dtype: torch.dtype) -> dict[str, Tensor]:
    """The weights in a file: bytes where they stay in blocks, numbers in a precision where they do not."""
    found = {}
    for name, lazy in load_gguf_state_dict(GgufHeader.from_file(str(path))).items():
        if name not in plan.names:
            continue
        weight, kept = lazy[...], plan.names[name] in plan.kinds
        if not kept and lazy.ggml_type in GGML_BLOCK:
            flat = weight.view(-1, weight.shape[-1])
            weight = dequantize(flat, lazy.ggml_type).view(*weight.shape[:-1], -1)
        # Some rows are moved, which does to bytes what it does to numbers.
        moved = plan.processor.process(
            weights=(weight if kept else weight.float()).numpy(),
            name=name,
            tensor_key_mapping=plan.names,
            parsed_parameters={},
        )
        made = torch.from_numpy(np.ascontiguousarray(moved.weights))
        found[plan.names[name]] = made if kept else made.to(dtype)
    return found


def put_in_blocks(path: Path, model: PreTrainedModel, dtype: torch.dtype) -> Plan:
    """Exchange the modules of a model whose weights stay in blocks, for such as take them.

    Raises `KvorumError` where no weight can stay as the file has it.
    """
    plan = plan_of(path, model)
    for name, kind in plan.kinds.items():
        place = name.removesuffix(".weight")
        module: Any = model.get_submodule(place)
        own = GgufLinear(module, kind) if isinstance(module, nn.Linear) else GgufEmbedding(module, kind, dtype)
        model.set_submodule(place, own)
    # One table of blocks for both, where the head is the embeddings.
    model.tie_weights()
    return plan


@contextmanager
def left_in_blocks(path: Path) -> Iterator[None]:
    """Let transformers load the model of a GGUF file inside the block with the weights that can be left in blocks."""
    mapping: Any = auto.AUTO_QUANTIZER_MAPPING
    before = mapping["gguf"]
    mapping["gguf"] = _quantizer(path)
    try:
        yield
    finally:
        mapping["gguf"] = before


def _quantizer(path: Path) -> Any:
    """What loads such a file: transformers' own, with modules of ours for the weights that stay."""

    class InBlocks(GgufHfQuantizer):
        def validate_environment(self, *args: Any, **others: Any) -> None:
            """No kernels are asked for."""

        def read_header(self, gguf_file: str) -> None:
            """Read where the modules are known."""

        def update_device_map(self, device_map: Any) -> Any:
            """Wherever it was asked for."""
            return device_map

        def update_dtype(self, dtype: torch.dtype) -> torch.dtype:
            """What the model computes in."""
            self.dtype = dtype
            return dtype

        def _process_model_before_weight_loading(self, model: Any, **others: Any) -> None:
            self.plan = put_in_blocks(path, model, self.dtype)

        def get_state_dict(self, checkpoint_file: str, model: Any) -> dict[str, Tensor]:
            return _read(path, self.plan, self.dtype)

    return InBlocks
