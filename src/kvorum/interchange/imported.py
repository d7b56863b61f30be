"""A run directory of adapters that were fitted elsewhere: epoch 0 the untouched model, epoch 1 what they made of it."""

import dataclasses
import logging
import platform
import shutil
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import torch

from kvorum.adapters import AdapterStack
from kvorum.config import FitConfig, fit_config
from kvorum.engine.quantised import Quantize
from kvorum.engine.score import Normalisation
from kvorum.errors import KvorumError
from kvorum.files import atomic, make_folder, remove, sha256
from kvorum.interchange.ensemble import COMMIT
from kvorum.interchange.peft_export import target_names
from kvorum.interchange.peft_load import load_peft
from kvorum.interchange.sources import WEIGHTS, find_sources
from kvorum.posterior.posterior import Posterior
from kvorum.run import Run, locked, start_run
from kvorum.run.directory import CONFIG, LOG, describe, is_run, lost
from kvorum.run.drift import RESULTS_VERSION
from kvorum.run.manifest import NAME as MANIFEST
from kvorum.run.manifest import Manifest
from kvorum.run.start import refuse_foreign
from kvorum.tasks import Task, load_task

EPOCH = 1
"""The epoch that imported adapters stand at."""
EPOCHS, CALIBRATION = "epochs", "/calibration.json"

log = logging.getLogger(__name__)


def import_peft(
    adapters: str | Path | Sequence[str | Path],
    *,
    task: str,
    out: str | Path,
    model: str | None = None,
    answer_format: Literal["letter", "text"] | None = None,
    prompt: str | None = None,
    chat: bool | None = None,
    normalisation: Normalisation | None = None,
    data_root: str | None = None,
    revision: str | None = None,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    quantize: Quantize | None = None,
    trust_remote_code: bool = False,
) -> Run:
    """A run directory at `out` from PEFT adapters; `task` is what they are said to be fitted on, the rest as in
    `load_peft`. Nothing is scored yet.

    Raises `KvorumError` as `load_peft` does, and where there is something at `out` already.
    """
    out = Path(out)
    _refuse_occupied(out)
    fitted_on = load_task(task, data_root=data_root)
    sources = find_sources(adapters)
    posterior = load_peft(
        sources,
        base=model,
        answer_format=answer_format,
        prompt=prompt,
        chat=chat,
        normalisation=normalisation,
        revision=revision,
        device=device,
        dtype=dtype,
        quantize=quantize,
        trust_remote_code=trust_remote_code,
    )
    base, stack = posterior.base, posterior.stack
    commit = base.revision if COMMIT.fullmatch(base.revision) and not Path(base.name).exists() else None
    config = fit_config(
        {
            "model": base.name,
            "task": task,
            "out": str(out),
            "answer_format": posterior.prompt.answer_format,
            "normalisation": posterior.normalisation,
            "prompt": prompt,
            "chat": posterior.prompt.chat,
            "members": len(stack.members),
            "rank": stack.rank,
            "alpha": stack.alpha,
            "targets": tuple(target_names(list(stack.a), [name for name, _ in base.model.named_modules()])),
            "prior": "none",
            "l2": 0.0,
            "epochs": EPOCH,
            "diversity": (),
            "data_root": data_root,
            "revision": commit or revision,
            "trust_remote_code": trust_remote_code,
            "device": device,
            "dtype": dtype,
            "quantize": base.quantize,
        },
        where="kvorum import",
    )
    facts = _facts(posterior, fitted_on)
    facts["imported_sha256"] = [sha256(source.folder / WEIGHTS) for source in sources]
    return _write(out, config, facts, stack)


def _refuse_occupied(out: Path) -> None:
    # An import that was stopped halfway has no epoch yet, and is begun again.
    if is_run(out):
        if (run := Run.open(out)).epochs or not run.facts.get("imported"):
            raise KvorumError(f"{out} holds a run already; choose another --out, or remove it")
        if not run.manifest.files and run.unlisted():
            raise KvorumError(lost(out))
    elif out.is_dir() and Manifest.read(out).files:
        Run.open(out)  # says that the configuration is missing
    else:
        refuse_foreign(out)


def _clear(out: Path) -> None:
    """Remove what an import that was stopped halfway has left: the adapters may be others now.

    The configuration goes last, since by it the next import knows what the rest is.
    """
    if (out / EPOCHS).is_dir():
        shutil.rmtree(out / EPOCHS)
    remove(out / MANIFEST)
    remove(out / CONFIG)


def _facts(posterior: Posterior, task: Task) -> dict[str, Any]:
    base, stack = posterior.base, posterior.stack
    return {
        "kvorum": version("kvorum"),
        "torch": version("torch"),
        "transformers": version("transformers"),
        "python": platform.python_version(),
        "device": str(base.device),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "imported": posterior.facts["imported"],
        "lost": [f"epochs/{EPOCH:03d}/optimizer.safetensors", LOG],
        "model": base.name,
        "base_revision": base.revision,
        "dtype": str(base.model.dtype).removeprefix("torch."),
        "base_parameters": base.parameters,
        "target_modules": len(stack.a),
        "parameters_per_member": stack.parameters_per_member(),
        "chat": posterior.prompt.chat,
        "prompt_template": posterior.prompt.template,
        "task": task.name,
        "task_source": task.source,
        "results_version": RESULTS_VERSION,
        "evaluation_tasks": [task.name],
    }


def _write(out: Path, config: FitConfig, facts: dict[str, Any], stack: AdapterStack) -> Run:
    untouched = dataclasses.replace(stack, b={target: torch.zeros_like(b) for target, b in stack.b.items()})
    with locked(out):
        _refuse_occupied(out)
        if is_run(out):
            _clear(out)
        run = start_run(out, config, facts)
        files = []
        for epoch, at in enumerate((untouched, stack)):
            file = run.adapters_file(epoch)
            make_folder(file.parent)
            with atomic(file) as temporary:
                at.save(temporary, epoch=epoch, base_revision=facts["base_revision"], model=facts["model"])
            files.append(file)
        run.keep(*files)
    return run


def repair_imported(run: Run) -> list[tuple[str, int]]:
    """Let go of what is damaged of an imported run and can be made again; returns the tasks and epochs to score.

    A damaged calibration is told of in a warning.

    Raises `KvorumError` where anything else is damaged.
    """
    damage = run.damage()
    whole = [one for one in damage if one.unreadable or not one.file.endswith((".parquet", CALIBRATION))]
    if whole:
        raise KvorumError(
            f"{run.path}: {describe(whole)}; the adapters were fitted elsewhere, and cannot be computed again: "
            f"import them again from {', '.join(run.facts['imported'][:3])}, into another directory"
        )
    run.forget(damage)
    for one in damage:
        if one.file.endswith(CALIBRATION):
            epoch = int(one.file.split("/")[1])
            log.warning(
                "the calibration of epoch %d is let go of; make it again: kvorum calibrate %s --epoch %d --task TASK",
                epoch,
                run.path,
                epoch,
            )
    parts = [one.file.split("/") for one in damage if one.file.endswith(".parquet")]
    return [(name.removesuffix(".parquet"), int(epoch)) for _, epoch, _, name in parts]
