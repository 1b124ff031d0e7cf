"""log p of one and the same field against flow_matching and zuko."""

from __future__ import annotations

import pytest
import torch

import genflow as gf
from genflow.solvers import Adaptive


def field():
    torch.manual_seed(0)
    velocity = gf.velocities.ResidualMLP(3, 16, 2).double()
    with torch.no_grad():
        for parameter in velocity.parameters():
            parameter.normal_(0, 0.3)
    return velocity


def rows():
    return torch.randn(9, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def ours(velocity):
    with torch.no_grad():
        return gf.Flow(velocity, integrator=Adaptive("dopri5", 1e-9, 1e-9)).log_prob(rows())


def test_flow_matching():
    solver = pytest.importorskip("flow_matching.solver")
    velocity = field()
    # Its time runs from noise to data.
    theirs = solver.ODESolver(velocity_model=lambda x, t, **_: -velocity(x, 1 - t))
    _, log_p = theirs.compute_likelihood(
        rows(),
        log_p0=gf.StandardNormal(3).log_prob,
        step_size=None,
        method="dopri5",
        atol=1e-9,
        rtol=1e-9,
        exact_divergence=True,
    )
    torch.testing.assert_close(ours(velocity), log_p.detach(), rtol=0, atol=1e-6)


def test_zuko():
    transforms = pytest.importorskip("zuko.transforms")
    velocity = field()
    t = [torch.tensor(end, dtype=torch.float64) for end in (0.0, 1.0)]
    theirs = transforms.FreeFormJacobianTransform(
        lambda t, x: velocity(x, t), *t, phi=velocity.parameters(), atol=1e-9, rtol=1e-9, exact=True
    )
    z, ladj = theirs.call_and_ladj(rows())
    log_p = gf.StandardNormal(3).log_prob(z) + ladj
    torch.testing.assert_close(ours(velocity), log_p.detach(), rtol=0, atol=1e-6)
