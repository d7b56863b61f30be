import torch

from kvorum.adapters import find_targets, kaiming_uniform_stack
from kvorum.engine import Item, attached, build_pack, score_pack
from tests import tiny

P = 0.4


def scores(items: list[Item], dropout: bool = True) -> torch.Tensor:
    model = tiny.model()
    stack = kaiming_uniform_stack(find_targets(model, ["all-linear"]), members=[0, 1], rank=2, alpha=4.0, seed=0)
    for b in stack.b.values():
        b.fill_(0.05)
    with torch.no_grad(), attached(model, stack, dropout=P) as attachment:
        return score_pack(attachment, build_pack(items), answer_format="text", dropout=dropout).log_probs


def test_a_question_s_mask_does_not_depend_on_what_else_is_in_the_pass() -> None:
    first, second = tiny.questions(2, "text")
    together = scores([Item(0, first, 11), Item(0, second, 12), Item(1, second, 13)])
    alone = scores([Item(0, second, 12)])
    width = len(second.candidates)
    torch.testing.assert_close(together[1, :width], alone[0, :width], atol=1e-5, rtol=1e-5)


def test_seeds_change_the_mask_and_scoring_without_dropout_ignores_them() -> None:
    (question,) = tiny.questions(1, "text")
    assert not torch.allclose(scores([Item(0, question, 1)]), scores([Item(0, question, 2)]))
    plain = scores([Item(0, question, 1)], dropout=False)
    assert torch.equal(plain, scores([Item(0, question, 2)], dropout=False))


def test_what_is_kept_is_scaled_up_so_that_the_mean_stays() -> None:
    from kvorum.adapters.attach import _dropout

    x = torch.ones(1, 4000, 32)
    dropped = _dropout(x, P, [(5, 1000), (6, 3000)], place=3)
    kept = dropped != 0
    # 128,000 draws: the share kept is within 4 standard errors of 1 - p.
    assert abs(kept.float().mean().item() - (1 - P)) < 4 * (P * (1 - P) / kept.numel()) ** 0.5
    torch.testing.assert_close(dropped[kept], torch.full_like(dropped[kept], 1 / (1 - P)))
    assert not torch.equal(kept[0, :1000], kept[0, 1000:2000])
    assert not torch.equal(dropped, _dropout(x, P, [(5, 1000), (6, 3000)], place=4))
