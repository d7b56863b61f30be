"""Files of somebody else's making are read, or refused by name and place: no other exception, no hang, no gigabytes."""

import dataclasses
import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kvorum
from kvorum.cli import main
from tests.faults.conftest import ROOT, TALLY
from tests.faults.targets import TARGETS, outcome, run_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=8,
)
CELLS = st.text(max_size=12) | st.sampled_from(["", "a", "0", "question", '["a", "b"]', '"', "1e9", "\x00", "A"])


def mutated(valid: list[bytes]) -> st.SearchStrategy[bytes]:
    """A valid file with bytes changed, cut out and put in."""

    @st.composite
    def strategy(draw: st.DrawFn) -> bytes:
        content = bytearray(draw(st.sampled_from(valid)))
        for _ in range(draw(st.integers(1, 4))):
            place = draw(st.integers(0, max(0, len(content) - 1)))
            kind = draw(st.sampled_from(["change", "cut", "put"]))
            if kind == "change" and content:
                content[place] = draw(st.integers(0, 255))
            elif kind == "cut":
                del content[place : place + draw(st.integers(1, 64))]
            else:
                content[place:place] = draw(st.binary(max_size=16))
        return bytes(content)

    return strategy()


def replaced(valid: Callable[[], list[bytes]], load: Any, dump: Callable[[Any], bytes]) -> st.SearchStrategy[bytes]:
    """A valid file in which some value, anywhere, is another."""

    @st.composite
    def strategy(draw: st.DrawFn) -> bytes:
        whole = load(draw(st.sampled_from(valid())))
        for _ in range(draw(st.integers(1, 3))):
            holder: Any = {"": whole}
            key: Any = ""
            while isinstance(holder[key], dict | list) and holder[key] and draw(st.booleans()):
                holder = holder[key]
                key = draw(st.sampled_from(sorted(holder) if isinstance(holder, dict) else range(len(holder))))
            holder[key] = draw(VALUES)
            whole = holder[""] if "" in holder and key == "" and isinstance(holder, dict) else whole
        return dump(whole)

    return strategy()


def utf8(text: str) -> bytes:
    return text.encode("utf-8", errors="replace")


def as_yaml(value: Any) -> bytes:
    return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", errors="surrogatepass")


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


def as_lines(value: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in (value if isinstance(value, list) else [value]))


def lines(content: bytes) -> list[Any]:
    return [json.loads(line) for line in content.splitlines()]


@st.composite
def any_safetensors(draw: st.DrawFn) -> bytes:
    header = draw(
        st.dictionaries(
            st.sampled_from(["q.lora_A", "q.lora_B", "__metadata__", "x"]),
            VALUES
            | st.fixed_dictionaries(
                {
                    "dtype": st.sampled_from(["F32", "F64", "BF16", "I64", "BOOL", "F8_E4M3", "X"]),
                    "shape": st.lists(st.integers(-1, 2**62) | st.integers(0, 4), max_size=4),
                    "data_offsets": st.lists(st.integers(0, 64) | st.integers(0, 2**62), max_size=3),
                }
            )
            | st.fixed_dictionaries({"kvorum": st.text(max_size=30) | VALUES.map(json.dumps)}),
        )
    )
    text = json.dumps(header).encode()
    return struct.pack("<Q", draw(st.just(len(text)) | st.integers(0, 2**63))) + text + draw(st.binary(max_size=64))


@st.composite
def any_stack(draw: st.DrawFn) -> bytes:
    """Tensors as they should be under a header of any values."""
    (content,) = TARGETS["adapters"].valid()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    ours = json.loads(header["__metadata__"]["kvorum"])
    for _ in range(draw(st.integers(1, 2))):
        ours[draw(st.sampled_from(sorted(ours)))] = draw(VALUES)
    header["__metadata__"]["kvorum"] = json.dumps(ours)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + size :]


def parquet_of(columns: dict[str, Any], metadata: dict[bytes, bytes] | None = None) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns).replace_schema_metadata(metadata), sink)
    return sink.getvalue()


@st.composite
def any_parquet(draw: st.DrawFn) -> bytes:
    """A table with the right columns, of any types."""
    rows = draw(st.integers(0, 4))
    kinds: list[st.SearchStrategy[Any]] = [
        st.text(max_size=8),
        st.integers(-(2**62), 2**62),
        st.floats(),
        st.booleans(),
        st.binary(max_size=8),
        st.datetimes(),
        st.lists(st.text(max_size=4), max_size=4),
        st.lists(st.lists(st.floats(), max_size=3), max_size=3),
        st.lists(st.floats(0, 1), max_size=3),
        st.dictionaries(st.sampled_from("ab"), st.integers(0, 9), min_size=1, max_size=2),
    ]
    names = ["question", "choices", "answer", "id", "subject", "probs", "rest", "choice_0", "x"]
    columns = {}
    for name in draw(st.lists(st.sampled_from(names), unique=True, min_size=1)):
        value = draw(st.sampled_from(kinds))
        columns[name] = draw(st.lists(value | st.none(), min_size=rows, max_size=rows))
    facts = draw(VALUES.map(json.dumps) | st.text(max_size=10)).encode("utf-8", errors="replace")
    return parquet_of(columns, {b"kvorum": facts})


@st.composite
def any_predictions(draw: st.DrawFn) -> bytes:
    """Predictions as they should be, but for some numbers, lengths or facts."""
    columns = {
        "id": ["a", "b"],
        "subject": ["", ""],
        "question": ["x", "y"],
        "choices": [["1", "2"], ["1", "2", "3"]],
        "answer": [0, None],
        "probs": [[[0.9, 0.1], [0.2, 0.8]], [[0.2, 0.3, 0.5], [0.1, 0.1, 0.8]]],
        "rest": [[0.0, 0.0], [0.0, 0.0]],
    }
    numbers = st.floats() | st.sampled_from([0.0, 1.0, 0.5])
    columns["probs"] = draw(
        st.just(columns["probs"])
        | st.lists(st.lists(st.lists(numbers, max_size=3), max_size=3), min_size=2, max_size=2)
    )
    columns["rest"] = draw(st.just(columns["rest"]) | st.lists(st.lists(numbers, max_size=3), min_size=2, max_size=2))
    columns["answer"] = draw(st.just(columns["answer"]) | st.lists(st.integers(-3, 5), min_size=2, max_size=2))
    names = ["members", "diverged", "trained_on", "trained_on_questions", "epoch", "task", "source"]
    facts = draw(st.dictionaries(st.sampled_from(names), VALUES, max_size=4))
    return parquet_of(columns, {b"kvorum": json.dumps(facts).encode()})


ROWS = st.dictionaries(
    st.sampled_from(["question", "choices", "answer", "id", "subject", "choice_0", "choice_1", "label", "Question"]),
    VALUES | st.lists(st.text(max_size=4), max_size=4) | st.text(max_size=4),
    max_size=6,
)
TABLES = st.lists(st.lists(CELLS, max_size=5), max_size=5).map(
    lambda t: "\n".join(map(",".join, t)).encode("utf-8", "replace")
)
BITS = [
    "{{",
    "}}",
    "{%",
    "%}",
    "for c in choices",
    "endfor",
    "question",
    "choices",
    "letters",
    "loop.index",
    "|join('')",
]
BITS += ["|list", "*9", "**9", "|upper", "()", "if", "endif", " ", "\n", "'a'", "range(9)", "set x=", "~", "%", "[0]"]
TEXTS = st.lists(st.sampled_from(BITS) | st.text(max_size=3), max_size=14).map(
    lambda b: "".join(b).encode("utf-8", "replace")
)

