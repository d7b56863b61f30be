"""Question sets and tiny tokenizers of different kinds."""

import json
import os
from pathlib import Path

import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import ByT5Tokenizer, PreTrainedTokenizerFast

CORPUS = [
    "Question: What is the capital of France?\nAnswer: Paris",
    "Q: Which of these is a fruit?\nAnswer Choices:\n(a) apple\n(b) banana stand\n(c) cup\nA: (b).",
    "The quick brown fox jumps over the lazy dog, and 47 + 38 is 85. Émile said: 東京 is big.",
]


@pytest.fixture
def question_sets() -> Path:
    """The folder of published question sets."""
    beside = Path(__file__).parents[3] / "shared" / "data"
    root = Path(os.environ.get("KVORUM_DATA") or beside)
    if not (root / "cais" / "mmlu").is_dir():
        pytest.skip(f"no published question sets: neither KVORUM_DATA nor {beside} holds them")
    return root


@pytest.fixture(autouse=True)
def no_data_root(request, monkeypatch):
    """Tests name their data root; the environment's must not decide what they test."""
    if "question_sets" not in request.fixturenames:
        monkeypatch.delenv("KVORUM_DATA", raising=False)


def byte_level() -> PreTrainedTokenizerFast:
    """As GPT-2, Llama 3, Qwen and SmolLM: bytes, blanks belong to the word that follows, nothing set in front."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<|start|>", "<|end|>"],
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")


def like_llama(template: str = "<s> $A") -> PreTrainedTokenizerFast:
    """As Llama 2 and Mistral: sentencepiece's blanks, one set before the text, bytes for unknown characters, BOS."""
    learned = Tokenizer(models.BPE(unk_token="<unk>"))
    trainer = trainers.BpeTrainer(vocab_size=200, special_tokens=["<unk>", "<s>", "</s>"], show_progress=False)
    learned.train_from_iterator([f"▁{word}" for text in CORPUS for word in text.split() if word.isascii()], trainer)
    model = json.loads(learned.to_str())["model"]
    vocabulary = model["vocab"]
    for byte in range(256):
        vocabulary[f"<0x{byte:02X}>"] = len(vocabulary)
    merges = [tuple(pair) for pair in model["merges"]]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=[("<s>", 1), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def from_merges(vocabulary: list[str], merges: list[tuple[str, str]], *, normalizer=None) -> PreTrainedTokenizerFast:
    """Exactly the tokens named, joined exactly as named; everything else is <unk>."""
    tokens = {token: place for place, token in enumerate(["<unk>", *vocabulary, *("".join(pair) for pair in merges)])}
    tokenizer = Tokenizer(models.BPE(vocab=tokens, merges=merges, unk_token="<unk>"))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>")


TOKENIZERS = {
    "byte-level": byte_level,
    "like Llama": like_llama,
    "with BOS and EOS": lambda: like_llama("<s> $A </s>"),
    "written in Python, with EOS": ByT5Tokenizer,
}


@pytest.fixture(scope="session", params=TOKENIZERS)
def tokenizer(request):
    """One tokenizer of each kind."""
    return TOKENIZERS[request.param]()


@pytest.fixture(scope="session")
def make_tokenizer():
    """One of `TOKENIZERS` by its name."""
    return lambda kind: TOKENIZERS[kind]()


@pytest.fixture(scope="session")
def make_merges():
    return from_merges
