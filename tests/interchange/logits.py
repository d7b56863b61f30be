"""The logits of one prompt, as PEFT computes them and as kvorum's member does."""

from pathlib import Path

import peft
import torch
from torch import Tensor
from transformers import PreTrainedModel

from kvorum.adapters import AdapterStack, Route
from kvorum.engine import Item, attached, build_pack
from kvorum.engine.attention import prepared
from tests import tiny

PROMPT = tuple((11 * i + 5) % tiny.VOCABULARY for i in range(17))


@torch.no_grad()
def by_peft(model: PreTrainedModel, folder: Path, prompt: tuple[int, ...] = PROMPT) -> Tensor:
    """Of every token, by PEFT's own forward pass; the model has PEFT's layers afterwards."""
    return peft.PeftModel.from_pretrained(model, str(folder)).eval()(torch.tensor([prompt])).logits[0]


@torch.no_grad()
def by_kvorum(model: PreTrainedModel, stack: AdapterStack, position: int, prompt: tuple[int, ...] = PROMPT) -> Tensor:
    """Of every token, of the member at a position along the stack's axis."""
    pack = build_pack([Item(position, tiny.Encoded(prompt, ((0,), (1,)), None))])
    tokens = len(pack.input_ids)
    route = Route.of([position], [tokens], members=len(stack.members), device=torch.device("cpu"))
    with attached(model, stack) as attachment, attachment.routed(route):
        return model(
            input_ids=pack.input_ids.unsqueeze(0),
            position_ids=pack.position_ids.unsqueeze(0),
            use_cache=False,
            kvorum_layout=prepared(pack.layout, model),
        ).logits[0][: len(prompt)]
