"""The walls of the house: which room may import which, and which must not need torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "kvorum"

# Each room, and what of ours it may import besides itself.
ALLOWED = {
    "errors": set(),
    "files": {"errors"},
    "bounded": {"errors"},
    "safe_yaml": {"errors", "bounded"},
    "parquet": {"errors"},
    "tasks": {"errors", "bounded", "parquet"},
    "adapters": {"errors"},
    "uncertainty": {"errors"},
    "acquisition": {"errors", "uncertainty"},
    "config": {"errors", "bounded", "safe_yaml"},
    "engine": {"errors", "adapters"},
    "facts": {"errors", "config"},
    "predictions": {"errors", "facts", "files", "parquet", "uncertainty"},
    "run": {"errors", "bounded", "safe_yaml", "facts", "files", "config", "predictions", "uncertainty"},
    "decisions": {"errors", "bounded", "config", "files", "predictions", "run", "uncertainty"},
    "tracking": {"errors", "bounded"},
    "posterior": {
        "errors",
        "files",
        "config",
        "predictions",
        "run",
        "tasks",
        "adapters",
        "engine",
        "tracking",
        "uncertainty",
    },
    "active": {
        "errors",
        "bounded",
        "safe_yaml",
        "files",
        "config",
        "acquisition",
        "predictions",
        "run",
        "tasks",
        "adapters",
        "engine",
        "posterior",
        "uncertainty",
    },
    "cluster": {
        "errors",
        "bounded",
        "files",
        "config",
        "acquisition",
        "active",
        "predictions",
        "run",
        "study",
        "tasks",
        "adapters",
        "engine",
        "posterior",
    },
    "labelling": {"errors", "bounded", "files", "tasks", "serve", "terminal_safe"},
    "harness": {"errors", "posterior", "run", "tasks", "uncertainty"},
    "report": {"errors", "files", "active", "config", "decisions", "predictions", "run", "uncertainty"},
    "serve": {
        "errors",
        "bounded",
        "decisions",
        "posterior",
        "predictions",
        "report",
        "run",
        "tasks",
        "uncertainty",
    },
    "terminal": {"errors", "predictions", "report", "run"},
    "terminal_acquired": {"active"},
    "terminal_comparison": {"report"},
    "terminal_decisions": {"decisions", "predictions", "report", "uncertainty"},
    "terminal_learning": {"report"},
    "terminal_safe": {"bounded"},
    "terminal_study": {"errors", "decisions", "report", "uncertainty"},
    "interchange": {
        "errors",
        "bounded",
        "files",
        "config",
        "run",
        "report",
        "posterior",
        "engine",
        "adapters",
        "tasks",
    },
    "study": {"errors", "config", "run", "report", "posterior", "engine", "tasks"},
    "cli": {
        "errors",
        "acquisition",
        "active",
        "cluster",
        "labelling",
        "harness",
        "config",
        "report",
        "run",
        "decisions",
        "posterior",
        "predictions",
        "serve",
        "tasks",
        "study",
        "interchange",
        "terminal",
        "terminal_acquired",
        "terminal_comparison",
        "terminal_decisions",
        "terminal_learning",
        "terminal_safe",
        "terminal_study",
        "uncertainty",
        "bounded",
    },
}


def imported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def room(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


FILES = sorted(file for file in SOURCE.rglob("*.py") if file.parent != SOURCE or file.name != "__init__.py")


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_a_room_imports_only_the_rooms_below_it(file: Path) -> None:
    here = room(file)
    ours = {name.split(".")[1] for name in imported(file) if name.startswith("kvorum.")}
    assert ours - {here} <= ALLOWED[here]


@pytest.mark.parametrize("here", ["engine", "adapters"])
def test_engine_and_adapters_need_torch_transformers_safetensors_and_numpy_alone(here: str) -> None:
    third = {"torch", "transformers", "safetensors", "numpy", "jaxtyping"}
    for file in (SOURCE / here).rglob("*.py"):
        roots = {name.partition(".")[0] for name in imported(file)}
        assert roots - set(sys.stdlib_module_names) <= third | {"kvorum"}, file


@pytest.mark.parametrize(
    "code",
    [
        "import kvorum",
        "import kvorum.cli",
        "import kvorum.report",
        "import kvorum.terminal",
        "import kvorum.terminal_learning",
        "import kvorum.uncertainty",
    ],
)
def test_reading_a_run_needs_no_torch(code: str) -> None:
    heavy = "torch transformers peft datasets matplotlib sklearn pandas"
    check = f"import sys\n{code}\nprint(*[m for m in '{heavy}'.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_fitting_by_hand_needs_none_of_what_a_run_does() -> None:
    absent = "pydantic pyarrow jinja2 tyro datasets matplotlib rich peft"
    code = f"import sys\nfor name in '{absent}'.split(): sys.modules[name] = None\n"
    code += "import kvorum.engine, kvorum.adapters, kvorum.posterior.step"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
