"""The benchmark of one step: its counts and ratios by hand, and that a bare machine can run it."""

import json
import subprocess
import sys
from pathlib import Path

import gpu_step
import measure
import numpy as np
import pytest
import torch

FOLDER = Path(gpu_step.__file__).parent
ARGUMENTS = "--shape tiny --device cpu --members 1 2 --repeats 1 --steps 1 --no-compile"


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    file = tmp_path_factory.mktemp("gpu_step") / "rows.json"
    rows = gpu_step.main([*ARGUMENTS.split(), "--peak", "0.5", "--json", str(file)])
    assert json.loads(file.read_text())["rows"] == rows
    return rows


def test_every_side_has_a_row(rows: list[dict]) -> None:
    ours = ["kvorum, M = 1", "kvorum, M = 2"]
    assert [row["side"] for row in rows] == ours + [side.name for side in gpu_step.SIDES]
    assert all(row["peak GiB"] is None for row in rows)  # there is no GPU


def test_flops_by_hand(rows: list[dict]) -> None:
    # Two layers of q and o 64 x 64, k and v 64 x 32, gate, up and down 64 x 96; rank 8 on q and v; 256 tokens.
    decoder = 2 * (2 * 64 * 64 + 2 * 64 * 32 + 3 * 64 * 96)
    adapters = 2 * 8 * ((64 + 64) + (64 + 32))
    tokens = 8 * float(np.mean([len(q.prompt) for q in gpu_step.random_questions(256)]))
    member = 4 * decoder * tokens + 6 * adapters * tokens + 4 * 64 * 256 * 8
    assert [row["flops"] for row in rows] == pytest.approx([member, 2 * member, member, member, member])
    for row in rows:
        assert row["utilisation"] == pytest.approx(row["flops"] / row["times"][0] / 0.5e12)


def test_ratios_are_those_of_the_times(rows: list[dict]) -> None:
    times = {row["side"]: row["times"] for row in rows}
    for row, members in zip(rows, [1, 2, 1, 1, 1], strict=True):
        for side in gpu_step.SIDES:
            expected = members * measure.median(measure.ratios(times[side.name], row["times"]))
            assert row[f"over {side.name}"] == pytest.approx(expected)
        assert row["ms a step"] == pytest.approx(1e3 * row["times"][0])


def test_questions_have_the_lengths_of_commonsense_qa() -> None:
    lengths = [len(question.prompt) for question in gpu_step.random_questions(100)]
    assert 5 * 8 * np.mean(lengths) == pytest.approx(2160, rel=0.01)
    assert (min(lengths), max(lengths)) == (43, 75)


def test_the_large_shape_is_that_of_mistral_7b() -> None:
    with torch.device("meta"):
        model = gpu_step.random_model("mistral-7b", torch.device("meta"), torch.bfloat16)
    assert sum(p.numel() for p in model.parameters()) == 7_241_732_096
    assert gpu_step.flops(model, 2160, 0, 8) == pytest.approx(60e12, rel=0.02)


def test_a_bare_machine_can_run_it() -> None:
    absent = "pydantic pyarrow jinja2 tyro datasets matplotlib rich"
    block = (
        f"import sys\nfor name in '{absent}'.split(): sys.modules[name] = None\nsys.path.insert(0, {str(FOLDER)!r})\n"
    )
    code = block + f"import gpu_step\ngpu_step.main('{ARGUMENTS} --sides'.split())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "kvorum, M = 2" in done.stdout


def test_a_profile_names_the_operators(tmp_path: Path) -> None:
    file = tmp_path / "profile.txt"
    gpu_step.main([*ARGUMENTS.split(), "--sides", "--profile", str(file)])
    assert "M = 1\n" in file.read_text() and "aten::mm" in file.read_text()


# 40 members are too many for one product over all.
@pytest.mark.parametrize("members", [2, 40])
def test_a_step_reads_nothing_back_from_the_device(members: int) -> None:
    # Tensors on "meta" have no values: to read one, for which a GPU would be waited for, is an error.
    device = torch.device("meta")
    asked = gpu_step.parsed(["--shape", "tiny", "--device", "meta", "--no-compile", "--batch", "3"])
    model = gpu_step.random_model("tiny", device, torch.bfloat16)
    draw = np.random.default_rng(0)
    step, ending = gpu_step.jointly(model, gpu_step.random_questions(256), members, draw, asked)()
    with ending:
        assert [step().device for _ in range(2)] == [device, device]
