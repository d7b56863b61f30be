"""A tiny Llama that reads bytes, as a GGUF file of quantised weights, as llama.cpp writes it."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from gguf.quants import quantize

from tests import tiny

LAYERS, HEADS, KEY_HEADS, DIM, INNER = 3, 4, 2, 32, 64
Q4, Q8 = gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.Q8_0
PLACES = {
    "attn_q": (HEADS * 8, DIM),
    "attn_k": (KEY_HEADS * 8, DIM),
    "attn_v": (KEY_HEADS * 8, DIM),
    "attn_output": (DIM, DIM),
    "ffn_gate": (INNER, DIM),
    "ffn_up": (INNER, DIM),
    "ffn_down": (DIM, INNER),
}


def save(path: Path, seed: int = 0, architecture: str = "llama") -> str:
    """Attention in 4 bits, the rest and the embeddings, which are the head too, in 8."""
    words: dict[str, int] = tiny.tokenizer().get_vocab()
    tokens = [*sorted(words, key=words.__getitem__), "ab"]
    draw = np.random.default_rng(seed)
    file = gguf.GGUFWriter(path, architecture)
    for name, value in {
        "block_count": LAYERS,
        "context_length": 256,
        "embedding_length": DIM,
        "feed_forward_length": INNER,
        "head_count": HEADS,
        "head_count_kv": KEY_HEADS,
        "vocab_size": len(tokens),
    }.items():
        add: Any = getattr(file, f"add_{name}")
        add(value)
    file.add_layer_norm_rms_eps(1e-6)
    file.add_tokenizer_model("gpt2")
    file.add_token_list(tokens)
    file.add_token_merges(["a b"])
    file.add_token_types([3] + [1] * (len(tokens) - 1))
    file.add_bos_token_id(0)
    file.add_eos_token_id(0)

    def add_weight(name: str, shape: tuple[int, int], kind: Any) -> None:
        weight = draw.normal(scale=0.2, size=shape).astype(np.float32)
        file.add_tensor(f"{name}.weight", quantize(weight, kind), raw_dtype=kind)

    add_weight("token_embd", (len(tokens), DIM), Q8)
    file.add_tensor("output_norm.weight", np.ones(DIM, dtype=np.float32))
    for layer in range(LAYERS):
        for norm in ("attn_norm", "ffn_norm"):
            file.add_tensor(f"blk.{layer}.{norm}.weight", np.ones(DIM, dtype=np.float32))
        for name, shape in PLACES.items():
            add_weight(f"blk.{layer}.{name}", shape, Q4 if name.startswith("attn") else Q8)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
    return str(path)


def tokens_of(count: int) -> torch.Tensor:
    return torch.arange(1, 1 + count)[None]
