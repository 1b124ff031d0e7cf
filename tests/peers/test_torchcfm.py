"""Pairs, paths and targets against torchcfm.

Its time runs from noise to data: t there is 1 - t here, and the field -v.
"""

from __future__ import annotations

import pytest
import torch

from genflow import paths

matchers = pytest.importorskip("torchcfm.conditional_flow_matching")
transport = pytest.importorskip("torchcfm.optimal_transport")


def samples(count=64):
    source = torch.Generator().manual_seed(0)
    return torch.randn(2, count, 3, generator=source, dtype=torch.float64), torch.rand(
        count, generator=source, dtype=torch.float64
    )


def test_exact_pairs():
    (x, z), _ = samples()
    plan = transport.OTPlanSampler(method="exact").get_map(x, z)
    rows, partners = paths.OptimalTransport()(x, z)
    ours = torch.zeros(64, 64, dtype=torch.float64)
    ours[rows, partners] = 1 / 64
    torch.testing.assert_close(ours, torch.as_tensor(plan), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("deviation", [0.5, 1.0])
def test_entropic_pairs(deviation):
    """Both stop where the marginals are good to 1e-9 or so; a cell of the plan is then good to that."""
    (x, z), _ = samples()
    regularization = 2 * deviation**2
    plan = transport.OTPlanSampler(method="sinkhorn", reg=regularization).get_map(x, z)
    ours = paths.EntropicTransport(regularization).plan(x, z)
    torch.testing.assert_close(ours, torch.as_tensor(plan), rtol=0, atol=1e-6)


CASES = {
    "independent": (lambda: matchers.ConditionalFlowMatcher(sigma=0.0), lambda: paths.Linear()),
    "target": (lambda: matchers.TargetConditionalFlowMatcher(sigma=0.1), lambda: paths.ConditionalOT(0.1)),
    "variance preserving": (
        lambda: matchers.VariancePreservingConditionalFlowMatcher(sigma=0.0),
        lambda: paths.Trigonometric(),
    ),
    "Schrödinger bridge": (
        lambda: matchers.SchrodingerBridgeConditionalFlowMatcher(sigma=0.7),
        lambda: paths.BrownianBridge(0.7),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_points_and_targets(name):
    matcher, path = (make() for make in CASES[name])
    (x, z), t = samples()
    t = 0.02 + 0.96 * t
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    theirs_x = matcher.sample_xt(z, x, t, noise)
    theirs_u = matcher.compute_conditional_flow(z, x, t, theirs_x)
    s = (1 - t)[:, None]
    if name == "target":  # its noise is the path's ε, and there is no other end
        ours_x = path.alpha(s) * x + path.sigma(s) * noise
        ours_u = path.alpha_dot(s) * x + path.sigma_dot(s) * noise
    else:
        ours_x = path.alpha(s) * x + path.sigma(s) * z + path.gamma(s) * noise
        ours_u = path.alpha_dot(s) * x + path.sigma_dot(s) * z + path.gamma_dot(s) * noise
    torch.testing.assert_close(ours_x, theirs_x)
    # The bridge's target there is divided by t (1 - t) + 1e-8.
    torch.testing.assert_close(-ours_u, theirs_u, rtol=1e-5, atol=1e-6)