STRATEGIES: dict[str, list[st.SearchStrategy[bytes]]] = {
    "jsonl": [st.lists(ROWS | VALUES, max_size=4).map(as_lines)],
    "csv": [TABLES, TABLES.map(lambda cells: b"question,choices,answer\n" + cells)],
    "parquet": [any_parquet()],
    "settings": [VALUES.map(as_yaml), replaced(TARGETS["settings"].valid, yaml.safe_load, as_yaml)],
    "study": [VALUES.map(as_yaml), replaced(TARGETS["study"].valid, yaml.safe_load, as_yaml)],
    "template": [TEXTS, TEXTS.map(lambda text: b"{{ question }}" + text)],
    "adapters": [any_safetensors(), any_stack()],
    "tensors": [any_safetensors(), any_stack()],
    "predictions": [any_parquet(), any_predictions()],
    "manifest": [replaced(TARGETS["manifest"].valid, json.loads, as_json)],
    "config": [replaced(TARGETS["config"].valid, yaml.safe_load, as_yaml)],
    "log": [st.lists(VALUES, max_size=3).map(as_lines), replaced(TARGETS["log"].valid, lines, as_lines)],
    "run": [any_predictions()],
    "numbers": [replaced(TARGETS["numbers"].valid, json.loads, as_json)],
}


@pytest.mark.parametrize("name", TARGETS)
def test_valid_files_are_read(name: str, tmp_path: Path) -> None:
    target = TARGETS[name]
    for number, content in enumerate(target.valid()):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / target.name).write_bytes(content)
        assert outcome(target, folder / target.name) == ""


@pytest.mark.parametrize("name", TARGETS)
def test_any_file_is_read_or_refused_by_name(name: str, tmp_path: Path, long: bool) -> None:
    target, counts = TARGETS[name], {"read": 0, "refused": 0}
    slow = name in ("config", "log", "run", "numbers")
    examples = (250 if slow else 1500) if long else (8 if slow else 25)
    strategy = st.one_of(st.binary(max_size=200), mutated(target.valid()), *STRATEGIES[name])

    @settings(
        max_examples=examples,
        deadline=20_000,  # milliseconds: what takes longer counts as a hang
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def tried(content: bytes) -> None:
        folder = tmp_path / "tried"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        file = folder / target.name
        file.write_bytes(content)
        said = outcome(target, file)
        counts["refused" if said else "read"] += 1
        assert not said or target.names(said), said

    tried()
    TALLY["generated files read"] += counts["read"]
    TALLY["generated files refused by name"] += counts["refused"]
    # Numbers that are not those of the predictions are not refused but computed again.
    assert counts["refused"] or name == "numbers"
    assert sum(counts.values()) >= examples / 2


def deep(opening: str, closing: str, middle: str = "") -> bytes:
    return (opening * 100_000 + middle + closing * 100_000).encode()


def laughs() -> bytes:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]
    return "\n".join([*lines, "model: *a11", "task: t"]).encode()


def wide_parquet(columns: dict[str, Any]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, compression="zstd", use_dictionary=True)
    return sink.getvalue()


def many_rows() -> bytes:
    """A hundred million questions in a few kilobytes."""
    one = pa.DictionaryArray.from_arrays(pa.array([0] * 10_000_000, pa.int8()), pa.array(["?"]))
    return wide_parquet({"question": pa.chunked_array([one] * 10), "choice_0": pa.chunked_array([one] * 10)})


def long_texts() -> bytes:
    """A text of a megabyte, twenty thousand times."""
    one = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int8()), pa.array(["?" * 2**20]))
    return wide_parquet({"question": one, "choice_0": one, "choice_1": one})


def uneven() -> bytes:
    """One question with a hundred thousand choices, and fifty thousand with one: together a matrix of 5 * 10^9."""
    choices = [[str(i) for i in range(100_000)], *[["a"]] * 50_000]
    count = len(choices)
    columns = {
        "id": [str(i) for i in range(count)],
        "subject": [""] * count,
        "question": ["?"] * count,
        "choices": choices,
        "answer": pa.array([None] * count, pa.int64()),
        "probs": [[[1.0 / len(some)] * len(some)] for some in choices],
        "rest": [[0.0]] * count,
    }
    return parquet_of(columns, {b"kvorum": b"{}"})


