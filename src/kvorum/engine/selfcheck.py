"""Whether a model computes a pack as it computes its sequences one by one."""

import dataclasses

import torch
from transformers import PreTrainedModel

from kvorum.adapters import first_device
from kvorum.engine.attention import packed
from kvorum.engine.pack import Item, build_pack
from kvorum.engine.spread import kept_for
from kvorum.errors import KvorumError


@dataclasses.dataclass(frozen=True)
class _Probe:
    prompt: tuple[int, ...]
    candidates: tuple[tuple[int, ...], ...]
    answer: None = None


@torch.no_grad()
def verify_packed(model: PreTrainedModel) -> None:
    """Run two short branched sequences packed, and alone through the model's own attention, and compare.

    A model whose attention cannot be exchanged, that biases attention by the order of tokens (ALiBi) or that mixes
    tokens outside of attention would silently let questions see one another. Such a model is refused here, before
    anything is computed with it, with a `KvorumError`.
    """
    if getattr(model.config, "is_encoder_decoder", False):
        raise KvorumError(f"{type(model).__name__} is an encoder-decoder; kvorum runs decoders only")
    vocabulary: int = model.config.vocab_size
    draw = [(7 * i + 3) % vocabulary for i in range(14)]
    probes = [
        _Probe(tuple(draw[:4]), (tuple(draw[4:7]), tuple(draw[7:9]))),
        _Probe(tuple(draw[9:12]), (tuple(draw[5:9]),)),
    ]
    pack = build_pack([Item(0, probe) for probe in probes])
    device = first_device(model)
    pack = pack.to(device)
    training = model.training
    model.eval()
    try:
        alone = []
        for probe in probes:
            for candidate in probe.candidates:
                whole = torch.tensor([[*probe.prompt, *candidate]], device=device)
                logits = model(input_ids=whole, use_cache=False).logits[0].float().log_softmax(-1)
                at = torch.arange(len(probe.prompt) - 1, whole.shape[1] - 1, device=device)
                alone.append(logits[at.to(logits.device), whole[0, at + 1].to(logits.device)])
        with packed(model):
            logits = model(
                input_ids=pack.input_ids.unsqueeze(0),
                position_ids=pack.position_ids.unsqueeze(0),
                use_cache=False,
                logits_to_keep=kept_for(model, pack),
                kvorum_layout=pack.layout,
            ).logits[0]
    finally:
        model.train(training)
    pack = pack.to(logits.device)
    together = logits.float().log_softmax(-1)[pack.read_row, pack.read_token]
    gap = (together - torch.cat(alone)).abs().max().item()
    if not gap <= (1e-3 if model.dtype == torch.float32 else 0.25):
        raise KvorumError(
            f"{type(model).__name__} gives other results for questions packed together than for each alone (log-"
            f"probabilities differ by up to {gap:.3g}): it does something between tokens that kvorum's attention "
            "does not control"
        )
