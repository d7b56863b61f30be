"""An ensemble of PEFT's LoRA adapters that were trained elsewhere, as a posterior."""

import stat
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from kvorum.adapters import AdapterStack
from kvorum.adapters.targets import target_of
from kvorum.engine import BaseModel, given_base, load_base, verify_packed
from kvorum.engine.quantised import Quantize
from kvorum.engine.score import Normalisation
from kvorum.errors import KvorumError, nearest
from kvorum.interchange.adapter_config import AdapterConfig, read_adapter_config
from kvorum.interchange.bases import refuse_other_bases, say_if_not_the_very_one, say_if_other, short
from kvorum.interchange.ensemble import Ensemble
from kvorum.interchange.selection import ranks_and_alphas, selected
from kvorum.interchange.sources import WEIGHTS, Source, find_sources
from kvorum.posterior.posterior import Posterior
from kvorum.posterior.scoring import Compile
from kvorum.tasks import Prompt, default_template, load_template
from kvorum.tasks.prompts import check_template

PREFIX = "base_model.model."
FLOATS = {"F64", "F32", "F16", "BF16"}

Adapted = dict[str, tuple[Tensor, Tensor, float]]
"""Of one adapter: A, B and the factor on B A, by target."""


def load_peft(
    adapters: str | Path | Sequence[str | Path | Source],
    *,
    base: str | BaseModel | tuple[PreTrainedModel, Any] | None = None,
    answer_format: Literal["letter", "text"] | None = None,
    prompt: str | Path | None = None,
    chat: bool | None = None,
    normalisation: Normalisation | None = None,
    revision: str | None = None,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    quantize: Quantize | None = None,
    trust_remote_code: bool = False,
    token_budget: int | None = None,
    compile: Compile = "auto",
) -> Posterior:
    """An ensemble of PEFT LoRA adapters on one base model, each a member that computes what it computes in PEFT.

    `adapters` are folders, or ids on the hub (`user/name`, or `user/name@revision`); one that holds folders member-00,
    member-01, ..., as kvorum exports them, stands for all of these. Their ranks, scalings and targets may differ.
    `base` is a name as in `FitConfig.model` or a model as in `kvorum.fit`; else the one that the adapters name.
    `prompt` is a file with a template. How questions are put is, where not said, as an export of kvorum says, else by
    text with the default prompt. So is how a named base is held, else at its full precision.

    Raises `KvorumError`, with the adapter and the first thing that does not fit, for adapters of different base models,
    of other kinds than plain LoRA, or that do not fit the base model; weights are read from safetensors alone.
    """
    sources = find_sources(adapters)
    configs = [read_adapter_config(source.folder, source.name) for source in sources]
    refuse_other_bases(sources, configs, given=base is not None)
    said = _agreed(sources, [answer_format, prompt, chat, normalisation])
    question_form = _prompt(said, answer_format, prompt, chat)
    for source in sources:
        _refuse_no_weights(source)
    told = next((one.ensemble.model for one in sources if one.ensemble and one.ensemble.model), None)
    held = quantize, said.quantize if said else "off"
    model = _base(base, told, configs, revision, device=device, dtype=dtype, held=held, trust=trust_remote_code)
    say_if_not_the_very_one(model, sources)
    stack = stacked(model.model, sources, configs)
    verify_packed(model.model)
    return Posterior(
        base=model,
        stack=stack,
        prompt=question_form,
        normalisation=normalisation or (said.normalisation if said else "sum"),
        token_budget=token_budget,
        compile=compile,
        facts={
            "kvorum": version("kvorum"),
            "model": model.name,
            "base_revision": model.revision,
            "seed": None,
            "prompt_template": question_form.template,
            "chat": question_form.chat,
            "fitted_on": said.fitted_on if said else None,
            "epoch": None,
            "imported": [source.name for source in sources],
        },
    )


