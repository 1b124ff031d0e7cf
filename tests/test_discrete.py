"""The discrete flows keep the promises of every generative model."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from genflow.baselines.discrete import MAF, NSF, DiscreteFlow
from genflow.errors import InputError
from genflow.metrics import mean_and_se
from genflow.training import Budget, TrainingData, train


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def crescent(n: int, seed: int) -> Tensor:
    """Points on a bent ridge: y = x^2 + noise."""
    x, noise = torch.randn(2, n, generator=generator(seed))
    return torch.stack((x, 0.5 * x**2 + 0.2 * noise - 0.5), -1)


def wild(cls: type[DiscreteFlow], dim: int) -> DiscreteFlow:
    """A flow far from the identity, in double precision."""
    torch.manual_seed(0)
    model = cls(dim, transforms=3, width=32).double()  # type: ignore[call-arg]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def data() -> TrainingData:
    return TrainingData(crescent(4000, 0), crescent(500, 1))


@pytest.fixture(scope="module", params=[NSF, MAF])
def trained(request: pytest.FixtureRequest, data: TrainingData) -> DiscreteFlow:
    torch.manual_seed(0)
    model = request.param(2, width=32)
    history = train(model, data, Budget(iterations=200))
    assert [entry["stage"] for entry in history] == ["likelihood"]
    return model


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("cls", [NSF, MAF])
def test_decoding_undoes_encoding(cls: type[DiscreteFlow], dim: int):
    model = wild(cls, dim)
    x = 3 * torch.randn(4, 50, dim, generator=generator(), dtype=torch.float64)  # within the spline's bound and beyond
    assert torch.allclose(model.decode(model.encode(x)), x, atol=1e-6)
    assert model.encode(x).shape == x.shape
    assert model.log_prob(x).shape == (4, 50)


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("cls", [NSF, MAF])
def test_the_log_determinant_is_that_of_the_jacobian(cls: type[DiscreteFlow], dim: int):
    model = wild(cls, dim)
    x = 2 * torch.randn(10, dim, generator=generator(), dtype=torch.float64)
    jacobian = torch.stack([torch.autograd.functional.jacobian(model.encode, row) for row in x])
    expected = model.base.log_prob(model.encode(x)) + torch.linalg.slogdet(jacobian).logabsdet
    assert torch.allclose(model.log_prob(x), expected, atol=1e-8)


@pytest.mark.parametrize("cls", [NSF, MAF])
def test_the_density_of_a_row_does_not_depend_on_the_others(cls: type[DiscreteFlow]):
    model = wild(cls, 3)
    x = torch.randn(20, 3, generator=generator(), dtype=torch.float64)
    alone = torch.cat([model.log_prob(row[None]) for row in x])
    assert torch.allclose(model.log_prob(x), alone, atol=1e-10)


@torch.no_grad()
def test_the_density_integrates_to_one(trained: DiscreteFlow):
    axis = torch.linspace(-8, 12, 601)
    grid = torch.cartesian_prod(axis, axis)
    mass = torch.cat([trained.log_prob(rows) for rows in grid.split(100_000)]).double().exp().sum() * (20 / 600) ** 2
    assert mass.item() == pytest.approx(1, abs=1e-3)


@torch.no_grad()
def test_training_comes_near_the_best_possible_density(trained: DiscreteFlow):
    """The ridge's entropy: H(x) + H(y | x) = log(2 pi e) + log(0.2)."""
    nll, se = mean_and_se(-trained.log_prob(crescent(4000, 2)))
    entropy = torch.log(torch.tensor(2 * torch.pi * torch.e * 0.2)).item()
    assert entropy - 4 * se < nll < entropy + 0.3


@torch.no_grad()
def test_samples_follow_the_generator_and_carry_their_density(trained: DiscreteFlow):
    x, log_p = trained.sample_with_log_prob((3, 400), generator=generator(5))
    assert x.shape == (3, 400, 2)
    assert torch.allclose(log_p, trained.log_prob(x))
    assert torch.equal(x, trained.sample((3, 400), generator=generator(5)))
    assert not torch.equal(x, trained.sample((3, 400), generator=generator(6)))
    x = trained.sample(4000, generator=generator(7))
    assert x.isfinite().all()
    assert torch.allclose(x.mean(0), torch.zeros(2), atol=0.15)
    assert x[:, 1].amin() > -2.5  # nothing far below the ridge


def test_gradients_reach_every_parameter(data: TrainingData):
    for cls in (NSF, MAF):
        model = cls(2, width=16)
        model.next_stage(data, []).loss(data.train[:100], generator()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        assert model.next_stage(data, [{"stage": "likelihood"}]) is None


def test_the_same_seed_gives_the_same_weights(data: TrainingData):
    models = []
    for _ in range(2):
        torch.manual_seed(3)
        models.append(NSF(2, transforms=1, width=16))
        train(models[-1], data, Budget(iterations=5), seed=1)
    for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("model", [NSF(3, transforms=2, width=16, bins=4, bound=8.0), MAF(1), NSF(1)])
def test_saved_and_loaded_it_is_the_same(model: DiscreteFlow, tmp_path):
    from genflow.checkpoint import load, save

    save(model, tmp_path / "model")
    loaded = load(tmp_path / "model")
    x = 6 * torch.randn(50, model.dim, generator=generator())
    assert type(loaded) is type(model)
    assert torch.equal(loaded.log_prob(x), model.log_prob(x))


def test_wrong_input_is_named():
    model = MAF(2, width=16)
    with pytest.raises(InputError, match=r"events of shape \(2,\)"):
        model.log_prob(torch.zeros(5, 3))
    with pytest.raises(InputError, match="condition"):
        model.sample(5, condition=torch.zeros(5, 1))
