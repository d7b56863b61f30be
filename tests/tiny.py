"""Tiny random models of the architectures that are tested, and questions for them."""

import dataclasses
from pathlib import Path

import numpy as np
import tokenizers
import tokenizers.decoders
import tokenizers.models
import tokenizers.pre_tokenizers
import torch
import transformers
from transformers import PreTrainedModel

ARCHITECTURES = ["llama", "mistral", "qwen2", "qwen3", "gpt2", "phi3", "gemma2", "mixtral", "gpt_oss"]
VOCABULARY = 97
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


def config(name: str) -> transformers.PreTrainedConfig:
    if name == "llama":
        return transformers.LlamaConfig(**SHAPE)
    if name == "mistral":  # a sliding window shorter than the prompts below
        return transformers.MistralConfig(**SHAPE, sliding_window=5)
    if name == "qwen2":  # biases on q, k and v
        return transformers.Qwen2Config(**SHAPE)
    if name == "gpt2":  # Conv1D, learned positions, dropout that must stay off
        return transformers.GPT2Config(vocab_size=VOCABULARY, n_embd=32, n_layer=3, n_head=4, n_positions=64)
    if name == "gemma2":  # soft-caps small enough to bite, a short sliding window on the first and the last layer
        return transformers.Gemma2Config(
            **SHAPE,
            head_dim=8,
            query_pre_attn_scalar=8,
            sliding_window=5,
            attn_logit_softcapping=1.0,
            final_logit_softcapping=5.0,
        )
    if name == "phi3":  # q, k and v in one linear map, and gate and up in one
        return transformers.Phi3Config(**SHAPE, pad_token_id=0)
    if name == "qwen3":  # norms on q and k
        return transformers.Qwen3Config(**SHAPE, head_dim=8)
    if name == "mixtral":  # experts and routers that are no linear modules
        return transformers.MixtralConfig(**SHAPE, num_local_experts=4)
    if name == "gpt_oss":  # attention sinks, biases, a short sliding window on the first and the last layer, experts
        return transformers.GptOssConfig(
            **SHAPE, head_dim=8, sliding_window=5, num_local_experts=4, num_experts_per_tok=2
        )
    if name == "opt":  # dropout in its layers' own forward, which must stay off
        return transformers.OPTConfig(
            vocab_size=VOCABULARY,
            hidden_size=32,
            word_embed_proj_dim=32,
            ffn_dim=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            max_position_embeddings=64,
        )
    raise ValueError(name)


def model(name: str = "llama", seed: int = 0) -> PreTrainedModel:
    """A random model, its weights larger than at a usual start so that wrong attention shows."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = transformers.AutoModelForCausalLM.from_config(config(name), dtype=torch.float32)
        for label, parameter in made.named_parameters():
            if parameter.ndim > 1 or label.endswith(("bias", "sinks")):
                torch.nn.init.normal_(parameter, std=0.2)
    return made


@dataclasses.dataclass(frozen=True)
class Encoded:
    prompt: tuple[int, ...]
    candidates: tuple[tuple[int, ...], ...]
    answer: int | None


def questions(count: int, answer_format: str, seed: int = 0, opening: tuple[int, ...] = ()) -> list[Encoded]:
    """Random questions: prompts of 6 to 13 tokens, 3 to 5 candidates, of 1 to 4 tokens each in text format.

    `opening` comes before every prompt.
    """
    draw = np.random.default_rng(seed)
    made = []
    for _ in range(count):
        prompt = opening + tuple(int(t) for t in draw.integers(0, VOCABULARY, draw.integers(6, 14)))
        choices = int(draw.integers(3, 6))
        if answer_format == "letter":
            candidates = tuple((10 + letter,) for letter in range(choices))
        else:
            candidates = tuple(
                tuple(int(t) for t in draw.integers(0, VOCABULARY, draw.integers(1, 5))) for _ in range(choices)
            )
        made.append(Encoded(prompt, candidates, int(draw.integers(0, choices))))
    return made


def tokenizer() -> transformers.PreTrainedTokenizerFast:
    """A byte-level tokenizer with a chat template: a token a byte, and one to begin a text with."""
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    vocabulary = {"<s>": 0} | {letter: i for i, letter in enumerate(sorted(alphabet), start=1)}
    made = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=vocabulary, merges=[]))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=made, bos_token="<s>")
    fast.chat_template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}<assistant>"
    return fast


def save(folder: Path, seed: int = 0, positions: int = 256) -> Path:
    """A folder with a random Llama that reads bytes, as `--model` takes it."""
    shape = SHAPE | {"vocab_size": 257, "max_position_embeddings": positions}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = transformers.LlamaForCausalLM(transformers.LlamaConfig(**shape))
    made.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder
