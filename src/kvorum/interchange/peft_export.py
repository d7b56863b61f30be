"""An ensemble as folders of PEFT adapters, one a member, which PEFT and vLLM load."""

import dataclasses
import errno
import json
import logging
import secrets
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from torch import nn
from transformers.pytorch_utils import Conv1D

from kvorum.adapters import AdapterStack
from kvorum.adapters.tensors import write_safetensors
from kvorum.engine import skeleton
from kvorum.errors import KvorumError
from kvorum.files import flush, make_folder
from kvorum.interchange import adapter_config, ensemble
from kvorum.interchange.card import loading
from kvorum.interchange.ensemble import Ensemble
from kvorum.interchange.peft_load import PREFIX
from kvorum.interchange.sources import WEIGHTS, member_name
from kvorum.posterior.posterior import Posterior, template_of
from kvorum.run import Run

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Exported:
    """What an export wrote."""

    folder: Path
    members: tuple[str, ...]
    """The names of the members' folders."""
    left_out: Mapping[int, str]
    """Members that diverged, and where."""
    ensemble: Ensemble


def export_peft(
    source: Posterior | Run | str | Path,
    folder: str | Path,
    *,
    epoch: int | str = "last",
    trust_remote_code: bool = False,
) -> Exported:
    """Write every member of a posterior, or of a run after an epoch, as a PEFT adapter: `folder`/member-00, ...

    The folder appears whole or not at all. Of a run no weights of the base model are read, only its configuration.
    Members that diverged are left out.

    Raises `KvorumError` where there is something in the folder already, and where every member diverged.
    """
    stack, about, modules = taken(source, epoch, trust_remote_code=trust_remote_code)
    return write_ensemble(Path(folder), stack, about, modules, _readme(about, stack))


def write_ensemble(
    folder: Path, stack: AdapterStack, about: Ensemble, modules: Mapping[str, nn.Module] | None, readme: str
) -> Exported:
    """Write a stack's members, kvorum.json and a README.md, as a folder that appears whole or not at all."""
    with _whole_folder(folder) as beside:
        for position, name in zip(stack.active, member_names(stack), strict=True):
            (beside / name).mkdir()
            _write_member(beside / name, stack, position, about, modules)
        _write(beside / ensemble.NAME, about.text())
        _write(beside / "README.md", readme)
    if stack.diverged:
        log.warning("members %s diverged and are left out", ", ".join(map(str, sorted(stack.diverged))))
    return Exported(folder, tuple(member_names(stack)), dict(stack.diverged), about)


def member_names(stack: AdapterStack) -> list[str]:
    """The folders of the members that have not diverged.

    Raises `KvorumError` where all have.
    """
    if not stack.active:
        raise KvorumError("every member diverged, so there is nothing to export")
    return [member_name(stack.members[position]) for position in stack.active]


def target_names(targets: Collection[str], modules: Collection[str] | None) -> list[str]:
    """Names by which PEFT finds just these targets: the ends of their names where that is exact, else all in full.

    `modules` are the names of all modules of the base model, where known.
    """
    leaves = {target.rpartition(".")[2] for target in targets}
    if modules is not None and {name for name in modules if name.rpartition(".")[2] in leaves} == set(targets):
        return sorted(leaves)
    return list(targets)


def taken(
    source: Posterior | Run | str | Path, epoch: int | str, *, trust_remote_code: bool
) -> tuple[AdapterStack, Ensemble, Mapping[str, nn.Module] | None]:
    """The stack, what is said of it, and the base model's modules where they are known."""
    if isinstance(source, Posterior):
        about = Ensemble(
            model=source.base.name,
            base_revision=source.base.revision,
            quantize=source.base.quantize,
            answer_format=source.prompt.answer_format,
            normalisation=source.normalisation,
            prompt_template=source.prompt.template,
            chat=source.prompt.chat,
            fitted_on=source.facts.get("fitted_on"),
            epoch=source.facts.get("epoch"),
            kvorum=version("kvorum"),
        )
        return source.stack, about, dict(source.base.model.named_modules())
    run = source if isinstance(source, Run) else Run.open(source)
    number = one_epoch(run, epoch)
    stack, config = AdapterStack.load(run.checked(run.adapters_file(number))), run.config
    about = Ensemble(
        model=config.model,
        base_revision=run.facts.get("base_revision"),
        quantize=config.quantize,
        answer_format=config.answer_format,
        normalisation=config.normalisation,
        prompt_template=template_of(run),
        chat=config.chat,
        fitted_on=run.facts.get("task"),
        epoch=number,
        kvorum=version("kvorum"),
    )
    return stack, about, _modules(run, stack, trust_remote_code=trust_remote_code)