def stacked(model: nn.Module, sources: Sequence[Source], configs: Sequence[AdapterConfig]) -> AdapterStack:
    """The stack of adapters: ranks filled up with zeros to the largest, zeros where a member lacks a target.

    Where all have one scaling it is the stack's; else each one's is folded into its B.

    Raises `KvorumError` for an adapter that does not fit, or whose B its scaling carries beyond float32.
    """
    each = [read_adapter(model, source, config) for source, config in zip(sources, configs, strict=True)]
    rank = max(a.shape[0] for adapted in each for a, _, _ in adapted.values())
    scalings = {scaling for adapted in each for _, _, scaling in adapted.values()}
    shared = scalings.pop() if len(scalings) == 1 and min(scalings) > 0 else None
    stack_a: dict[str, Tensor] = {}
    stack_b: dict[str, Tensor] = {}
    for name, module in model.named_modules():
        if any(name in adapted for adapted in each):
            target = target_of(name, module)
            stack_a[name] = torch.zeros(len(each), rank, target.in_features)
            stack_b[name] = torch.zeros(len(each), target.out_features, rank)
            for member, adapted in enumerate(each):
                if name in adapted:
                    a, b, scaling = adapted.pop(name)
                    stack_a[name][member, : len(a)] = a
                    folded = b if shared is not None else b * scaling
                    if not bool(folded.isfinite().all()):
                        raise KvorumError(
                            f"{sources[member].name}, {WEIGHTS}: B of {name} times its scaling {scaling:g} is beyond "
                            "float32"
                        )
                    stack_b[name][member, :, : len(a)] = folded
    alpha = float(rank) if shared is None else shared * rank
    return AdapterStack(a=stack_a, b=stack_b, alpha=alpha, members=tuple(range(len(each))))


def read_adapter(model: nn.Module, source: Source, config: AdapterConfig) -> Adapted:
    """One adapter, held against the base model and its own configuration.

    Raises `KvorumError` for the first thing that does not fit.
    """
    modules = {name: module for name, module in model.named_modules() if name}
    head = getattr(model, "get_output_embeddings", lambda: None)()
    linear = [name for name, one in modules.items() if isinstance(one, nn.Linear | Conv1D) and one is not head]
    targets = selected(config, list(modules), linear, source.name)
    for name in targets:
        if modules[name] is head:
            raise KvorumError(f"{source.name}: adapts {name}, the output head, which kvorum does not")
        if name not in linear:
            kind = type(modules[name]).__name__
            raise KvorumError(f"{source.name}: adapts {name}, a {kind}; kvorum's adapters go on Linear and Conv1D only")
    shapes = ranks_and_alphas(config, targets, source.name)
    expected = {}
    for name, (rank, _) in shapes.items():
        target = target_of(name, modules[name])
        expected[f"{PREFIX}{name}.lora_A.weight"] = (rank, target.in_features)
        expected[f"{PREFIX}{name}.lora_B.weight"] = (target.out_features, rank)
    tensors = _read_tensors(source, expected, modules)
    if not targets:
        raise KvorumError(f"{source.name}: its target_modules match no module of the base model")
    return {
        name: (
            tensors[f"{PREFIX}{name}.lora_A.weight"],
            tensors[f"{PREFIX}{name}.lora_B.weight"],
            config.scaling(rank, alpha),
        )
        for name, (rank, alpha) in shapes.items()
    }


def _read_tensors(
    source: Source, expected: dict[str, tuple[int, int]], modules: dict[str, nn.Module]
) -> dict[str, Tensor]:
    """The tensors of an adapter, in float32: those that are expected, and no others."""
    where = f"{source.name}, {WEIGHTS}"
    try:
        with safe_open(str(source.folder / WEIGHTS), framework="pt") as file:
            names = set(file.keys())
            # What is of an adapter says more of what kind it is than what comes with it.
            if more := sorted(names - expected.keys(), key=lambda name: ("lora_" not in name, name)):
                raise KvorumError(f"{where}: {_unexpected(more[0], modules)}")
            for name, shape in expected.items():
                if name not in names:
                    raise KvorumError(f"{where}: there is no {name}, which its configuration promises")
                there = file.get_slice(name)
                if tuple(there.get_shape()) != shape:
                    raise KvorumError(
                        f"{where}: {name} has the shape {short(there.get_shape())}, the base model and the rank need "
                        f"{list(shape)}"
                    )
                if there.get_dtype() not in FLOATS:
                    raise KvorumError(
                        f"{where}: {name} is of type {there.get_dtype()}, expected one of {sorted(FLOATS)}"
                    )
            tensors = {name: file.get_tensor(name).float() for name in expected}
    except KvorumError:
        raise
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise KvorumError(f"{where}: is no file of tensors, or is damaged ({short(error)})") from error
    for name, tensor in tensors.items():
        if not bool(tensor.isfinite().all()):
            raise KvorumError(f"{where}: {name} holds values that are not finite")
    return tensors


