"""One optimizer step of all members."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from kvorum.adapters import Attachment
from kvorum.engine import Item
from kvorum.engine.score import AnswerFormat, Normalisation
from kvorum.posterior.objective import accumulate_nll
from kvorum.posterior.optimizer import MemberAdamW
from kvorum.posterior.priors import Prior


def take_step(
    attachment: Attachment,
    optimizer: MemberAdamW,
    batches: Sequence[Sequence[Item]],
    *,
    prior: Prior,
    l2: float,
    lr: float,
    answer_format: AnswerFormat,
    normalisation: Normalisation,
    token_budget: int,
) -> dict[str, Float[Tensor, " member"]]:
    """Move every active member down its own mean loss over its own batch plus its prior.

    Returns loss, nll, penalty and gradient norm (before clipping) of the members, still where they were computed.
    """
    nll = accumulate_nll(
        attachment,
        batches,
        answer_format=answer_format,
        normalisation=normalisation,
        token_budget=token_budget,
    )
    penalty = l2 * prior(attachment.stack)
    if penalty.requires_grad:
        penalty.sum().backward()
    penalty = penalty.detach()
    norm = optimizer.step(nll + penalty, lr)
    optimizer.zero_grad()
    return {"loss": nll + penalty, "nll": nll, "penalty": penalty, "gradient_norm": norm}
