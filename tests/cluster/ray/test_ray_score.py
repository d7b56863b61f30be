"""Questions and studies on the workers of a cluster: the same as on one machine."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import kvorum
from kvorum import cli
from kvorum.run import Run
from kvorum.study import Study
from tests.cluster.test_score import SETTINGS

pytestmark = pytest.mark.ray


def test_questions_spread_over_a_cluster_are_answered_as_on_one_machine(
    cluster: Any, tiny_model: str, question_file: str, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    kvorum.fit(tiny_model, "facts_opposites", evaluate=["facts_opposites"], out=str(plain), device="cpu", **SETTINGS)
    shutil.copytree(plain, tmp_path / "spread")
    asked = ["--task", "facts_sums", question_file, "--epochs", "all", "--evaluate-limit", "64"]
    cli.main(["evaluate", str(plain), *asked])
    cli.main(["evaluate", (tmp_path / "spread").as_uri(), *asked, "--ray", cluster.address])
    ours, theirs = Run.open(tmp_path / "spread"), Run.open(plain)
    assert ours.scores() == theirs.scores() and len(theirs.scores()) == 6 and ours.damage() == []
    for epoch, task in theirs.scores():
        here, there = ours.predictions(epoch, task), theirs.predictions(epoch, task)
        assert (here.facts, here.questions_digest()) == (there.facts, there.questions_digest())
        np.testing.assert_allclose(here.probs, there.probs, atol=1e-6)
        np.testing.assert_allclose(here.rest, there.rest, atol=1e-6)


def test_a_study_spread_over_a_cluster_is_the_study_and_what_fails_harms_no_other_run(
    cluster: Any, tiny_model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = SETTINGS | {"model": tiny_model, "device": "cpu", "task": "facts_opposites", "evaluate_limit": 9}
    runs: dict[str, Any] = {"product": {}, "none": {"prior": "none", "members": 2}}
    file = tmp_path / "study.yaml"

    def write(**more: Any) -> None:
        content = {"out": str(tmp_path / "study"), "settings": settings | {"evaluate": ["facts_sums"]}}
        file.write_text(yaml.safe_dump(content | {"runs": runs | more}))

    write(wild={"lr": 1e30})
    with pytest.raises(SystemExit) as stop:
        cli.main(["study", str(file), "--ray", cluster.address])
    said = " ".join(capsys.readouterr().err.split())
    assert stop.value.code == 2 and "1 of 3 runs are not done" in said and "wild: members 0-2: " in said
    write()
    cli.main(["study", str(file), "--ray", cluster.address])
    assert capsys.readouterr().err.count("done already") == 2
    plain = Study.read(file, out=str(tmp_path / "plain")).run_all()
    for name, run in plain.items():
        ours = Study.read(file).done(name)
        assert ours is not None
        names = {name for name in run.manifest.files if name != "config.yaml"}
        assert names and all(ours.manifest.files[name] == run.manifest.files[name] for name in names)
