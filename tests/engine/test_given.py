"""Models that are handed over, and such as cannot be taken as they are."""

import importlib.util
from pathlib import Path

import pytest

import kvorum
from kvorum.engine import load_base
from kvorum.engine.given import given_base
from kvorum.errors import KvorumError
from tests import tiny


def test_it_is_told_from_another_by_its_weights() -> None:
    one, same, other = (given_base(tiny.model(seed=seed), tiny.tokenizer()) for seed in (0, 0, 1))
    assert one.revision == same.revision != other.revision and one.quantize == "off"


@pytest.mark.parametrize("quantize", ["4bit", "8bit"])
def test_one_that_is_quantised_already_is_refused(tiny_model: str, question_file: str, quantize) -> None:
    if importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed")
    model = load_base(tiny_model, quantize=quantize).model
    with pytest.raises(KvorumError, match=r"holds its weights in few bits, .*; name the model instead, with quantize="):
        kvorum.fit((model, tiny.tokenizer()), question_file)


def test_one_whose_weights_are_brought_in_is_refused(tiny_model: str, question_file: str, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    from tests.engine.test_spread import off_the_device

    model = off_the_device(tiny_model, tmp_path).model
    with pytest.raises(KvorumError, match=r"accelerate moves .* name the model instead, with device_map='auto'"):
        kvorum.fit((model, tiny.tokenizer()), question_file)
