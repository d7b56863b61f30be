"""What a user would do instead of kvorum: fine-tune the members one after another with PEFT, in three ways.

Every side minimises what kvorum minimises, on the same questions: the answer letter's cross-entropy, or for text the
cross-entropy over the candidates by the log-likelihood of their tokens, for which PEFT scores each candidate as a
sequence of its own.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from torch import Tensor, nn
from transformers import PreTrainedModel


@dataclasses.dataclass(frozen=True, kw_only=True)
class Side:
    """A way of fine-tuning one member with PEFT."""

    name: str
    pad_to: int | None = None
    """Tokens that every sequence is padded to; None: the longest of its batch."""
    length_grouped: bool = False
    """Whether a batch holds questions of alike lengths."""
    read_only: bool = False
    """Whether only the positions that are read reach the head (`logits_to_keep`); else logits are computed at all."""
    product_formed: bool = False
    """Whether the prior's B A is formed as an out x in matrix."""
    base_dtype: bool = False
    """Whether the adapters are in the base model's dtype; else in float32."""


PAPER = Side(name="PEFT, the paper's way", pad_to=128, product_formed=True)
PEOPLE = Side(name="PEFT, as people run it")
TUNED = Side(name="PEFT, tuned", length_grouped=True, read_only=True, base_dtype=True)
SIDES = (PAPER, PEOPLE, TUNED)

CLIP = 0.3


@dataclasses.dataclass(frozen=True)
class Sequences:
    """The candidates of a batch of questions, each a sequence of its own after its prompt; by letter one a question."""

    input_ids: Tensor
    attention_mask: Tensor
    rows: Tensor
    columns: Tensor
    """Where each candidate token is predicted, and"""
    tokens: Tensor
    """which token it is."""
    counts: tuple[int, ...]
    """How many candidates each question has."""


def sequences(questions: Sequence[Any], answer_format: str, pad_to: int | None) -> Sequences:
    """Padded to the left, so that what is read lies at the end and `logits_to_keep` can be one number."""
    wanted = [[q.candidates[q.answer]] if answer_format == "letter" else q.candidates for q in questions]
    pairs = [(q.prompt, candidate) for q, some in zip(questions, wanted, strict=True) for candidate in some]
    # The last token of a candidate predicts nothing that is read.
    texts = [prompt + candidate[:-1] for prompt, candidate in pairs]
    length = max(*map(len, texts), pad_to or 0)
    input_ids = torch.zeros(len(texts), length, dtype=torch.long)
    mask = torch.zeros_like(input_ids)
    read = []
    for row, (text, (_, candidate)) in enumerate(zip(texts, pairs, strict=True)):
        input_ids[row, length - len(text) :] = torch.tensor(text)
        mask[row, length - len(text) :] = 1
        read += [(row, length - len(candidate) + i, token) for i, token in enumerate(candidate)]
    rows, columns, tokens = torch.tensor(read).T
    return Sequences(input_ids, mask, rows, columns, tokens, tuple(len(some) for some in wanted))


class PeftMember:
    """One member on its own: PEFT's layers, torch's AdamW and clipping."""

    def __init__(
        self,
        base: PreTrainedModel,
        side: Side,
        *,
        targets: Sequence[str],
        rank: int,
        alpha: float,
        l2: float,
        lr: float,
    ) -> None:
        self.side = side
        self.l2 = l2
        wanted = "all-linear" if list(targets) == ["all-linear"] else list(targets)
        settings = LoraConfig(r=rank, lora_alpha=alpha, target_modules=wanted, lora_dropout=0.0, bias="none")
        self.model: Any = get_peft_model(base, settings, autocast_adapter_dtype=not side.base_dtype)
        if side.base_dtype:
            dtype = next(base.parameters()).dtype
            for parameter in self.model.parameters():
                if parameter.requires_grad:
                    parameter.data = parameter.data.to(dtype)
        self.model.eval()
        self.device = next(base.parameters()).device
        self.adapted = [module for module in self.model.modules() if hasattr(module, "lora_A")]
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=lr, weight_decay=0.0)

    def step(self, questions: Sequence[Any], answer_format: str) -> Tensor:
        """One optimizer step on a batch of questions."""
        batch = sequences(questions, answer_format, self.side.pad_to)
        answers = torch.tensor([question.answer for question in questions], device=self.device)
        loss = self.nll(batch, answer_format, answers) + self.l2 * self._penalty()
        loss.backward()
        nn.utils.clip_grad_norm_(self.trained, CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    def nll(self, batch: Sequences, answer_format: str, answers: Tensor) -> Tensor:
        """The mean over the questions, in nats."""
        rows, columns, tokens = (t.to(self.device) for t in (batch.rows, batch.columns, batch.tokens))
        length = batch.input_ids.shape[1]
        kept = length - int(batch.columns.min()) if self.side.read_only else length
        logits = self.model(
            input_ids=batch.input_ids.to(self.device),
            attention_mask=batch.attention_mask.to(self.device),
            logits_to_keep=kept,
            use_cache=False,
        ).logits.float()
        if answer_format == "letter" and not self.side.read_only:
            # What a model does with labels: cross-entropy over every position, most of them ignored.
            labels = torch.full(batch.input_ids.shape, -100, device=self.device)
            labels[rows, columns] = tokens
            return nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten())
        read = logits.log_softmax(-1)[rows, columns - (length - kept), tokens]
        scores = read.new_zeros(batch.input_ids.shape[0]).index_add(0, rows, read)
        if answer_format == "letter":
            return -scores.mean()
        chosen = [s.log_softmax(0)[a] for s, a in zip(scores.split(batch.counts), answers, strict=True)]
        return -torch.stack(chosen).mean()

    def _penalty(self) -> Tensor:
        terms = []
        for module in self.adapted:
            a, b = module.lora_A["default"].weight, module.lora_B["default"].weight
            terms.append((b @ a).square().sum() if self.side.product_formed else ((b.T @ b) * (a @ a.T)).sum())
        return torch.stack(terms).sum()

    def close(self) -> None:
        """Take the adapters off the base model again."""
        self.model.unload()
