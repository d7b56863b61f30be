import pytest
import torch

from kvorum.posterior.schedule import learning_rate


def rates(schedule: str, warmup: float, steps: int = 20) -> list[float]:
    return [learning_rate(step, steps, lr=2.0, schedule=schedule, warmup=warmup) for step in range(steps)]


def test_constant() -> None:
    assert rates("constant", 0.0) == [2.0] * 20


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine"])
def test_warmup_rises_evenly_and_then_meets_the_full_rate(schedule: str) -> None:
    got = rates(schedule, 0.2)
    assert got[:4] == pytest.approx([0.4, 0.8, 1.2, 1.6]) and got[4] == pytest.approx(2.0)


def test_linear_and_cosine_are_torch_s() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    for schedule, made in (
        ("linear", lambda o: torch.optim.lr_scheduler.LinearLR(o, 1.0, 0.0, total_iters=20)),
        ("cosine", lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=20)),
    ):
        optimizer = torch.optim.SGD([parameter], lr=2.0)
        scheduler, expected = made(optimizer), []
        for _ in range(20):
            expected.append(scheduler.get_last_lr()[0])
            optimizer.step()
            scheduler.step()
        assert rates(schedule, 0.0) == pytest.approx(expected)
