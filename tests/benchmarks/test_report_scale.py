"""The benchmark of the report at scale, on a run small enough to wait for."""

from pathlib import Path

import numpy as np
import pytest
import report_scale

from kvorum import Run


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(report_scale, "TASKS", {"commonsense_qa": (30, 5), "mmlu_stem": (20, 4)})
    return report_scale.noise_run(tmp_path / "run", members=4, epochs=3)


def test_the_noise_learns_in_domain_and_drifts_apart(small: Path) -> None:
    run = Run.open(small)
    first, last = (run.predictions(epoch, "commonsense_qa") for epoch in (0, 2))
    assert first.members == 4 and len(first) == 30 and run.epochs == (0, 1, 2)
    assert last.accuracy() > first.accuracy() and last.mutual_information.mean() > first.mutual_information.mean()
    np.testing.assert_allclose(first.mutual_information, 0, atol=1e-9)


def test_a_cold_report_computes_every_number_again(small: Path) -> None:
    kept = sorted(small.glob("epochs/*/predictions/*.numbers.json"))
    assert len(kept) == 6
    report_scale.forget(small)
    assert not any(file.exists() for file in kept)
    found = report_scale.in_a_process(small)
    assert found["seconds"] > 0 and found["peak_mb"] > 20 and (small / "report" / "index.html").is_file()
    assert all(file.exists() for file in kept)


def test_lines_hold_the_least_and_the_median() -> None:
    rounds = [
        {"seconds": 41.04, "cpu_seconds": 60.0, "peak_mb": 512.0},
        {"seconds": 43.04, "cpu_seconds": 62.0, "peak_mb": 514.0},
    ]
    found = {
        "members": 20, "epochs": 11, "machine": "2 cores", "report": {"cold": rounds}, "page_mb": 11.27,
        "browser": {"open": [3.0, 1.0, 2.0]},
    }  # fmt: skip
    lines = report_scale.lines_of(found)
    assert "| report, cold, s | 41.0 | 42.0 | 43.0 | 2 |" in lines and "| open, ms | 1 | 2 | 3 | 3 |" in lines