def _unexpected(name: str, modules: dict[str, nn.Module]) -> str:
    """Why a tensor cannot be taken."""
    if "lora_embedding" in name:
        return f"{short(name)} is an adapter of an embedding; kvorum's go on Linear and Conv1D only"
    if "lora_magnitude_vector" in name:
        return f"{short(name)} is of DoRA; kvorum computes plain LoRA only"
    target, found, _ = name.removeprefix(PREFIX).rpartition(".lora_")
    if found and target not in modules:
        return f"it adapts {short(target)}, which the base model has not{nearest(target, modules)}"
    if not found and name.startswith(PREFIX):
        return f"{short(name)} is no part of an adapter, but a weight of the base model that was trained or resized"
    return f"{short(name)} is none of the tensors that its configuration promises"


def _agreed(sources: Sequence[Source], given: Sequence[object]) -> Ensemble | None:
    """What exported ensembles among the sources say: one thing, or all that they may differ in is given."""
    said = [source.ensemble for source in sources if source.ensemble is not None]
    forms = {(one.answer_format, one.prompt_template, one.chat, one.normalisation) for one in said}
    if len(forms) > 1 and any(one is None for one in given):
        raise KvorumError(
            "these ensembles were fitted with different prompts or answer formats; say which to use: answer_format, "
            "prompt, chat and normalisation"
        )
    return said[0] if said else None


def _prompt(
    said: Ensemble | None, answer_format: Literal["letter", "text"] | None, prompt: str | Path | None, chat: bool | None
) -> Prompt:
    form = answer_format or (said.answer_format if said else "text")
    if prompt is not None:
        template = load_template(prompt)
    elif said is not None and form == said.answer_format:
        template = said.prompt_template
        check_template(template, where="kvorum.json, prompt_template")
    else:
        template = default_template(form)
    return Prompt(answer_format=form, template=template, chat=said.chat if chat is None and said else bool(chat))


def _refuse_no_weights(source: Source) -> None:
    file = source.folder / WEIGHTS
    try:
        mode = file.stat().st_mode
    except OSError as error:
        if (source.folder / "adapter_model.bin").exists():
            raise KvorumError(
                f"{source.name}: holds its weights as adapter_model.bin, a pickle, which can run code when it is read; "
                f"save it again as {WEIGHTS} where it is trusted (PEFT: save_pretrained)"
            ) from None
        raise KvorumError(f"{source.name}: {WEIGHTS} cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(mode):
        raise KvorumError(f"{source.name}: {WEIGHTS} is no plain file")


def _base(
    base: str | BaseModel | tuple[PreTrainedModel, Any] | None,
    told: str | None,
    configs: Sequence[AdapterConfig],
    revision: str | None,
    *,
    device: str,
    dtype: Literal["auto", "float32", "bfloat16", "float16"],
    held: tuple[Quantize | None, Quantize],
    trust: bool,
) -> BaseModel:
    """`held`: how it is asked to be held, and how an export says that it was."""
    named = next((one.base_model_name_or_path for one in configs if one.base_model_name_or_path), None)
    if isinstance(base, BaseModel | tuple):
        if isinstance(base, tuple):
            base = given_base(*base)
        if held[0] not in (None, base.quantize):
            raise KvorumError(
                f"quantize is {held[0]}, and the model that was handed over is held otherwise ({base.quantize}); name "
                "the model instead, or leave quantize out"
            )
        say_if_other(base.name, named)
        return base
    if base is not None:
        say_if_other(base, named)
    name = base or told or named
    if not name:
        raise KvorumError("the adapters do not say which base model they are of; name it with base")
    pinned = next((one.revision for one in configs if one.revision), None) if name == named else None
    # Where another copy of the base is named, it may be a GGUF file on one side alone.
    alike = (held[1] == "gguf") == (Path(name).suffix == ".gguf")
    return load_base(
        name,
        revision=revision or pinned,
        device=device,
        dtype=dtype,
        quantize=held[0] or (held[1] if alike else "off"),
        trust_remote_code=trust,
    )