def huge_header() -> bytes:
    return struct.pack("<Q", 2**40) + b"{}"


def huge_tensor() -> bytes:
    header = {"q.lora_A": {"dtype": "F32", "shape": [2**20, 2**20, 4], "data_offsets": [0, 2**44]}}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text


BOMBS: dict[str, tuple[str, Callable[[], bytes], str]] = {
    "aliases of aliases": ("settings", laughs, "spells out more than 200,000 values"),
    "an alias of itself": ("settings", lambda: b"model: &a [*a]\n", "line 1: a value holds itself"),
    "deep YAML": ("settings", lambda: deep("[", "]"), "fit.yaml"),
    "deep YAML maps": ("study", lambda: b"{a: " * 1000 + b"}" * 1000, "more than 50 deep"),
    "a YAML of 20 MB": ("settings", lambda: b"# x\n" * 5_000_000, "is longer than 16,777,216 bytes"),
    "a number of 10,000 digits": ("settings", lambda: b"model: m\ntask: t\nepochs: " + b"9" * 10_000, "fit.yaml"),
    "a date that is none": ("settings", lambda: b"model: 2001-99-99\n", "cannot be read"),
    "a Python object": ("settings", lambda: b"model: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
    "deep JSON": ("jsonl", lambda: deep("[", "]"), "line 1"),
    "one line of 30 MB": ("jsonl", lambda: b'{"question": "' + b"x" * 30_000_000, "line 1: is longer than"),
    "a row of 30 MB": ("csv", lambda: b"question,choice_0\n" + b"a," * 15_000_000, "line 2: is longer than"),
    "a cell that never ends": ("csv", lambda: b'question,choice_0\n"' + b"a\n" * 5_000_000, "not valid CSV"),
    "deep JSON in the header": ("adapters", lambda: _stack_with('{"a":' * 50_000), "adapters.safetensors"),
    "a header of a terabyte": ("adapters", huge_header, "adapters.safetensors"),
    "a tensor of 16 terabytes": ("adapters", huge_tensor, "adapters.safetensors"),
    "deep JSON of a manifest": ("manifest", lambda: deep("[", "]"), "manifest.json"),
    "a hundred million rows": ("parquet", many_rows, "no more are read"),
    "twenty thousand megabytes": ("parquet", long_texts, "no more are read"),
    "a hundred thousand choices": ("predictions", uneven, "too uneven"),
    "a template of gigabytes": ("template", lambda: b"{{ question }}{{ 'a' * 10**10 }}", "the operator"),
}


def _stack_with(header: str) -> bytes:
    text = json.dumps({"__metadata__": {"kvorum": header}}).encode()
    return struct.pack("<Q", len(text)) + text


def module(name: str, *arguments: str, seconds: float) -> "subprocess.CompletedProcess[str]":
    """Run a module that lies beside this one, as a program of its own."""
    return subprocess.run(
        [sys.executable, "-m", f"tests.faults.{name}", *arguments],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )


LARGE = ("a hundred million rows", "a hundred thousand choices")
"""Bombs that take seconds to make."""


def test_a_small_file_cannot_ask_for_much(tmp_path: Path, long: bool) -> None:
    bombs = [bomb for bomb in BOMBS if long or bomb not in LARGE]
    asked: list[str] = []
    for number, bomb in enumerate(bombs):
        name, made, _ = BOMBS[bomb]
        file = tmp_path / str(number) / TARGETS[name].name
        file.parent.mkdir()
        file.write_bytes(made())
        asked += [name, str(file)]
    done = module("targets", *asked, seconds=300)
    assert done.returncode == 0, done.stderr[-2000:]
    for bomb, line in zip(bombs, done.stdout.splitlines(), strict=True):
        name, _, says = BOMBS[bomb]
        found = json.loads(line)
        assert says in found["said"] and TARGETS[name].name in found["said"], f"{bomb}: {found['said'][:500]}"
        assert found["mib"] < 1024 and found["seconds"] < 20, f"{bomb}: {found}"


@pytest.mark.parametrize("task", ["../../../outside", "/etc/passwd", "..", "a/b", "a\0b", "", "x" * 300])
def test_names_inside_files_lead_nowhere_else(task: str, tmp_path: Path) -> None:
    run = run_of(tmp_path, {})
    config = yaml.safe_load((run.path / "config.yaml").read_text())
    config["facts"]["task"] = task
    (run.path / "config.yaml").write_text(yaml.safe_dump(config))
    run.keep(run.path / "config.yaml")
    opened = kvorum.Run.open(run.path)
    before = {file for file in tmp_path.rglob("*")}
    with pytest.raises(kvorum.KvorumError, match="cannot be kept under that name"):
        opened.numbers(0, "t")
    with pytest.raises(kvorum.KvorumError, match="cannot be kept under that name"):
        opened.save_predictions(0, task, opened.predictions(0, "t"))
    assert {file for file in tmp_path.rglob("*")} == before


LINKED = ["log.jsonl", "epochs", "epochs/000/predictions", "report", "lock", "manifest.json", "config.yaml"]


@pytest.mark.parametrize("name", LINKED)
@pytest.mark.parametrize("command", [["show"], ["report"], ["check"], ["check", "--repair"], ["fit"]])
def test_a_link_inside_a_run_leads_nowhere(
    name: str, command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(tmp_path, {})
    outside, link = tmp_path / "outside", run.path / name
    if link.exists():
        link.rename(outside)
    elif name == "report":
        outside.mkdir()
    else:
        outside.write_text("mine")
    link.symlink_to(outside)
    before = {file: file.read_bytes() for file in [outside, *outside.rglob("*")] if file.is_file()}
    path = str(run.path)
    words = ["fit", f"{path}/config.yaml", "--task", "facts_sums", "--out", path] if command == ["fit"] else None
    with pytest.raises(SystemExit, match="2"):
        main(words or [command[0], path, *command[1:]])
    said = capsys.readouterr().err
    # What cannot be loaded comes first in a fit: the model of this run is none.
    assert "is a link, and nothing in a run directory may lead out of it" in said or words
    assert {file: file.read_bytes() for file in before} == before


@pytest.mark.parametrize("name", ["manifest.json", "epochs/000/adapters.safetensors", "log.jsonl"])
def test_a_pipe_inside_a_run_is_not_waited_for(name: str, tmp_path: Path) -> None:
    run = run_of(tmp_path, {})
    (run.path / name).unlink(missing_ok=True)
    os.mkfifo(run.path / name)
    with pytest.raises(kvorum.KvorumError, match="is no plain file"):
        kvorum.Run.open(run.path)


def test_pipes_devices_and_long_files_are_no_settings_prompts_or_questions(tmp_path: Path) -> None:
    for name, target in (("pipe.yaml", "settings"), ("pipe.jsonl", "jsonl"), ("pipe.jinja", "template")):
        os.mkfifo(tmp_path / name)
        assert "is no plain file" in outcome(TARGETS[target], tmp_path / name)
    (tmp_path / "zero.jinja").symlink_to("/dev/zero")
    assert "is no plain file" in outcome(TARGETS["template"], tmp_path / "zero.jinja")
    for name, target in (("long.yaml", "settings"), ("long.jinja", "template"), ("manifest.json", "manifest")):
        (tmp_path / name).touch()
        os.truncate(tmp_path / name, 3 * 2**30)
        if target == "manifest":
            with pytest.raises(kvorum.KvorumError, match="is longer than"):
                kvorum.run.manifest.Manifest.read(tmp_path)
        else:
            assert "is longer than" in outcome(TARGETS[target], tmp_path / name)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("members: 1000000000039", "members is 1e+12; it must be at most 10000"),
        ("rank: 100000000", "rank is 1e+08"),
        ("epochs: 1:1:1:1", "line 3: '1:1:1:1' is no number"),
        ("seed: 0x" + "f" * 5000, "is no number that is read"),
        ("seed: 99999999999999999999", "more than 64 bits"),
        ("lr: .inf", "holds inf; numbers are finite"),
        ("lr: 1.0e+300", "lr is 1e+300; it must be at most 1e+37"),
        ("device: privateuseone", "device is 'privateuseone'"),
        ('out: "a\\0b"', "holds control characters"),
        ('prompt: "\\e[2J"', "holds control characters"),
        ("task: 2026-01-01", "a date; quote it to give a text"),
        ("1: x", "a name is '1', which is no text"),
        ("model: n", "line 3: 'model' is there twice"),
        ("targets: !!set {a, b}", "a set"),
    ],
)
def test_settings_that_are_no_plain_values_or_beyond_all_measure(line: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "fit.yaml"
    file.write_text(f"model: m\n{'' if line.startswith('task') else 'task: t'}\n{line}\n")
    assert says in outcome(TARGETS["settings"], file)


def test_a_header_of_many_columns_takes_no_hours(tmp_path: Path) -> None:
    file = tmp_path / "q.csv"
    file.write_text("question," + ",".join(f"c{i}" for i in range(60_000)) + "\n")
    assert "there are 60,001 columns; at most 1,000" in outcome(TARGETS["csv"], file)
    row = {"question": "?", "choices": [f"choice number {i}" for i in range(40_000)], "answer": "choice number x"}
    file = tmp_path / "q.jsonl"
    file.write_text(json.dumps(row) + "\n")
    assert "which is neither the text of a choice" in outcome(TARGETS["jsonl"], file)


@pytest.mark.parametrize(
    "facts",
    [
        {"members": None},
        {"members": [0]},
        {"members": [0, -1]},
        {"diverged": {"x": "y"}},
        {"diverged": {"1" * 5000: "y"}},
        {"diverged": {"1": "\ud800"}},
        {"trained_on_questions": "many"},
    ],
)
def test_facts_of_predictions_are_held_to_their_types(facts: dict[str, Any], tmp_path: Path) -> None:
    table = pq.read_table(io.BytesIO(TARGETS["predictions"].valid()[0]))
    file = tmp_path / "p.parquet"
    pq.write_table(table.replace_schema_metadata({b"kvorum": json.dumps(facts).encode()}), file)
    assert "p.parquet: the 'kvorum' entry of its metadata" in outcome(TARGETS["predictions"], file)


@pytest.mark.parametrize(
    "change",
    [
        {"members": None},
        {"members": 10**10},
        {"questions": None},
        {"questions": 10**400},
        {"labelled": float("nan")},
    ],
)
def test_numbers_of_another_making_are_computed_again(change: dict[str, Any], tmp_path: Path) -> None:
    target = TARGETS["numbers"]
    whole = json.loads(target.valid()[0])
    file = tmp_path / target.name
    file.write_text(json.dumps({**whole, "numbers": {**whole["numbers"], **change}}))
    shown, _, text = target.read(file)
    assert shown["epochs"]["0"]["t"]["members"] == 2 and "NaN" not in text


def test_a_manifest_that_lists_a_millionth_epoch_is_told_of_briefly(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_of(tmp_path, {})
    manifest = run.manifest
    manifest.files["epochs/999999/adapters.safetensors"] = manifest.files["epochs/000/adapters.safetensors"]
    manifest.write()
    with pytest.raises(SystemExit, match="1"):
        main(["check", str(run.path)])
    assert capsys.readouterr().out.count("is missing") <= 110
    main(["show", str(run.path)])
    said = capsys.readouterr().err
    assert said.count("--repair computes") == 8 and "files are damaged or missing" in said


def test_json_for_scripts_does_not_steer_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    from kvorum.cli.terminal_io import print_json

    hostile = {"question": "a\x9b31m\x7f\u202e\x1b[2J\ud800ü"}
    print_json(hostile)
    said = capsys.readouterr().out
    assert json.loads(said) == hostile and not set(said) & set("\x9b\x7f\u202e\x1b\ud800") and "ü" in said


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "epochs/000/../../../x", "report/index.html"])
def test_a_manifest_lists_nothing_outside_the_run(name: str, tmp_path: Path) -> None:
    run = run_of(tmp_path, {})
    manifest = run.manifest
    manifest.files[name] = manifest.files["config.yaml"]
    manifest.write()
    with pytest.raises(kvorum.KvorumError, match=r"is no file of a run directory"):
        kvorum.Run.open(run.path)


