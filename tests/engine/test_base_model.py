from pathlib import Path

import pytest
import transformers

from kvorum.engine import load_base
from kvorum.errors import KvorumError
from tests import tiny


def test_a_folder_is_loaded_frozen_in_evaluation_mode(tmp_path: Path) -> None:
    base = load_base(str(tiny.save(tmp_path / "model")))
    assert not base.model.training and not any(p.requires_grad for p in base.model.parameters())
    assert base.max_length == 256 and base.parameters == sum(p.numel() for p in base.model.parameters())
    again = load_base(str(tmp_path / "model"))
    assert again.revision == base.revision and len(base.revision) == 64
    other = load_base(str(tiny.save(tmp_path / "other", seed=1)))
    assert other.revision != base.revision


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("smollm2-135", "no folder or .gguf file here.*did you mean 'smollm2-135m'"),
        ("nothing.gguf", "no such GGUF file"),
    ],
)
def test_a_model_that_is_not_there_is_named(name: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(KvorumError, match=message):
        load_base(name)


def test_a_folder_without_a_model_and_one_of_another_kind_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(KvorumError, match="could not be loaded"):
        load_base(str(tmp_path / "empty"))
    transformers.ViTConfig().save_pretrained(tmp_path / "vit")
    with pytest.raises(KvorumError, match="'vit', which is no causal language model"):
        load_base(str(tmp_path / "vit"))


def test_a_file_that_is_no_gguf_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    (tmp_path / "bad.gguf").write_bytes(b"not a model")
    with pytest.raises(KvorumError, match="is no GGUF file"):
        load_base(str(tmp_path / "bad.gguf"))
