"""Attention written out, for what PyTorch's fused attention cannot compute."""

from jaxtyping import Bool, Float
from torch import Tensor


def explicit_attention(
    query: Float[Tensor, "sequence head length dim"],
    key: Float[Tensor, "sequence key_head length dim"],
    value: Float[Tensor, "sequence key_head length value_dim"],
    allowed: Bool[Tensor, "sequence 1 length length"],
    *,
    scaling: float | None = None,
    softcap: float | None = None,
    sinks: Float[Tensor, " head"] | None = None,
) -> Float[Tensor, "sequence head length value_dim"]:
    """Softmax over the allowed keys of s = c tanh(q k / (c sqrt(dim))), times the values.

    c is the soft-cap (Gemma 2, arXiv:2408.00118, section 2); without one s = q k / sqrt(dim). A head's sink joins its
    softmax as one more logit that has no value, so that the weights of the keys add up to less than 1 (gpt-oss,
    arXiv:2508.10925). The softmax is taken in float32. Memory grows with length squared.
    """
    key_heads, dim = key.shape[1], key.shape[-1]
    # Query heads that share a key head lie together, so that keys and values are not repeated for each of them.
    grouped = query.unflatten(1, (key_heads, -1))
    scores = grouped @ key.unsqueeze(2).transpose(-1, -2) * (dim**-0.5 if scaling is None else scaling)
    if softcap is not None:
        scores = softcap * (scores / softcap).tanh()
    scores = scores.float().masked_fill(~allowed.unsqueeze(2), float("-inf"))
    total = scores.logsumexp(-1, keepdim=True)
    if sinks is not None:
        total = total.logaddexp(sinks.float().view(key_heads, -1, 1, 1))
    weights = (scores - total).exp().to(value.dtype)
    return (weights @ value.unsqueeze(2)).flatten(1, 2)
