"""What a step minimises: each member's own mean loss over its own batch, plus its prior."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from kvorum.adapters import Attachment
from kvorum.adapters.transfer import sent
from kvorum.engine import Item, build_pack, plan_packs, score_pack
from kvorum.engine.score import AnswerFormat, Normalisation


def accumulate_nll(
    attachment: Attachment,
    batches: Sequence[Sequence[Item]],
    *,
    answer_format: AnswerFormat,
    normalisation: Normalisation,
    token_budget: int,
) -> Float[Tensor, " member"]:
    """Add the gradient of every member's mean negative log-likelihood over its batch; returns the means, in nats.

    `batches` holds the items of each active member. Passes are cut by the token budget alone: a member's mean is over
    its batch, whichever passes its questions fell into.
    """
    items = [item for batch in batches for item in batch]
    size = {batch[0].member: len(batch) for batch in batches}
    device = next(attachment.stack.parameters()).device
    nll = torch.zeros(len(attachment.stack.members), device=device)
    for run in plan_packs(items, token_budget):
        members = sent(torch.tensor([items[i].member for i in run]), device)
        share = sent(torch.tensor([1 / size[items[i].member] for i in run]), device)
        answers = sent(torch.tensor([items[i].question.answer for i in run]), device)
        scores = score_pack(
            attachment,
            build_pack([items[i] for i in run]),
            answer_format=answer_format,
            normalisation=normalisation,
            dropout=attachment.dropout > 0,
        )
        there = scores.log_probs.device
        loss = -scores.log_probs.gather(1, answers.to(there)[:, None])[:, 0] * share.to(there)
        # A sum over members of their own means: none weighs on another.
        loss.sum().backward()
        nll.index_add_(0, members, loss.detach().to(device))
    return nll
