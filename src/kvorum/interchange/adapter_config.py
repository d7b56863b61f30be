"""PEFT's adapter_config.json: what it says of one adapter, and a refusal of what kvorum does not compute alike."""

import json
import math
import reprlib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kvorum.bounded import CONTROLS, read_bounded
from kvorum.config import AT_MOST, describe_errors
from kvorum.errors import KvorumError

NAME = "adapter_config.json"
LARGEST = 4 * 2**20
"""Bytes of it: ten thousand modules with a rank of their own are 1 MB."""
MOST_NAMES = 100_000
LONGEST_NAME = 4000
"""Characters of a name or a pattern in it."""

SAME_RESULT = frozenset(
    {"auto_mapping", "fan_in_fan_out", "inference_mode", "megatron_core", "peft_version", "runtime_config", "task_type"}
    | {"corda_config", "eva_config", "loftq_config", "lora_ga_config", "ensure_weight_tying", "qalora_group_size"}
    | {"lora_dropout"}
)
"""What a trained adapter's results do not depend on."""
PLAIN_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")
"""Of `init_lora_weights`: those that leave the base model's own weights as they are."""

Name = Annotated[str, Field(max_length=LONGEST_NAME)]
Names = Name | Annotated[list[Name], Field(max_length=MOST_NAMES)]
Rank = Annotated[int, Field(ge=1, le=AT_MOST["rank"])]
Alpha = Annotated[float, Field(ge=-AT_MOST["alpha"], le=AT_MOST["alpha"], allow_inf_nan=False)]


class AdapterConfig(BaseModel):
    """What decides what one LoRA adapter computes."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    base_model_name_or_path: Name | None = None
    revision: Name | None = None
    r: Rank
    lora_alpha: Alpha
    use_rslora: bool = False
    target_modules: Names
    exclude_modules: Names | None = None
    layers_to_transform: int | list[int] | None = None
    layers_pattern: Names | None = None
    rank_pattern: dict[Name, Rank] | None = None
    alpha_pattern: dict[Name, Alpha] | None = None

    def scaling(self, rank: int, alpha: float) -> float:
        """The factor on B A of a module of this rank and alpha (rank-stabilised: Kalajdzievski, arXiv 2312.03732)."""
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def read_adapter_config(folder: Path, where: str) -> AdapterConfig:
    """The configuration in an adapter's folder; errors begin with `where`.

    Raises `KvorumError` where there is none, for one that is damaged or no LoRA, and for a setting that makes an
    adapter compute more than B A beside a linear map.
    """
    file = f"{where}, {NAME}"
    try:
        content = json.loads(read_bounded(folder / NAME, LARGEST))
    except FileNotFoundError:
        raise KvorumError(f"{where}: holds no {NAME}, so it is no PEFT adapter") from None
    except KvorumError:
        raise
    except OSError as error:
        raise KvorumError(f"{file}: cannot be read ({error.strerror or error})") from None
    except (ValueError, RecursionError) as error:
        raise KvorumError(f"{file}: is no JSON ({reprlib.repr(str(error))})") from None
    if not isinstance(content, dict):
        raise KvorumError(f"{file}: holds a {type(content).__name__}, expected names and values")
    if content.get("peft_type") != "LORA":
        raise KvorumError(f"{file}: peft_type is {reprlib.repr(content.get('peft_type'))}; kvorum loads LORA only")
    _refuse_more_than_lora(content, file)
    try:
        config = AdapterConfig.model_validate(content)
    except ValidationError as error:
        raise KvorumError(f"{file}: {describe_errors(error)}") from None
    for name in ("base_model_name_or_path", "revision"):
        if CONTROLS.search(getattr(config, name) or ""):
            raise KvorumError(
                f"{file}: {name} is {reprlib.repr(getattr(config, name))}, which holds control characters"
            )
    return config


def _refuse_more_than_lora(content: dict[str, Any], file: str) -> None:
    if content.get("bias", "none") != "none":
        raise KvorumError(f"{file}: bias is {reprlib.repr(content['bias'])}: it trained biases of the base model, too")
    start = content.get("init_lora_weights", True)
    if start not in PLAIN_STARTS or type(start) not in (bool, str, type(None)):
        raise KvorumError(
            f"{file}: init_lora_weights is {reprlib.repr(start)}: PEFT changes the base model's weights for it; "
            "convert the adapter to a plain one (PEFT: save_pretrained with path_initial_model_for_weight_conversion)"
        )
    known = SAME_RESULT | AdapterConfig.model_fields.keys() | {"peft_type", "bias", "init_lora_weights"}
    for name, value in content.items():
        if name not in known and value not in (None, False, [], {}, ""):
            raise KvorumError(
                f"{file}: {name[:60]} is {reprlib.repr(value)}: kvorum computes plain LoRA only, and with that the "
                "adapter is not, or may not be"
            )
