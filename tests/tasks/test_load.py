import subprocess
import sys

import pytest

from kvorum.errors import KvorumError
from kvorum.tasks import load_task, task_names


def test_every_named_task_is_listed():
    assert set(task_names()) == {
        "facts_capitals",
        "facts_elements",
        "facts_opposites",
        "facts_sums",
        "commonsense_qa",
        "mmlu",
        "mmlu_stem",
        "mmlu_social_sciences",
        "mmlu_humanities",
        "mmlu_other",
        "arc_challenge",
        "arc_easy",
        "openbookqa",
    }


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("comonsense_qa", r"there is no task 'comonsense_qa', .*; did you mean 'commonsense_qa'\?"),
        ("MMLU_STEM", r"did you mean 'mmlu_stem'"),
        ("zzz", r"nor is it a file \(.jsonl, .csv, .parquet\); there are: arc_challenge, arc_easy"),
        ("folder/questions", "a task's file ends in .jsonl, .csv, .parquet"),
        ("", "there is no task ''"),
        ("questions.json", "nor is it a file"),
        ("questions.jsonl", "no file 'questions.jsonl'"),
    ],
)
def test_an_unknown_task(name, said):
    with pytest.raises(KvorumError, match=said):
        load_task(name)


def test_a_name_comes_before_a_file_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "facts_sums").write_text("")
    assert load_task("facts_sums").source == "built-in"


def test_importing_tasks_imports_nothing_slow():
    slow = ["torch", "transformers", "datasets", "pyarrow", "pandas", "sklearn", "scipy", "matplotlib"]
    script = f"import sys, kvorum.tasks; print([name for name in {slow} if name in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout
    assert printed.strip() == "[]"