def one_epoch(run: Run, epoch: int | str) -> int:
    """The saved epoch that `last` or a number stands for.

    Raises `KvorumError` for one that is not saved, and for several.
    """
    if str(epoch) == "all" or "," in str(epoch):
        raise KvorumError(f"epoch '{epoch}': expected last, or one number; an export is of one epoch")
    (number,) = run.resolve_epochs(str(epoch))
    return number


def _modules(run: Run, stack: AdapterStack, *, trust_remote_code: bool) -> Mapping[str, nn.Module] | None:
    config = run.config
    trusted = trust_remote_code and config.trust_remote_code
    try:
        model = skeleton(config.model, revision=config.revision, trust_remote_code=trusted)
        modules = dict(model.named_modules())
        if missing := [target for target in stack.a if target not in modules]:
            raise KvorumError(f"model '{config.model}' has no module {missing[0]}")
    except KvorumError as error:
        log.warning("targets are named in full, since the base model's modules are not known: %s", error)
        return None
    return modules


def _write_member(
    folder: Path, stack: AdapterStack, position: int, about: Ensemble, modules: Mapping[str, nn.Module] | None
) -> None:
    tensors = {
        f"{PREFIX}{target}.lora_{side}.weight": side_of[target][position].detach().float()
        for target in stack.a
        for side, side_of in (("A", stack.a), ("B", stack.b))
    }
    write_safetensors(tensors, folder / WEIGHTS, {"format": "pt"})
    flush(folder / WEIGHTS)
    alpha = int(stack.alpha) if float(stack.alpha).is_integer() else stack.alpha
    content: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": about.base_for_others,
        "revision": about.base_commit,
        "r": stack.rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "use_rslora": False,
        "use_dora": False,
        "target_modules": target_names(list(stack.a), modules),
        "rank_pattern": {},
        "alpha_pattern": {},
        "bias": "none",
        "modules_to_save": None,
        "fan_in_fan_out": modules is not None and all(isinstance(modules[target], Conv1D) for target in stack.a),
        "inference_mode": True,
        "init_lora_weights": True,
    }
    _write(folder / adapter_config.NAME, json.dumps(content, indent=2) + "\n")


def _readme(about: Ensemble, stack: AdapterStack) -> str:
    names = member_names(stack)
    left = [f"Member {member} diverged by {where} and is left out." for member, where in sorted(stack.diverged.items())]
    return "\n".join(
        [
            "# An ensemble of LoRA adapters",
            "",
            f"{len(names)} adapters of rank {stack.rank} for {about.base_for_others or 'a base model'}, one a folder, "
            f"in PEFT's format; written by kvorum {about.kvorum}.",
            *left,
            "",
            *loading(about, names, "DIR", stack.rank),
            "",
        ]
    )


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    flush(file)


@contextmanager
def _whole_folder(wanted: Path) -> Iterator[Path]:
    """A folder to fill beside the one wanted, which it becomes when the block ends well; errors name the one wanted."""
    try:
        folder = wanted.resolve()
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise KvorumError(
                f"{wanted} is {'not empty' if folder.is_dir() else 'a file'}; choose another folder, or remove it"
            )
        if folder == Path.cwd():
            raise KvorumError(f"{wanted} is the current directory, which cannot be replaced; name a folder in it")
        make_folder(folder.parent)
        beside = folder.parent / f".{folder.name[:40]}.{secrets.token_hex(6)}.tmp"
        beside.mkdir()
        try:
            yield beside
            beside.replace(folder)
        finally:
            shutil.rmtree(beside, ignore_errors=True)
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror or str(error), str(wanted)) from error
