"""Candidate log-probabilities: the one path for training, evaluation and serving."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from kvorum.adapters import Attachment, Route, first_device
from kvorum.engine.attention import prepared
from kvorum.engine.pack import Pack
from kvorum.engine.spread import kept_for

# Of so many rows of logits the normaliser is computed at once.
ROWS_AT_ONCE = 64

AnswerFormat = Literal["letter", "text"]
Normalisation = Literal["sum", "mean"]


@dataclasses.dataclass(frozen=True)
class CandidateScores:
    """What a pass says of the candidates, in nats."""

    log_probs: Float[Tensor, "item candidate"]
    """-inf where an item has fewer candidates."""
    rest: Float[Tensor, " item"]
    """The probability on everything that is no candidate; 0 in text format."""
    log_likelihoods: Float[Tensor, "item candidate"]
    """Of a candidate's tokens after the prompt, summed and of no other normalisation; -inf where there is none."""
    greedy: Bool[Tensor, "item candidate"] | None = None
    """Whether each of a candidate's tokens is the model's most probable one; where that was asked for."""
    hidden: Float[Tensor, "item dim"] | None = None
    """What the LM head reads at the end of a prompt, the last hidden state; where that was asked for."""


def score_pack(
    attachment: Attachment,
    pack: Pack,
    *,
    answer_format: AnswerFormat,
    normalisation: Normalisation = "sum",
    dropout: bool = False,
    greedy: bool = False,
    hidden: bool = False,
) -> CandidateScores:
    """Run a pack through the model with its stack, inside `engine.attached`.

    `letter`: the candidates' probabilities under the softmax over the whole vocabulary, and what is left as rest.
    `text`: a candidate's score is the log-likelihood of its tokens after the prompt, summed or as a mean per token, and
    its probability the softmax of the scores over the candidates.
    """
    model = attachment.model
    device = first_device(model)
    pack = pack.to(device)
    layout = prepared(pack.layout, model)
    members = len(attachment.stack.members)
    route = Route.of(pack.members, pack.member_tokens, members=members, device=device)
    read_route = Route.of(pack.members, pack.member_kept, members=members, device=device)
    if dropout:
        # Drawn for every token of a question, so none is left out.
        routed = attachment.routed(dataclasses.replace(route, dropout_seeds=pack.item_tokens))
    else:
        routed = attachment.routed(route, pack.kept, read_route)
    states: list[Tensor] = []
    with routed, _head_reads(attachment, states if hidden else None):
        logits = model(
            input_ids=pack.input_ids.unsqueeze(0),
            position_ids=pack.position_ids.unsqueeze(0),
            use_cache=False,
            logits_to_keep=kept_for(model, pack),
            kvorum_layout=layout,
        ).logits[0]
    # Read where they are, on the device of the head.
    pack = pack.to(logits.device)
    read = logits[pack.read_row, pack.read_token].float() - _logsumexp(logits)[pack.read_row]
    items, width = pack.lengths.shape
    scores = read.new_zeros(items * width).index_add(0, pack.read_slot, read).view(items, width)
    absent = pack.lengths == 0
    log_likelihoods = scores.masked_fill(absent, -torch.inf)
    chosen = _greedy(logits, pack) if greedy else None
    ends = states[0].flatten(0, -2)[_prompt_rows(pack).to(states[0].device)] if hidden else None
    if answer_format == "letter":
        rest = -torch.expm1(log_likelihoods.logsumexp(-1).clamp(max=0))
        return CandidateScores(log_likelihoods, rest, log_likelihoods, chosen, ends)
    if normalisation == "mean":
        scores = scores / pack.lengths.clamp(min=1)
    log_probs = scores.masked_fill(absent, -torch.inf).log_softmax(-1)
    return CandidateScores(log_probs, log_probs.new_zeros(items), log_likelihoods, chosen, ends)


@contextmanager
def _head_reads(attachment: Attachment, states: list[Tensor] | None) -> Iterator[None]:
    """Note what the LM head is given, in the pass inside the block; nothing for None."""
    if states is None:
        yield
        return
    model: Any = attachment.model
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda _, given: states.append(given[0].detach()))
    try:
        yield
    finally:
        hook.remove()


def _prompt_rows(pack: Pack) -> Int[Tensor, " item"]:
    """The row of `kept` that is the end of each item's prompt: it predicts the first token of the first candidate."""
    read = pack.lengths.sum(-1)
    return pack.read_row[read.cumsum(0) - read]


def _greedy(logits: Float[Tensor, "kept token"], pack: Pack) -> Bool[Tensor, "item candidate"]:
    """Whether each of a candidate's tokens is the most probable one where it stands."""
    missed = (logits.argmax(-1)[pack.read_row] != pack.read_token).long()
    items, width = pack.lengths.shape
    count = missed.new_zeros(items * width).index_add(0, pack.read_slot, missed).view(items, width)
    return (count == 0) & (pack.lengths > 0)


def _logsumexp(logits: Float[Tensor, "kept token"]) -> Float[Tensor, " kept"]:
    """Over the vocabulary; in parts that stay in the caches where no gradient wants the whole."""
    if logits.requires_grad:
        return logits.float().logsumexp(-1)
    return torch.cat([part.float().logsumexp(-1) for part in logits.split(ROWS_AT_ONCE)])
