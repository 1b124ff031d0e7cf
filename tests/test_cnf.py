"""Running costs against closed forms, and the presets of CNF."""

from __future__ import annotations

import inspect
import math

import pytest
import torch

import genflow as gf
from genflow import InputError
from genflow.baselines.cnf import ConcatSquash, ffjord, ot_flow, rnode
from genflow.models import HJB, JacobianNorm, Kinetic
from genflow.naming.options import build, check_options, check_values
from genflow.training import TrainingData

DOUBLE = torch.float64


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def integrated(cost, velocity, x, steps=32):
    flow = gf.Flow(velocity, gf.schedulers.Uniform(steps), base=gf.StandardNormal(x.shape[-1]))
    running = cost.of(flow, x, generator())
    return flow.integrate(x, costs=[running], generator=generator()).costs[0]


class Quadratic(gf.velocities.PotentialGradient):
    """A potential with a gradient in closed form, -x'Bx/2: the velocity is B x, for a symmetric B of the time."""

    def __init__(self, matrix):
        super().__init__(len(matrix(0.0)), width=1)
        self.matrix = matrix

    def potential(self, x, t, condition=None):
        return -(x * (x @ self.matrix(t))).sum(-1) / 2

    def forward(self, x, t, condition=None):
        return x @ self.matrix(t)

    def divergence(self, x, t, condition=None):
        return self(x, t), self.matrix(t).trace().expand(x.shape[:-1])


# Of N(0, S) to N(0, I), for a covariance S: the map A = S^(-1/2); its points move on (1 - t) x + t A x.
BACK = torch.tensor([[1.5, 0.4], [0.4, 0.8]], dtype=DOUBLE)


def transport(t):
    """The velocity M (I + t M)^(-1) x with M = A - I, straight and of constant speed along its paths."""
    one = torch.eye(2, dtype=DOUBLE)
    return (BACK - one) @ torch.linalg.inv(one + t * (BACK - one))


def test_the_kinetic_energy_of_growth():
    # x(t) = x e^t, so that the integral of |x(t)|² over [0, 1] is |x|² (e² - 1) / 2.
    x = torch.randn(7, 3, generator=generator(), dtype=DOUBLE)
    energy = integrated(Kinetic(1.0), gf.as_velocity(lambda x, t, c: x), x)
    exact = x.square().sum(-1) * (math.exp(2) - 1) / 2
    torch.testing.assert_close(energy, exact, rtol=1e-6, atol=0)  # RK4: (1 / 32)^4 = 1e-6, times 2^5 / 120


def test_the_norm_of_a_rotation():
    # For J with J'J = 4 I each probe gives |J e|² = 4 |e|² = 4 d, the squared Frobenius norm itself.
    turn = torch.tensor([[0.0, -2.0], [2.0, 0.0]], dtype=DOUBLE)
    x = torch.randn(5, 2, generator=generator(), dtype=DOUBLE)
    norm = integrated(JacobianNorm(1.0), gf.as_velocity(lambda x, t, c: x @ turn), x)
    torch.testing.assert_close(norm, torch.full((5,), 8.0, dtype=DOUBLE))


def test_hjb_vanishes_along_optimal_transport():
    x = torch.randn(6, 2, generator=generator(), dtype=DOUBLE)
    velocity = Quadratic(transport)
    flow = gf.Flow(velocity, gf.schedulers.Uniform(32), base=gf.StandardNormal(2))
    moved = flow.encode(x)
    torch.testing.assert_close(moved, x @ BACK, rtol=0, atol=1e-6)  # straight lines end where the map says
    assert integrated(HJB(1.0), velocity, x).max() < 1e-12  # not only at the solution: the equation holds everywhere
    # Their energy is the squared distance; of the whole law it is the W2² of Gaussians.
    torch.testing.assert_close(
        integrated(Kinetic(1.0), velocity, x), (x @ BACK - x).square().sum(-1), rtol=1e-5, atol=0
    )


def test_hjb_of_a_potential_that_stands_still():
    # With B constant in time there is no time derivative: the residual is |v|² / 2 along x(t) = x e^t.
    x = torch.randn(6, 2, generator=generator(), dtype=DOUBLE)
    residual = integrated(HJB(1.0), Quadratic(lambda t: torch.eye(2, dtype=DOUBLE)), x)
    torch.testing.assert_close(residual, x.square().sum(-1) * (math.exp(2) - 1) / 4, rtol=1e-6, atol=0)


