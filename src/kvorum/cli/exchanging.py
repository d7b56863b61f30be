"""Commands that hand adapters and runs on and take them in: export, import, push, fetch."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from kvorum.cli.terminal_io import err, open_run, out, print_json, quiet


def export(
    run: tyro.conf.Positional[Path],
    folder: tyro.conf.Positional[Path],
    /,
    epoch: str = "last",
    trust_remote_code: bool = False,
    json: bool = False,
) -> None:
    """Write every member of a run as an adapter that PEFT and vLLM load: FOLDER/member-00, member-01, ...

    Args:
        run: The run directory.
        folder: Where to write; it must be new or empty.
        epoch: Which epoch's adapters: last, or a number.
        trust_remote_code: Run Python code that comes with the base model, to learn the names of its modules.
        json: Print JSON.
    """
    opened = open_run(run)
    with err.status("writing"):
        from kvorum.interchange.peft_export import export_peft

        quiet()
        written = export_peft(opened, folder, epoch=epoch, trust_remote_code=trust_remote_code)
    if json:
        members = {name: str(folder / name) for name in written.members}
        left_out = {str(member): why for member, why in written.left_out.items()}
        print_json({"folder": str(folder), "members": members, "left_out": left_out})
    else:
        out.print(
            f"{len(written.members)} adapters in {folder}; how to load them: {folder / 'README.md'}",
            highlight=False,
            markup=False,
        )


def import_(
    adapters: tyro.conf.Positional[tuple[str, ...]],
    /,
    task: str,
    out_: Annotated[Path, tyro.conf.arg(name="out")],
    model: str | None = None,
    answer_format: Literal["letter", "text"] | None = None,
    normalisation: Literal["sum", "mean"] | None = None,
    prompt: str | None = None,
    chat: bool = False,
    data_root: str | None = None,
    revision: str | None = None,
    device: str = "auto",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto",
    quantize: Literal["off", "4bit", "8bit", "gguf"] | None = None,
    trust_remote_code: bool = False,
    json: bool = False,
) -> None:
    """Make a run of LoRA adapters that were trained with PEFT, to evaluate, report and ask.

    Args:
        adapters: Folders, or ids on the hub; one that holds member-00, member-01, ... stands for all of these.
        task: What they were fitted on: a named task, or a file of questions.
        out_: The run directory.
        model: Base model; default: the one that the adapters name.
        answer_format: letter or text; default: as an export of kvorum says, else text.
        normalisation: text only: sum or mean over an answer's tokens; default: as an export says, else sum.
        prompt: A file with a Jinja template; default: as an export says, else the built-in one.
        chat: Wrap the prompt in the tokenizer's chat template; an export that was fitted so is, in any case.
        data_root: A local mirror of the question sets.
        revision: Branch, tag or commit of the base model on the hub.
        device: cpu, cuda, cuda:1, ...; auto: the GPU where there is one.
        dtype: Precision of the base model; auto: float32 on a CPU, bfloat16 on a GPU.
        quantize: How the base model is held: 4bit, 8bit, gguf, off; default: as an export says, else off.
        trust_remote_code: Run Python code that comes with the base model.
        json: Print JSON.
    """
    with err.status("loading"):
        from kvorum.interchange.imported import import_peft

        quiet()
        run = import_peft(
            adapters,
            task=task,
            out=out_,
            model=model,
            answer_format=answer_format,
            normalisation=normalisation,
            prompt=prompt,
            chat=chat or None,
            data_root=data_root,
            revision=revision,
            device=device,
            dtype=dtype,
            quantize=quantize,
            trust_remote_code=trust_remote_code,
        )
    if json:
        print_json({"run": str(run.path), "members": run.config.members, "imported": run.facts["imported"]})
    else:
        out.print(
            f"{run.config.members} adapters imported into {run.path}; next: kvorum evaluate {run.path} --task {task} "
            "--epochs all",
            highlight=False,
            markup=False,
        )


def push(
    run: tyro.conf.Positional[Path],
    repository: tyro.conf.Positional[str],
    /,
    private: bool = False,
    epoch: str = "last",
    trust_remote_code: bool = False,
    json: bool = False,
) -> None:
    """Put a run's ensemble onto the Hugging Face hub, with its numbers, and print the address.

    Args:
        run: The run directory.
        repository: user/name; it is made where there is none.
        private: Make the repository private.
        epoch: Which epoch's adapters: last, or a number.
        trust_remote_code: Run Python code that comes with the base model, to learn the names of its modules.
        json: Print JSON.
    """
    opened = open_run(run)
    with err.status("pushing"):
        from kvorum.interchange.hub import push as push_run

        quiet()
        address = push_run(opened, repository, private=private, epoch=epoch, trust_remote_code=trust_remote_code)
    if json:
        print_json({"run": str(run), "repository": repository, "address": address})
    else:
        out.print(address, highlight=False, markup=False)


def fetch(url: tyro.conf.Positional[str], folder: tyro.conf.Positional[Path | None] = None, /) -> None:
    """Bring a run or an experiment from storage onto this machine; again, and only what is new comes.

    Args:
        url: Where it lies: s3://bucket/runs/x, gs://..., or a path.
        folder: Where to put it; default: runs/ and the last part of the URL.
    """
    from kvorum.cluster.fetch import fetch as brought
    from kvorum.cluster.storage import Storage

    place = folder or Path("runs") / Storage(url).name
    with err.status("fetching"):
        count = brought(url, place)
    out.print(f"{count} files into {place}; next: kvorum report {place}", highlight=False, markup=False)
