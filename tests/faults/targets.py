"""What reads files that somebody else may have written, each with valid files to begin from.

As a program it reads files and says of each, in a line, what came of it, how long that took, and how much memory the
process has taken at most since its start: `python -m tests.faults.targets TARGET FILE [TARGET FILE ...]`.
"""

import dataclasses
import io
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from safetensors.torch import save

import kvorum
from kvorum.adapters import AdapterStack
from kvorum.adapters.tensors import load_tensors
from kvorum.config import fit_config, read_yaml
from kvorum.run.manifest import Manifest, Seal
from kvorum.study import Study
from kvorum.tasks import load_task, load_template
from kvorum.terminal import numbers_tables, run_dict


@dataclasses.dataclass(frozen=True)
class Target:
    """A kind of file."""

    name: str
    """The name that it is written to."""
    read: Callable[[Path], Any]
    valid: Callable[[], list[bytes]]
    """Files that read well."""
    named: str = ""
    """What an error names, if not the file: a prompt that fails on a question is no longer in one."""

    def names(self, said: str) -> bool:
        """Whether an error says where the mistake is."""
        return (self.named or self.name) in said


def questions_jsonl() -> list[bytes]:
    rows = [
        {"question": "Which?", "choices": ["a", "b"], "answer": 1},
        {"id": "é", "question": "Wer?", "choices": ["x", "y", "z"], "answer": "z", "subject": "s"},
        {"question": "Q", "choice_0": "1", "choice_1": "2", "answer": "A"},
    ]
    return ["".join(json.dumps(row) + "\n" for row in rows[:2]).encode(), json.dumps(rows[2]).encode()]


def questions_csv() -> list[bytes]:
    return [
        b'id,question,choices,answer\n1,"Which, then?","[""a"", ""b""]",0\n2,Who?,"[""c"", ""d""]",d\n',
        b"question,choice_0,choice_1,answer\nOne?,a,b,1\nTwo?,c,d,\n",
    ]


def questions_parquet() -> list[bytes]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(
        pa.table({"question": ["A?", "B?"], "choices": [["a", "b"], ["c", "d", "e"]], "answer": [0, 2]}), sink
    )
    return [sink.getvalue()]


def settings_yaml() -> list[bytes]:
    return [
        b"model: smollm2-135m\ntask: facts_sums\nlr: 1e-3\nmembers: 3\ntargets: [q_proj]\nprompt: null\n",
        yaml.safe_dump(kvorum.FitConfig(model="m", task="t").as_dict()).encode(),
    ]


def study_yaml() -> list[bytes]:
    return [b"out: runs/s\nsettings: {model: m, task: facts_sums}\nruns: {a: {}, b: {lr: 1.0e-3}}\ncompare: [[a, b]]\n"]


def adapters() -> list[bytes]:
    a, b = torch.ones(2, 3, 4), torch.zeros(2, 5, 3)
    header = {
        "format": "kvorum adapter stack 1",
        "alpha": 4.0,
        "members": [0, 1],
        "targets": ["q"],
        "diverged": {"1": "epoch 1, step 0"},
        "facts": {},
    }
    return [save({"q.lora_A": a, "q.lora_B": b}, metadata={"kvorum": json.dumps(header)})]


def predictions() -> list[bytes]:
    from tempfile import TemporaryDirectory

    made = kvorum.Predictions(
        probs=np.array([[[0.9, 0.1], [0.2, 0.8]], [[0.7, 0.3], [0.4, 0.6]]]),
        rest=np.zeros((2, 2)),
        answers=np.array([0, -1], dtype=np.int64),
        ids=("a", "b"),
        subjects=("", "s"),
        questions=("x", "y"),
        choices=(("1", "2"), ("1", "2")),
        facts={"task": "t", "members": [0, 1], "diverged": {}, "trained_on": False},
    )
    with TemporaryDirectory() as folder:
        made.save(Path(folder) / "p.parquet")
        return [(Path(folder) / "p.parquet").read_bytes()]


def manifest() -> list[bytes]:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        Manifest(Path(folder), {"config.yaml": Seal(3, "0" * 64), "log.jsonl": Seal(0, "1" * 64)}).write()
        return [(Path(folder) / "manifest.json").read_bytes()]


def facts_yaml() -> list[bytes]:
    settings = kvorum.FitConfig(model="m", task="t", members=2).as_dict()
    facts = {"task": "t", "evaluation_tasks": ["t"], "prompt_template": "{{ question }}", "base_revision": "r"}
    drift = {"drift": [{"at": "2026", "after": "epoch 1", "differs": ["x"]}], "steps_per_epoch": 3}
    return [yaml.safe_dump(json.loads(json.dumps(settings | {"facts": facts | drift}))).encode()]


