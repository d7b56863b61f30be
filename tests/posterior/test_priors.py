import torch

from kvorum.adapters import AdapterStack
from kvorum.posterior.priors import PRIORS, factors, none, product


def stack() -> AdapterStack:
    generator = torch.Generator().manual_seed(0)
    sizes = {"x": (7, 5), "y": (4, 9)}
    return AdapterStack(
        a={name: torch.randn(3, 2, i, generator=generator, dtype=torch.float64) for name, (i, _) in sizes.items()},
        b={name: torch.randn(3, o, 2, generator=generator, dtype=torch.float64) for name, (_, o) in sizes.items()},
        alpha=32.0,
        members=(0, 1, 2),
    )


def test_product_is_the_squared_norm_of_the_formed_product_without_alpha_over_r() -> None:
    made = stack()
    formed = [sum((made.b[t][m] @ made.a[t][m]).square().sum() for t in made.a) for m in range(3)]
    torch.testing.assert_close(product(made), torch.stack(formed))


def test_the_gradient_of_product_is_that_of_the_formed_product() -> None:
    made, formed = stack(), stack()
    for parameter in [*made.parameters(), *formed.parameters()]:
        parameter.requires_grad_(True)
    product(made).sum().backward()
    sum((formed.b[t] @ formed.a[t]).square().sum() for t in formed.a).backward()
    for ours, theirs in zip(made.parameters(), formed.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_factors_and_none() -> None:
    made = stack()
    expected = [sum(p[m].square().sum() for p in made.parameters()) for m in range(3)]
    torch.testing.assert_close(factors(made), torch.stack(expected))
    assert none(made).tolist() == [0, 0, 0]
    assert all(prior(made).shape == (3,) for prior in PRIORS.values())
