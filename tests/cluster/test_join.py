from pathlib import Path

from tests.cluster.fits import *

def test_it(tiny_model: str, question_file: str, tmp_path: Path) -> None:
    joint = at_once(tiny_model, question_file, tmp_path / "joint")
    apart = in_groups(tiny_model, question_file, tmp_path / "apart")
    same_fit(joint, apart)
    no_leftovers(apart)
    all = in_groups(tiny_model, question_file, tmp_path / "all", per_worker=4)
    assert held(all) == held(joint)
