"""Shape and type annotations of the whole library are checked while the tests run."""

import json
import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

install_import_hook("kvorum", "beartype.beartype")

# Nothing is fetched while the tests run, and tiny matrices gain nothing from several threads.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="the long form of tests/faults, as in: make faults")
    parser.addoption("--ray", action="store_true", help="the tests that start a Ray cluster, as in: make test-ray")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    on_ray = Path(__file__).parent / "cluster" / "ray"
    return True if collection_path == on_ray and not config.getoption("--ray") else None


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a tiny random Llama that reads bytes."""
    from tests import tiny

    return str(tiny.save(tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture
def question_file(tmp_path: Path) -> str:
    """Twenty questions of a user's own."""
    rows = [
        {"id": f"q{i}", "question": f"Which is {i}?", "choices": [f"{i}", f"{i + 1}", "no <b>"], "answer": i % 3}
        for i in range(20)
    ]
    file = tmp_path / "mine.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(file)
