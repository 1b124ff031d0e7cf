"""The audit of a log density: the errors that it reports are those that there are."""

from __future__ import annotations

import math
import warnings

import pytest
import torch

import genflow as gf
from genflow.divergences import Exact, FiniteDifference, Hutchinson
from genflow.fitted import Transformed
from genflow.solvers import RK4, Adaptive, Euler


class Decaying(gf.Velocity):
    """v = x / (1 + t): x(1) = 2 x(0), and log |det| = d log 2 for d entries."""

    def forward(self, x, t, condition=None):
        return x / (1 + t)


class Rotated(gf.Velocity):
    """A linear field with a full matrix: random probes have a variance."""

    def __init__(self, scale=0.3):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.matrix = scale * torch.randn(4, 4, generator=generator, dtype=torch.float64)

    def forward(self, x, t, condition=None):
        return x @ self.matrix.mT

    def pushforward(self, x, t, tangents, condition=None):
        return x @ self.matrix.mT, tangents @ self.matrix.mT


def rows(count=50, dim=2, seed=0):
    return torch.randn(count, dim, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def quiet(flow, x, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return flow.audit(x, **options)


@pytest.mark.parametrize("steps", [1, 4])
def test_the_shift_on_a_fixed_grid_is_the_difference_of_two_known_sums(steps):
    x = rows()
    flow = gf.Flow(Decaying(), gf.schedulers.Uniform(steps), Euler(), base=gf.StandardNormal(2))
    with pytest.warns(UserWarning, match="log_prob: the mean is not good to 0.01 nats"):
        audit = flow.audit(x)

    def log_p(n):  # Euler: x grows by 1 + h / (1 + t) in a step, log |det| by 2 h / (1 + t)
        rates = 1 / (1 + torch.arange(n, dtype=torch.float64) / n) / n
        z = x * (1 + rates).prod()
        return gf.StandardNormal(2).log_prob(z) + 2 * rates.sum()

    torch.testing.assert_close(audit.log_prob, log_p(steps))
    torch.testing.assert_close(audit.finer, log_p(2 * steps))
    assert audit.shift == pytest.approx((log_p(2 * steps) - log_p(steps)).mean().item())
    assert not audit.good
    assert audit.finer_by == f"{steps} to {2 * steps} steps"
    assert audit.standard_error is None


def test_a_fine_grid_and_an_exact_divergence_are_good_without_a_warning():
    flow = gf.Flow(Decaying(), gf.schedulers.Uniform(16), RK4(), base=gf.StandardNormal(2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        audit = flow.audit(rows())
    assert audit.good
    assert abs(audit.shift) < 1e-5
    assert audit.mean_standard_error == 0
    assert audit.inversion_error < 1e-10
    assert "the mean is good to 0.01 nats" in str(audit)


def test_the_coarser_the_tolerance_the_larger_the_shift():
    shifts = []
    for tolerance in (1e-2, 1e-6):
        integrator = Adaptive("bosh3", tolerance, tolerance)
        audit = quiet(gf.Flow(Decaying(), integrator=integrator, base=gf.StandardNormal(2)), rows())
        exact = gf.StandardNormal(2).log_prob(2 * rows()) + 2 * math.log(2)
        # A tenth of the tolerance leaves little of the error: the shift is what the error was.
        assert audit.shift == pytest.approx((exact - audit.log_prob).mean().item(), rel=0.6)
        shifts.append(abs(audit.shift))
        assert "rtol" in audit.finer_by
    assert shifts[1] < shifts[0] / 100


@pytest.mark.parametrize(
    "estimator", [Hutchinson(1), Hutchinson(16), Hutchinson(3, "orthogonal"), FiniteDifference(1e-4, 8)]
)
def test_the_standard_error_is_that_of_repeated_draws(estimator):
    x = rows(40, 4)
    flow = gf.Flow(Rotated(), gf.schedulers.Uniform(1), Euler(), estimator, gf.StandardNormal(4))
    audits = [quiet(flow, x, generator=torch.Generator().manual_seed(seed)) for seed in range(60)]
    means = torch.stack([audit.log_prob.mean() for audit in audits])
    squares = torch.tensor([audit.mean_standard_error for audit in audits]).square().mean()
    # 60 draws know a variance to a relative error of sqrt(2 / 60) = 0.18.
    assert means.var().item() == pytest.approx(squares.item(), rel=4 * 0.18)
    exact = quiet(flow.replace(divergence=Exact()), x)
    assert abs(means.mean() - exact.log_prob.mean()).item() < 4 * math.sqrt(squares / 60)


def test_probes_that_leave_too_much_are_warned_of_and_more_of_them_help():
    flow = gf.Flow(Rotated(), divergence=Hutchinson(1), base=gf.StandardNormal(4))
    with pytest.warns(UserWarning, match=r"more probes, more rows or divergence=Exact\(\) would help"):
        audit = flow.audit(rows(10, 4))
    assert "a standard error of" in str(audit)
    assert flow.replace(divergence=Hutchinson(4, "orthogonal")).audit(rows(10, 4)).good


def test_the_same_audit_twice_is_the_same_and_costs_no_graph():
    flow = gf.Flow(gf.velocities.Shallow(2, 8), divergence=Hutchinson(1))
    x = torch.randn(5, 2)
    first, second = (quiet(flow, x) for _ in range(2))
    assert torch.equal(first.log_prob, second.log_prob)
    assert not first.log_prob.requires_grad


def test_a_finer_solve_that_fails_is_said():
    x = rows(3)
    flow = gf.Flow(Decaying(), integrator=Adaptive("bosh3", 1e-4, 1e-4), base=gf.StandardNormal(2))
    enough = flow.integrate(x).nfe
    flow = flow.replace(integrator=Adaptive("bosh3", 1e-4, 1e-4, max_evaluations=enough))
    with pytest.warns(UserWarning, match="the finer solve failed"):
        audit = flow.audit(x)
    assert audit.finer.isnan().all()
    assert not audit.good
    assert "failed: " in str(audit)


def test_a_model_in_the_users_units_is_audited_in_them():
    data = gf.data.load("two-moons")
    velocity = gf.velocities.Shallow(2, 8)
    torch.nn.init.normal_(velocity.w3, std=0.3, generator=torch.Generator().manual_seed(0))
    model = Transformed(gf.models.FlowMatching(2, velocity=velocity), data.preprocessor, data.columns)
    x = data.test[:20]
    audit = quiet(model, x)
    torch.testing.assert_close(audit.log_prob, model.log_prob(x).double())
    coarse = model.replace(scheduler=gf.schedulers.Uniform(1), integrator=Euler())
    with pytest.warns(UserWarning, match="more steps"):
        assert not coarse.audit(x, tolerance=1e-9).good


def test_what_has_no_solver_has_no_audit():
    data = gf.data.load("two-moons")
    model = Transformed(gf.baselines.NSF(2), data.preprocessor)
    with pytest.raises(gf.InputError, match="audit: NSF"):
        model.audit(data.test[:5])
    with pytest.raises(gf.InputError, match="at least one row"):
        gf.Flow(Decaying(), base=gf.StandardNormal(2)).audit(torch.zeros(0, 2))
