r"""The family of flow matching: one regression, other pairs and paths.

.. math::
    \min_v \; E_{t, (x, z), \varepsilon} |v(x_t, t) - \dot x_t|^2, \qquad
    x_t = \alpha(t) x + \sigma(t) z + \gamma(t) \varepsilon

======================  ==============================  ===============================================
preset                  pairs                           path
======================  ==============================  ===============================================
`FlowMatching`          independent                     :math:`(1 - t) x + t z`
`ot_cfm`                optimal transport of a batch    the same
`sb_cfm`                entropic transport              the same :math:`+ s \sqrt{t (1 - t)} \varepsilon`
`vp_cfm`                independent                     :math:`\cos(\pi t / 2) x + \sin(\pi t / 2) z`
`lipman_cfm`            independent                     :math:`(1 - t) x + (s + (1 - s) t) z`
`interpolant`           independent                     :math:`(1 - t) x + t z + \sqrt{2 t (1 - t)} \varepsilon`
======================  ==============================  ===============================================
"""

from __future__ import annotations

from typing import Any

from genflow.baselines.presets import extends, matching
from genflow.models.matching import Matching
from genflow.paths import (
    BrownianBridge,
    ConditionalOT,
    EntropicTransport,
    Interpolant,
    OptimalTransport,
    Trigonometric,
)

__all__ = ["interpolant", "lipman_cfm", "ot_cfm", "sb_cfm", "vp_cfm"]


@extends(matching)
def ot_cfm(dim: int, batch_size: int = 256, **options: Any) -> Matching:
    """Flow matching whose pairs are those of optimal transport in each batch: the paths hardly cross.

    Args:
        dim: Dimension of a point.
        batch_size: Rows in a batch, and so in a transport problem.
        options: Those of `genflow.baselines.presets.matching`.

    References:
        | Tong et al. 2024, https://arxiv.org/abs/2302.00482
        | Pooladian et al. 2023, https://arxiv.org/abs/2304.14772

    Example:
        >>> import genflow as gf
        >>> gf.baselines.ot_cfm(2, width=16).fit("two-moons", iterations=5).sample(4).shape
        torch.Size([4, 2])
    """
    return matching(dim, "ot-cfm", coupling=OptimalTransport(), batch_size=batch_size, **options)


@extends(matching)
def sb_cfm(dim: int, deviation: float = 0.5, batch_size: int = 256, **options: Any) -> Matching:
    r"""Flow matching with the marginals of the Schrödinger bridge of a Brownian motion of deviation s.

    Pairs of the entropic plan of weight :math:`2 s^2` in each batch, and Brownian bridges between them. The published
    bridge, in time from noise to data, is the same one read backwards.

    Args:
        dim: Dimension of a point.
        deviation: The deviation :math:`s`, in the units of the model.
        batch_size: Rows in a batch, and so in a transport problem.
        options: Those of `genflow.baselines.presets.matching`.

    References:
        Tong et al. 2024, section 4, https://arxiv.org/abs/2302.00482

    Example:
        >>> import genflow as gf
        >>> gf.baselines.sb_cfm(2, width=16).fit("two-moons", iterations=5).sample(4).shape
        torch.Size([4, 2])
    """
    bridge, pairs = BrownianBridge(deviation), EntropicTransport(2 * deviation**2)
    return matching(dim, "sb-cfm", path=bridge, coupling=pairs, batch_size=batch_size, **options)


@extends(matching)
def vp_cfm(dim: int, **options: Any) -> Matching:
    """Flow matching along a quarter of a circle, which keeps the variance of standardized rows.

    Args:
        dim: Dimension of a point.
        options: Those of `genflow.baselines.presets.matching`.

    References:
        Albergo, Vanden-Eijnden 2023, https://arxiv.org/abs/2209.15571

    Example:
        >>> import genflow as gf
        >>> gf.baselines.vp_cfm(2, width=16).fit("two-moons", iterations=5).sample(4).shape
        torch.Size([4, 2])
    """
    return matching(dim, "vp-cfm", path=Trigonometric(), **options)


@extends(matching)
def lipman_cfm(dim: int, sigma_min: float = 1e-3, **options: Any) -> Matching:
    r"""Flow matching in its first form: a noise of :math:`\sigma_{min}` stays on the data.

    Args:
        dim: Dimension of a point.
        sigma_min: That noise, in the units of the model.
        options: Those of `genflow.baselines.presets.matching`.

    References:
        Lipman et al. 2023, https://arxiv.org/abs/2210.02747

    Example:
        >>> import genflow as gf
        >>> gf.baselines.lipman_cfm(2, width=16).fit("two-moons", iterations=5).sample(4).shape
        torch.Size([4, 2])
    """
    return matching(dim, "lipman-cfm", path=ConditionalOT(sigma_min), **options)


@extends(matching)
def interpolant(dim: int, blur: float = 1.0, **options: Any) -> Matching:
    r"""A stochastic interpolant: the straight path, blurred half way by :math:`a \sqrt{2 t (1 - t)}`.

    Args:
        dim: Dimension of a point.
        blur: The factor :math:`a`.
        options: Those of `genflow.baselines.presets.matching`.

    References:
        Albergo, Boffi, Vanden-Eijnden 2023, https://arxiv.org/abs/2303.08797

    Example:
        >>> import genflow as gf
        >>> gf.baselines.interpolant(2, width=16).fit("two-moons", iterations=5).sample(4, sampler="sde").shape
        torch.Size([4, 2])
    """
    return matching(dim, "interpolant", path=Interpolant(blur), **options)