def test_hjb_of_a_network_is_that_of_finite_differences():
    torch.manual_seed(0)
    velocity = gf.velocities.PotentialGradient(2, width=8).double()
    torch.nn.init.normal_(velocity.modulation)
    x, t, h = torch.randn(5, 2, dtype=DOUBLE), torch.tensor(0.3, dtype=DOUBLE), 1e-5
    flow = gf.Flow(velocity)
    estimate = flow.divergence(velocity, x, t)
    rate = (velocity.potential(x, t + h) - velocity.potential(x, t - h)) / (2 * h)
    expected = (rate - estimate.velocity.square().sum(-1) / 2).abs()
    torch.testing.assert_close(HJB(1.0).of(flow, x)(t, x, estimate), expected, rtol=1e-6, atol=1e-6)


def test_costs_are_refused_where_there_are_none_such():
    with pytest.raises(InputError, match=r"HJB came for a Shallow, which has no potential; .* would do"):
        gf.models.CNF(2, costs=[HJB(0.1)])
    with pytest.raises(InputError, match=r"costs: 0\.3 came"):
        gf.models.CNF(2, costs=[0.3])
    with pytest.raises(InputError, match="weight: -1 came"):
        Kinetic(-1)


def test_costs_are_the_loss_and_are_kept(tmp_path):
    x = torch.randn(64, 2, generator=generator())
    data = TrainingData(x, x)
    options = {"width": 8, "matching": 0.0, "disagreement": 0.0}
    losses = []
    for further in ({}, {"kinetic": 0.5}, {"costs": [Kinetic(0.5)]}, {"costs": [Kinetic(0.2)], "kinetic": 0.3}):
        torch.manual_seed(0)
        model = gf.models.CNF(2, **options, **further)
        with torch.no_grad():
            for parameter in model.velocity.parameters():
                parameter.add_(0.1)
            losses.append(model.next_stage(data, []).loss(x, generator()).item())
    assert losses[1] == losses[2] == pytest.approx(losses[3])
    assert losses[1] > losses[0]
    model.save(tmp_path / "model")
    again = gf.load(tmp_path / "model")
    assert [(type(cost), cost.weight) for cost in again.costs] == [(Kinetic, 0.2), (Kinetic, 0.3)]


# Presets


PRESETS = [ffjord, rnode, ot_flow]


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_a_model_of_rows_under_a_condition(preset):
    model = preset(2, width=8, condition_dim=3)
    x, c = torch.randn(4, 2, generator=generator()), torch.randn(4, 3, generator=generator())
    assert (model.dim, model.condition_dim, model.whiten) == (2, 3, False)
    assert model.log_prob(x, c).shape == (4,)
    stage = model.next_stage(TrainingData(x, x, c, c), [])
    assert stage.name == "likelihood"  # nothing comes before it
    loss = stage.loss((x, c), generator())
    loss.backward()
    assert all(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)


def test_a_training_of_ffjord_estimates_what_log_p_has_exactly():
    # The loss is linear in the divergence: its mean over Gaussian probes is the exact one.
    torch.manual_seed(0)
    model = ffjord(2, width=8, depth=1, integrator=gf.solvers.RK4(), steps=4, train_steps=4)
    x = torch.randn(50, 2, generator=generator())
    stage = model.next_stage(TrainingData(x, x), [])
    with torch.no_grad():
        losses = torch.stack([stage.loss(x, generator(seed)) for seed in range(60)])
        exact = -model.log_prob(x).mean()
    assert losses.std() > 0
    assert abs((losses.mean() - exact).item()) < 4 * (losses.std() / math.sqrt(len(losses))).item()


def test_a_network_of_gates_takes_a_time_for_each_row():
    torch.manual_seed(0)
    network = ConcatSquash(3, width=5, condition_dim=2)
    x, t, c = torch.randn(4, 3), torch.rand(4), torch.randn(4, 2)
    rows = [network(x[k], t[k], c[k]) for k in range(4)]
    torch.testing.assert_close(network(x, t, c), torch.stack(rows))
    with pytest.raises(InputError, match="condition: a vector of dimension 2 is wanted"):
        network(x, t)


def test_options_of_a_preset_are_its_own_and_those_of_its_class():
    check_options(rnode, {"width": 3, "learning_rate": 0.1, "integrator": "heun"})
    check_values(rnode, {"width": 3, "learning_rate": 0.1})
    with pytest.raises(InputError, match=r"rnode: no option 'widht'; did you mean width\?"):
        check_options(rnode, {"widht": 3})
    with pytest.raises(InputError, match="rnode: learning_rate=fast came"):
        check_values(rnode, {"learning_rate": "fast"})
    model = build(rnode, 3, {"width": 4, "learning_rate": 0.1, "integrator": "heun"}, condition_dim=1)
    assert (model.optimization.learning_rate, model.condition_dim) == (0.1, 1)
    assert isinstance(model.integrator, gf.solvers.Heun)
    assert "learning_rate" not in inspect.signature(rnode).parameters
