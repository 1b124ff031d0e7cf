"""The discrete flows keep the promises of every generative model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

import genflow as gf
from genflow.baselines.discrete import MAF, NSF, DiscreteFlow
from genflow.cli import main
from genflow.errors import InputError
from genflow.metrics import mean_and_se
from genflow.studies.comparison.evaluation import evaluate
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


@pytest.mark.slow
@torch.no_grad()
def test_the_density_integrates_to_one(trained: DiscreteFlow):
    axis = torch.linspace(-8, 12, 601)
    grid = torch.cartesian_prod(axis, axis)
    mass = torch.cat([trained.log_prob(rows) for rows in grid.split(100_000)]).double().exp().sum() * (20 / 600) ** 2
    assert mass.item() == pytest.approx(1, abs=1e-3)


@pytest.mark.slow
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


FAMILY = {
    "nsf": lambda dim, **options: gf.baselines.NSF(dim, transforms=3, width=32, **options),
    "nsf-coupling": lambda dim, **options: gf.baselines.CouplingNSF(dim, transforms=4, width=32, **options),
    "realnvp": lambda dim, **options: gf.baselines.RealNVP(dim, transforms=4, width=32, **options),
    "naf": lambda dim, **options: gf.baselines.NAF(dim, transforms=3, width=16, **options),
}
NEW = ("nsf-coupling", "realnvp", "naf")


def far_from_the_identity(name: str, dim: int, **options) -> DiscreteFlow:
    torch.manual_seed(0)
    model = FAMILY[name](dim, **options).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("name", NEW)
def test_the_others_are_invertible_with_the_log_determinant_of_their_jacobian(name: str, dim: int):
    if dim == 1 and name != "naf":
        with pytest.raises(InputError, match=f"dim: {name} couples at least two columns, 1 came"):
            FAMILY[name](1)
        return
    model = far_from_the_identity(name, dim)
    x = 2 * torch.randn(2, 5, dim, generator=generator(), dtype=torch.float64)
    # naf looks for its inverse to the last bits of numbers up to 100, and takes a step of Newton's from there.
    assert torch.allclose(model.decode(model.encode(x)), x, atol=1e-9)
    rows = x.reshape(-1, dim)
    jacobian = torch.stack([torch.autograd.functional.jacobian(model.encode, row) for row in rows])
    expected = model.base.log_prob(model.encode(rows)) + torch.linalg.slogdet(jacobian).logabsdet
    assert torch.allclose(model.log_prob(rows), expected, atol=1e-8)


def test_the_inverse_of_naf_carries_the_gradient():
    model = far_from_the_identity("naf", 3)
    x = torch.randn(3, generator=generator(), dtype=torch.float64)
    forward = torch.autograd.functional.jacobian(model.encode, x)
    back = torch.autograd.functional.jacobian(model.decode, model.encode(x))
    assert torch.allclose(back @ forward, torch.eye(3, dtype=torch.float64), atol=1e-8)


def test_naf_is_zukos_own():
    """The derivative by hand is that of automatic differentiation through the same networks."""
    import zuko

    model = far_from_the_identity("naf", 2)
    x = torch.randn(50, 2, generator=generator(), dtype=torch.float64)
    expected = model.log_prob(x)
    for layer in next(iter(model.transform.children()))[::2]:
        own = layer.univariate
        layer.univariate = zuko.flows.neural.MNN(16, stack=2, hidden_features=(16, 16)).double()
        layer.univariate.network = own.network
    assert torch.allclose(model.log_prob(x), expected, atol=1e-10)


def test_naf_begins_with_the_mean_and_the_variance_of_its_rows():
    """By 64 normal rows: a mean is known to 1 / 8, a deviation to 1 / 11; layers bend them somewhat."""
    torch.manual_seed(1)
    z = gf.baselines.NAF(4).encode(torch.randn(2000, 4, generator=generator(1)))
    assert z.mean(0).abs().max() < 1
    assert ((z.std(0) > 0.5) & (z.std(0) < 2)).all()


def test_a_coupling_leaves_half_of_the_coordinates_in_each_layer():
    model = far_from_the_identity("realnvp", 4)
    x = torch.randn(6, 4, generator=generator(), dtype=torch.float64)
    first = model.transform.transforms[0]()  # type: ignore[index]
    assert ((first(x) == x).sum(-1) == 2).all()


@pytest.mark.parametrize("name", NEW)
def test_the_others_take_a_condition(name: str):
    model = far_from_the_identity(name, 2, condition_dim=3)
    condition = torch.randn(5, 3, generator=generator(), dtype=torch.float64)
    x = model.sample(5, condition, generator(1))
    assert torch.allclose(model.encode(x, condition), model.base.sample((5,), generator(1), dtype=torch.float64))
    assert not torch.allclose(model.log_prob(x, condition), model.log_prob(x, condition.flip(0)))
    assert torch.allclose(model.decode(model.encode(x, condition[0]), condition[0]), x, atol=1e-8)
    with pytest.raises(InputError, match="condition"):
        model.sample(5)


# ------------------------------------------------------------------------------------------------------------- tails


def test_rows_beyond_the_bound_are_counted_and_said():
    model = gf.baselines.NSF(2, transforms=1, width=8, bound=3.0)
    x = torch.tensor([[0.0, 0.0], [3.5, 0.0], [-4.0, 9.0], [3.0, -3.0]])
    assert model.remark_on(x[:1]) is None
    assert model.remark_on(x, "test rows") == (
        "2 of 4 test rows lie beyond its spline's bound of 3 standard deviations, where the tails are the base's"
    )
    assert gf.baselines.MAF(2, transforms=1, width=8).remark_on(100 * x) is None
    assert gf.baselines.NAF(2, transforms=1, width=8).remark_on(100 * x) is not None


def test_a_fit_and_an_evaluation_remark_on_heavy_tails():
    rng = np.random.default_rng(0)
    data = gf.data.load(rng.standard_t(2, size=(400, 2)))
    fitted = gf.baselines.CouplingNSF(2, transforms=1, width=8, bound=2.0).fit(data, iterations=2)
    z = data.preprocessor(data.train)[0]
    count = int((z.abs() > 2).any(-1).sum())
    assert count > 0
    assert [f"{count} of {len(z)} training rows" in remark for remark in fitted.remarks] == [False, True]
    found = evaluate(fitted, data, points=20)
    assert any("test rows lie beyond" in remark for remark in found.remarks)
    light = gf.baselines.CouplingNSF(2, transforms=1, width=8, bound=50.0).fit(data, iterations=2)
    assert not any("beyond" in remark for remark in light.remarks)


def test_scoring_a_file_says_it_too(tmp_path, capsys):
    rows = np.random.default_rng(0).normal(size=(200, 2))
    fitted = gf.baselines.NSF(2, transforms=1, width=8).fit(rows, iterations=2)
    fitted.save(tmp_path / "run")
    np.savetxt(tmp_path / "far.csv", np.vstack([rows[:5], [[100.0, 0.0]]]), delimiter=",", header="1,2", comments="")
    main(["score", str(tmp_path / "run"), str(tmp_path / "far.csv"), "-o", str(tmp_path / "out.csv")])
    assert "1 of 6 rows lies beyond its spline's bound" in " ".join(capsys.readouterr().err.split())
