"""A model that was handed over with its tokenizer, rather than named."""

from typing import Any

from transformers import PreTrainedModel

from kvorum.engine.base_model import BaseModel, fingerprint
from kvorum.engine.quantised import is_quantised
from kvorum.engine.spread import has_hooks
from kvorum.errors import KvorumError


def given_base(model: PreTrainedModel, tokenizer: Any) -> BaseModel:
    """The base model that a model and its tokenizer are.

    Raises `KvorumError` for one that would have to be changed first, which what is handed over is not: quantised, or
    spread over devices.
    """
    name = str(getattr(model.config, "name_or_path", "") or "given")
    if any(is_quantised(module) for module in model.modules()):
        raise KvorumError(
            f"the {type(model).__name__} that was handed over holds its weights in few bits, in a way that may compute "
            "otherwise while fitting than while scoring; name the model instead, with quantize='4bit' or '8bit', or "
            "hand over what kvorum.engine.load_base(..., quantize=...) gives"
        )
    if has_hooks(model):
        raise KvorumError(
            f"accelerate moves what the {type(model).__name__} that was handed over computes between devices, and its "
            "weights need not be there; name the model instead, with device_map='auto' where it does not fit on one "
            "device"
        )
    return BaseModel(name, model, tokenizer, fingerprint(model))
