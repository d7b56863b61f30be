"""Which modules of a base model get an adapter."""

import dataclasses
import logging
from collections.abc import Sequence

from torch import nn
from transformers.pytorch_utils import Conv1D

from kvorum.errors import KvorumError, nearest

ALL_LINEAR = "all-linear"

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Target:
    """A linear map of the base model, by its full name."""

    name: str
    in_features: int
    out_features: int


def find_targets(model: nn.Module, wanted: Sequence[str]) -> list[Target]:
    """The targets that names ask for, in the model's own order.

    A name stands for every module whose dotted name is it or ends with it (`q_proj`, `layers.0.mlp.up_proj`), as in
    PEFT; `all-linear` stands for every linear map but the output head. The experts of a mixture that transformers keeps
    in one parameter, and a router that is no linear module, get no adapter; a warning tells of the experts.

    Raises `KvorumError` for a name that matches nothing, or matches something that is no linear map.
    """
    head = getattr(model, "get_output_embeddings", lambda: None)()
    modules = {name: module for name, module in model.named_modules() if name}
    parameters = dict(model.named_parameters())
    linear = {name for name, module in modules.items() if isinstance(module, nn.Linear | Conv1D)}
    found: set[str] = set()
    for want in wanted:
        if want == ALL_LINEAR:
            matches = {name for name in linear if modules[name] is not head}
        else:
            matches = {name for name in modules if _called(name, want)}
        bare = [name for name in parameters if _called(name, want)]
        if bare and not matches:
            kind = type(model.get_submodule(bare[0].rpartition(".")[0])).__name__
            raise KvorumError(
                f"target '{want}' matches {bare[0]}, a parameter of a {kind}; adapters go on Linear and Conv1D only"
            )
        if not matches:
            leaves = {name.rpartition(".")[2] for name in linear} | {ALL_LINEAR}
            raise KvorumError(f"no module of {type(model).__name__} is called '{want}'{nearest(want, leaves)}")
        if wrong := sorted(matches - linear):
            kind = type(modules[wrong[0]]).__name__
            raise KvorumError(f"target '{want}' matches {wrong[0]}, a {kind}; adapters go on Linear and Conv1D only")
        found |= matches
        # Matrices of many experts are stacked to three dimensions.
        asked = parameters if want == ALL_LINEAR else bare
        if stacked := [name for name in asked if parameters[name].ndim > 2]:
            log.warning(
                "target '%s' leaves out %d stacked parameters, such as %s: adapters go on Linear and Conv1D only",
                want,
                len(stacked),
                stacked[0],
            )
    if not found:
        raise KvorumError("no target modules are named; 'all-linear' adapts every linear map")
    return [target_of(name, module) for name, module in modules.items() if name in found]


def _called(name: str, want: str) -> bool:
    return name == want or name.endswith("." + want)


def target_of(name: str, module: nn.Module) -> Target:
    """A module as a target; raises `KvorumError` where it is no linear map."""
    if isinstance(module, Conv1D):
        in_features, out_features = module.weight.shape
        return Target(name, in_features, out_features)
    if not isinstance(module, nn.Linear):
        raise KvorumError(f"{name} is a {type(module).__name__}; adapters go on Linear and Conv1D only")
    return Target(name, module.in_features, module.out_features)