def log_jsonl() -> list[bytes]:
    return [b'{"epoch": 1, "step": 0, "loss": [1.0, null]}\n{"epoch": 1, "step": 1, "loss": [0.5, 0.2]}\n']


def numbers_json() -> list[bytes]:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        run = run_of(Path(folder), {})
        return [run.predictions_file(0, "t").with_suffix(".numbers.json").read_bytes()]


def templates() -> list[bytes]:
    return [b"Q: {{ question }}\n{% for c in choices %}({{ letters[loop.index0] }}) {{ c|trim }}\n{% endfor %}A: ("]


def run_of(folder: Path, changed: dict[str, bytes]) -> kvorum.Run:
    """A whole run, some files of which have other contents, but such that its manifest vouches for them."""
    run = kvorum.Run(folder / "run", kvorum.FitConfig(model="m", task="t", members=2), {"task": "t"})
    run.save_config()
    stack = run.adapters_file(0)
    stack.parent.mkdir(parents=True)
    stack.write_bytes(adapters()[0])
    run.keep(stack)
    target = run.predictions_file(0, "t")
    target.parent.mkdir()
    target.write_bytes(changed.get("epochs/000/predictions/t.parquet", predictions()[0]))
    run.keep(target)
    if not changed:
        run.numbers(0, "t")
    for name, content in changed.items():
        file = run.path / name
        file.write_bytes(content)
        if not name.endswith(".numbers.json"):
            run.keep(file)
    return run


def read_run(name: str) -> Callable[[Path], Any]:
    """Read a whole run in which one file is of somebody else's making, as `kvorum show` does."""

    def read(file: Path) -> Any:
        content = file.read_bytes()
        if name.endswith(".numbers.json"):
            content = _vouched(content)
        made = run_of(file.parent / f"{file.name}.run", {name: content})
        opened = kvorum.Run.open(made.path)
        opened.damage()
        shown = run_dict(opened)
        list(numbers_tables(opened))
        return shown, opened.log, json.dumps(shown, allow_nan=False)

    return read


def _vouched(content: bytes) -> bytes:
    """Derived numbers with the checksum that fits them, as an author of ill will would give them."""
    import hashlib

    try:
        found = json.loads(content)
        found.pop("sha256", None)
        found["sha256"] = hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
        return json.dumps(found).encode()
    except (ValueError, AttributeError, TypeError, RecursionError):
        return content


def read_manifest(file: Path) -> Manifest:
    folder = file.parent / f"{file.name}.folder"
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_bytes(file.read_bytes())
    return Manifest.read(folder)


def read_template(file: Path) -> str:
    prompt = kvorum.tasks.Prompt(answer_format="text", template=load_template(file))
    return prompt.render(kvorum.Question(id="q", question="Which of these? " * 20, choices=("one", "two", "three")))


TARGETS = {
    "jsonl": Target("q.jsonl", load_task, questions_jsonl),
    "csv": Target("q.csv", load_task, questions_csv),
    "parquet": Target("q.parquet", load_task, questions_parquet),
    "settings": Target("fit.yaml", lambda file: fit_config(read_yaml(file), where=str(file)), settings_yaml),
    "study": Target("study.yaml", Study.read, study_yaml),
    "template": Target("prompt.jinja", read_template, templates, named="prompt"),
    "adapters": Target("adapters.safetensors", AdapterStack.load, adapters),
    "tensors": Target("optimizer.safetensors", load_tensors, adapters),
    "predictions": Target("p.parquet", kvorum.Predictions.load, predictions),
    "manifest": Target("manifest.json", read_manifest, manifest),
    "config": Target("config.yaml", read_run("config.yaml"), facts_yaml),
    "log": Target("log.jsonl", read_run("log.jsonl"), log_jsonl),
    "run": Target("t.parquet", read_run("epochs/000/predictions/t.parquet"), predictions),
    "numbers": Target("t.numbers.json", read_run("epochs/000/predictions/t.numbers.json"), numbers_json),
}


def outcome(target: Target, file: Path) -> str:
    """What came of reading a file: empty where it is read, else what the error says."""
    try:
        target.read(file)
    except kvorum.KvorumError as error:
        return str(error) or "an error without words"
    return ""


def main() -> None:
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, file in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        begun = time.monotonic()
        said = outcome(TARGETS[name], Path(file))
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start
        found = {"said": said, "seconds": time.monotonic() - begun, "mib": grown / 1024}
        sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