def test_a_run_or_a_file_cannot_ask_for_code_to_be_run(
    tmp_path: Path, tiny_model: str, question_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model folder with Python code, and a configuration that says to trust it."""
    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    marker = tmp_path / "code was run"
    (model / "evil.py").write_text(
        f"open({str(marker)!r}, 'w')\nfrom transformers import LlamaConfig as C, LlamaForCausalLM as M\n"
    )
    config = json.loads((model / "config.json").read_text())
    config["auto_map"] = {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"}
    config["model_type"] = "evil"
    (model / "config.json").write_text(json.dumps(config))
    asked = {"model": str(model), "task": question_file, "trust_remote_code": True, "out": str(tmp_path / "run")}
    (tmp_path / "fit.yaml").write_text(yaml.safe_dump(asked))
    study = {
        "out": str(tmp_path / "s"),
        "settings": {key: asked[key] for key in asked if key != "out"},
        "runs": {"a": {}},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(study))
    run = kvorum.fit(tiny_model, question_file, out=str(tmp_path / "run"), epochs=0, members=1)
    opened = kvorum.Run.open(tmp_path / "run")
    opened.config = dataclasses.replace(opened.config, model=str(model), trust_remote_code=True)
    opened.save_config()
    for command in (
        ["fit", str(tmp_path / "fit.yaml")],
        ["study", str(tmp_path / "study.yaml")],
        ["ask", str(tmp_path / "run"), "Which?", "--choices", "a", "b"],
        ["evaluate", str(tmp_path / "run"), "--task", "facts_sums"],
    ):
        with pytest.raises(SystemExit, match="2"):
            main(command)
        assert "--trust-remote-code" in capsys.readouterr().err.replace("\n", " "), command
    assert run and not marker.exists()


def test_pickles_are_not_read(tmp_path: Path, question_file: str, tiny_model: str) -> None:
    import torch

    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    (model / "model.safetensors").unlink()
    torch.save({}, model / "pytorch_model.bin")
    with pytest.raises(kvorum.KvorumError, match="could not be loaded"):
        kvorum.fit(str(model), question_file, members=1)
    torch.save({"x": torch.zeros(1)}, tmp_path / "adapters.safetensors")
    assert "is no file of tensors" in outcome(TARGETS["adapters"], tmp_path / "adapters.safetensors")
    source = "".join(file.read_text() for file in (ROOT / "src").rglob("*.py"))
    assert not any(word in source for word in ("import pickle", "torch.load(", "yaml.load(", "yaml.unsafe", "exec("))


def test_the_fuzzer_led_by_coverage_finds_nothing(tmp_path: Path, long: bool) -> None:
    if not long:
        pytest.skip("in the long form: make faults")
    pytest.importorskip("atheris")
    names = ["jsonl", "csv", "settings", "study", "template", "adapters", "predictions", "parquet", "manifest"]
    for name in names:
        corpus = tmp_path / name
        corpus.mkdir()
        for number, content in enumerate(TARGETS[name].valid()):
            (corpus / str(number)).write_bytes(content)
        done = module("led_by_coverage", name, str(corpus), "60", seconds=900)
        assert done.returncode == 0, f"{name}: {done.stderr[-3000:]}"
        runs = re.search(r"Done (\d+) runs", done.stderr)
        assert runs is not None, done.stderr[-500:]
        TALLY[f"files by the fuzzer led by coverage: {name}"] += int(runs[1])
