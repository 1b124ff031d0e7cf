r"""Continuous normalizing flows as their authors published them: `genflow.models.CNF`, assembled in other ways.

All maximize the likelihood of :math:`\dot x = v(x, t)`, which carries data at :math:`t = 0` to N(0, I) at 1,

.. math::
    \log p(x) = \log p_Z(x(1)) + \int_0^1 \nabla \cdot v(x(t), t) \, dt ,

with no matching in front of it, on rows that are not whitened. Log p of test rows has the exact divergence. What a
preset does not name can be told as to `CNF`: `ffjord(2, learning_rate=1e-2)`.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow.divergences import Hutchinson
from genflow.interfaces import Velocity
from genflow.models import CNF, HJB, Discretization, JacobianNorm, Kinetic, Optimization, WarmUp
from genflow.naming.search import Between, OneOf, searched
from genflow.solvers import RK4, Adaptive
from genflow.velocities import PotentialGradient
from genflow.velocities.time import check_condition

__all__ = ["ConcatSquash", "ffjord", "ot_flow", "rnode"]


class ConcatSquash(Velocity):
    r"""The network of FFJORD: layers that time, and a condition, gate and shift, with softplus between them.

    .. math:: u_{l+1} = (W_l u_l + b_l) \circ \sigma(G_l \tau + g_l) + B_l \tau, \qquad \tau = (t, c)

    Args:
        dim: Dimension :math:`d` of a point.
        width: Width of the hidden layers.
        depth: Number of hidden layers.
        condition_dim: Dimension of a condition :math:`c`, 0 for none.
        interval: The times on which it lives.

    Example:
        >>> import torch
        >>> from genflow.baselines.cnf import ConcatSquash
        >>> ConcatSquash(2, condition_dim=3)(torch.zeros(5, 2), torch.tensor(0.5), torch.zeros(5, 3)).shape
        torch.Size([5, 2])
    """

    dim: int
    condition_dim: int

    def __init__(
        self,
        dim: int,
        width: int = 64,
        depth: int = 3,
        condition_dim: int = 0,
        interval: tuple[float, float] = (0.0, 1.0),
    ):
        super().__init__()
        self.dim, self.condition_dim = dim, condition_dim
        self.interval = (float(interval[0]), float(interval[1]))
        sizes = list(itertools.pairwise([dim, *(width,) * depth, dim]))
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in sizes)
        self.gates = nn.ModuleList(nn.Linear(1 + condition_dim, b) for _, b in sizes)
        self.shifts = nn.ModuleList(nn.Linear(1 + condition_dim, b, bias=False) for _, b in sizes)

    def forward(self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None) -> Float[Tensor, "*shape"]:
        check_condition(condition, self.condition_dim, "the velocity")
        tau, u = t.to(x.dtype).unsqueeze(-1), x
        if condition is not None:
            rows = torch.broadcast_shapes(tau.shape[:-1], condition.shape[:-1])
            tau = torch.cat([tau.expand(*rows, -1), condition.to(x.dtype).expand(*rows, -1)], -1)
        for k, (layer, gate, shift) in enumerate(zip(self.layers, self.gates, self.shifts, strict=True)):
            u = layer(nn.functional.softplus(u) if k else u) * gate(tau).sigmoid() + shift(tau)
        return u


@searched(learning_rate=Between(3e-4, 1e-2, log=True), width=OneOf((32, 64, 128)), depth=OneOf((2, 3, 4)))
def ffjord(dim: int, width: int = 64, depth: int = 3, condition_dim: int = 0, **options: Any) -> CNF:
    r"""FFJORD: a free-form field, whose divergence is estimated with one Gaussian probe for each solve of a training.

    .. math:: \min_v E[-\log p(x)], \qquad
        \nabla \cdot v \approx \varepsilon^\top \nabla v \, \varepsilon, \quad \varepsilon \sim N(0, I)

    Dormand–Prince with tolerances of 1e-5, gradients by the adjoint method, Adam with a fixed learning rate.

    W. Grathwohl, R. Chen, J. Bettencourt, I. Sutskever, D. Duvenaud, FFJORD: free-form continuous dynamics for scalable
    reversible generative models, ICLR 2019, https://arxiv.org/abs/1810.01367

    Args:
        dim: Dimension :math:`d` of a point.
        width: Width of the hidden layers.
        depth: Number of hidden layers.
        condition_dim: Dimension of a condition, 0 for none: `data.condition_dim`.
        options: Further options of `genflow.models.CNF`.

    Example:
        >>> import genflow as gf
        >>> gf.baselines.ffjord(2, width=8, integrator=gf.solvers.RK4(), steps=4).fit("two-moons", iterations=2).dim
        2
    """
    parts = {
        "velocity": ConcatSquash(dim, width, depth, condition_dim),
        "integrator": Adaptive("dopri5", rtol=1e-5, atol=1e-5, adjoint=True),
        "train_divergence": Hutchinson(1, "gaussian", mode="pull"),
    }
    return CNF(
        dim,
        condition_dim=condition_dim,
        warm_up=WarmUp(matching=0.0),
        discretization=Discretization(steps=1, train_steps=1, warp=1.0, disagreement=0.0),
        optimization=Optimization("adam", 1e-3, 1000, weight_decay=1e-6, annealed=False, average=0.0),
        **{"whiten": False, **parts, **options},
    )


@searched(learning_rate=Between(3e-4, 1e-2, log=True), width=OneOf((32, 64, 128)), depth=OneOf((2, 3, 4)))
def rnode(dim: int, width: int = 64, depth: int = 3, condition_dim: int = 0, **options: Any) -> CNF:
    r"""RNODE: FFJORD with costs that make the field so smooth that few fixed steps solve it.

    .. math:: \min_v E\Bigl[-\log p(x) + \lambda_K \int_0^1 |v|^2 dt
        + \lambda_J \int_0^1 |\varepsilon^\top \nabla v|^2 dt\Bigr], \qquad \lambda_K = \lambda_J = 0.01

    Four steps of RK4 in training; the probe of the Jacobian is that of the divergence.

    C. Finlay, J.-H. Jacobsen, L. Nurbekyan, A. Oberman, How to train your neural ODE: the world of Jacobian and kinetic
    regularization, ICML 2020, https://arxiv.org/abs/2002.02798

    Args:
        dim: Dimension :math:`d` of a point.
        width: Width of the hidden layers.
        depth: Number of hidden layers.
        condition_dim: Dimension of a condition, 0 for none: `data.condition_dim`.
        options: Further options of `genflow.models.CNF`.

    Example:
        >>> import genflow as gf
        >>> gf.baselines.rnode(2, width=8).fit("two-moons", iterations=2).dim
        2
    """
    parts = {
        "velocity": ConcatSquash(dim, width, depth, condition_dim),
        "integrator": RK4(),
        "train_divergence": Hutchinson(1, "gaussian", mode="pull"),
    }
    return CNF(
        dim,
        costs=[Kinetic(0.01), JacobianNorm(0.01)],
        condition_dim=condition_dim,
        warm_up=WarmUp(matching=0.0),
        discretization=Discretization(steps=4, train_steps=4, warp=1.0, disagreement=0.0),
        optimization=Optimization("adam", 1e-3, 1000, annealed=False, average=0.0),
        **{"whiten": False, **parts, **options},
    )


@searched(learning_rate=Between(3e-4, 3e-2, log=True), width=OneOf((32, 64, 128)), depth=OneOf((1, 2, 3)))
def ot_flow(dim: int, width: int = 64, depth: int = 1, condition_dim: int = 0, **options: Any) -> CNF:
    r"""OT-Flow: a field without rotation, whose divergence is a Laplacian in closed form, on the paths of transport.

    .. math:: \min_\Phi E\Bigl[-\log p(x) + \frac{1}{\alpha} \int_0^1 \tfrac12 |\nabla \Phi|^2 dt
        + \frac{\beta}{\alpha} \int_0^1 \bigl|\partial_t \Phi - \tfrac12 |\nabla \Phi|^2\bigr| dt\Bigr], \qquad
        v = -\nabla \Phi, \quad \alpha = 100, \quad \beta = 5

    Eight steps of RK4 in training. The potential is a residual network of log-cosh and a quadratic; see
    `genflow.velocities.PotentialGradient` for where its quadratic and its time differ from the authors'.

    D. Onken, S. Wu Fung, X. Li, L. Ruthotto, OT-Flow: fast and accurate continuous normalizing flows via optimal
    transport, AAAI 2021, https://arxiv.org/abs/2006.00104

    Args:
        dim: Dimension :math:`d` of a point.
        width: Width of the hidden layers.
        depth: Residual layers of the potential.
        condition_dim: Dimension of a condition, 0 for none: `data.condition_dim`.
        options: Further options of `genflow.models.CNF`.

    Example:
        >>> import genflow as gf
        >>> gf.baselines.ot_flow(2, width=8).fit("two-moons", iterations=2).dim
        2
    """
    return CNF(
        dim,
        costs=[Kinetic(0.5 / 100), HJB(5 / 100)],
        condition_dim=condition_dim,
        warm_up=WarmUp(matching=0.0),
        discretization=Discretization(steps=8, train_steps=8, warp=1.0, disagreement=0.0),
        optimization=Optimization("adam", 1e-2, 1000, average=0.0),
        **{"whiten": False, "velocity": PotentialGradient(dim, width, depth, condition_dim), **options},
    )
