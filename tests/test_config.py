import dataclasses
import json
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from kvorum.active.config import LEARN_FIELDS, PART_FIELDS, read_learn_config
from kvorum.config import FIELDS, CutOptions, StudyOptions, fit_config, read_yaml
from kvorum.errors import KvorumError
from kvorum.study import STUDY_FIELDS, Study

ROOT = Path(__file__).parent.parent
LEAST = {"model": "m", "task": "t"}


@pytest.mark.parametrize("file", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda f: f.name)
def test_the_configurations_that_ship_are_valid(file: Path) -> None:
    if "acquisitions" in read_yaml(file):
        assert read_learn_config(file).fit
    elif "runs" in read_yaml(file):
        assert Study.read(file).fits
    else:
        fit_config(read_yaml(file), where=file.name)


def test_the_paper_s_configuration_holds_the_paper_s_values() -> None:
    paper = fit_config(read_yaml(ROOT / "configs" / "paper.yaml"))
    expected = {
        "model": "mistralai/Mistral-7B-v0.1", "targets": ("q_proj", "v_proj"), "rank": 8, "alpha": 32.0,
        "dropout": 0.0, "lr": 5e-6, "schedule": "constant", "batch_size": 8, "clip": 0.3, "epochs": 10, "l2": 1.0,
        "prior": "product", "answer_format": "letter", "task": "commonsense_qa", "members": 20,
        "evaluate": ("commonsense_qa", "mmlu_stem", "mmlu_social_sciences"),
    }  # fmt: skip
    assert {name: getattr(paper, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"model": "m"}, "task is missing"),
        (LEAST | {"lerning_rate": 1}, "no setting 'lerning_rate'"),
        (LEAST | {"batchsize": 1}, "did you mean 'batch_size'"),
        (LEAST | {"members": 0}, "members is 0; it must be at least 1"),
        (LEAST | {"members": "many"}, "members is 'many'"),
        (LEAST | {"prior": "flat"}, "prior is 'flat'.*'product', 'factors' or 'none'"),
        (LEAST | {"lr": -1}, "lr is -1.0; it must be positive"),
        (LEAST | {"lr": float("nan")}, "lr is nan"),
        (LEAST | {"l2": float("nan")}, "l2 is nan"),
        (LEAST | {"dropout": 1.0}, "dropout is 1.0"),
        (LEAST | {"targets": []}, "targets is empty"),
        (LEAST | {"warmup": 3}, "fraction of all steps"),
    ],
)
def test_what_is_wrong_is_named(settings: dict, message: str) -> None:
    with pytest.raises(KvorumError, match=message):
        fit_config(settings)


def test_one_name_stands_for_a_list_of_it() -> None:
    made = fit_config(LEAST | {"targets": "q_proj", "evaluate": "t"})
    assert made.targets == ("q_proj",) and made.evaluate == ("t",)


def test_the_fitted_task_is_scored_first_and_none_twice() -> None:
    assert fit_config(LEAST | {"evaluate": ["x", "t", "x"]}).evaluation_tasks == ("t", "x")
    assert fit_config(LEAST).evaluation_tasks == ("t",)


def test_every_setting_is_explained() -> None:
    for name, info in FIELDS.items():
        assert info.description and len(info.description) > 15, name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- a\n- b\n", "expected settings"),
        ("a: [1", "not valid YAML"),
        ("", "expected settings"),
        ("!!python/object:os.system {}", "not valid YAML"),
    ],
)
def test_a_file_that_is_no_mapping_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(KvorumError, match=f"c.yaml.*{message}"):
        read_yaml(file)
    with pytest.raises(KvorumError, match=r"missing.yaml: cannot be read"):
        read_yaml(tmp_path / "missing.yaml")


def test_the_manual_lists_every_setting_with_its_default_and_meaning() -> None:
    manual = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    for name, info in FIELDS.items():
        default = "required" if info.is_required() else f"`{as_written(info.default)}`"
        row = f"| `{name}` | {default} | {info.description} |".replace("||BA||", r"\|\|BA\|\|")
        row = row.replace("||A||", r"\|\|A\|\|").replace("||B||", r"\|\|B\|\|")
        assert row in manual, f"docs/settings.md lacks this row:\n{row}"


def test_the_manual_lists_what_a_report_and_a_study_take() -> None:
    manual = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    described = {}
    for options in (StudyOptions, CutOptions):  # the second last, which describes what it hands down
        described |= TypeAdapter(options).json_schema()["properties"]
    for field in dataclasses.fields(StudyOptions):
        assert f"| `{field.name}` | `{as_written(field.default)}` | {described[field.name]['description']} |" in manual
    for name, info in STUDY_FIELDS.items():
        assert f"| `{name}` | " in manual and f" | {info.description} |" in manual


def test_the_manual_lists_what_an_experiment_takes() -> None:
    manual = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    for name, info in {**LEARN_FIELDS, **PART_FIELDS}.items():
        default = "required" if info.is_required() else f"`{as_written(info.default)}`"
        row = f"| `{name}` | {default} | {info.description} |"
        assert row in manual, f"docs/settings.md lacks this row:\n{row}"


def as_written(value: object) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)
