"""An experiment on a cluster, as the command runs it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from kvorum.active.config import learn_config
from kvorum.active.loop import learn
from kvorum.active.records import Learned
from kvorum.cli import main

pytest.importorskip("ray")
pytestmark = pytest.mark.ray


def test_an_experiment_on_a_cluster_comes_to_what_it_does_here(
    cluster: Any, tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    settings = {
        "out": str(tmp_path / "spread"),
        "settings": {"model": tiny_model, "epochs": 1, "lr": 1e-2, "rank": 2, "alpha": 4.0, "evaluate_limit": 8},
        "pool": [{"task": "facts_capitals", "limit": 25}],
        "test": ["facts_capitals"],
        "acquisitions": ["random", "k_centre"],
        "initial": 5,
        "batch": 4,
        "rounds": 2,
        "seeds": [0, 3],
        "members": 2,
    }
    plain = learn(learn_config(settings | {"out": str(tmp_path / "plain")}, where="test"))
    file = tmp_path / "learn.yaml"
    file.write_text(yaml.safe_dump(settings))
    caplog.set_level("INFO", logger="kvorum")
    main(["learn", str(file), "--ray", cluster.address])
    shown = capsys.readouterr()
    assert str(tmp_path / "spread/report/index.html") in shown.out
    assert "k_centre, seed 3: round 2/2: 13 labels  accuracy" in caplog.text
    assert "7 done" in shown.err and not (tmp_path / "spread/groups").exists()
    spread = Learned.open(tmp_path / "spread")
    for name in ("random", "k_centre"):
        for number in range(3):
            for seed in (0, 3):
                one, two = (of.record(name, number, seed) for of in (plain, spread))
                assert one.labelled == two.labelled
                one, two = (of.test(name, number, seed, "facts_capitals") for of in (plain, spread))
                np.testing.assert_allclose(one.probs, two.probs, atol=1e-5)
