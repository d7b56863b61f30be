"""Adapters made with PEFT, as a stranger's folder would hold them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import peft
import pytest
import torch

from tests import tiny

Maker = Callable[..., Path]


@pytest.fixture
def adapter(tmp_path: Path) -> Maker:
    """Makes a folder with an adapter of random A and B for a tiny model, saved by PEFT itself."""

    def make(name: str, *, architecture: str = "llama", seed: int = 0, base: str = "org/tiny", **settings: Any) -> Path:
        model = tiny.model(architecture)
        wanted = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"} | settings
        adapted = peft.get_peft_model(model, peft.LoraConfig(**wanted))
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for label, parameter in adapted.named_parameters():
                if "lora_" in label:
                    parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.2)
        adapted.save_pretrained(str(tmp_path / name))
        return change(tmp_path / name, base_model_name_or_path=base)

    return make


def change(folder: Path, **settings: Any) -> Path:
    """The same adapter with other settings."""
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    return folder
