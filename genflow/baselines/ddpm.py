"""Denoising diffusion in so many steps, and the same in continuous time."""

from __future__ import annotations

from typing import Any, Literal

from genflow.baselines.presets import diffusion, extends
from genflow.models.matching import Matching
from genflow.paths import Angle, DiscreteSteps, Learned, Noise, Steps, Trigonometric, Weighting
from genflow.schedulers import Uniform
from genflow.solvers import DDIM, Ancestral

__all__ = ["ddpm", "ddpm_cosine", "v_diffusion", "vdm"]


@extends(diffusion)
def ddpm(
    dim: int,
    rates: Literal["linear", "cosine"] = "linear",
    levels: int = 1000,
    steps: int = 250,
    weighting: Weighting | str = "simple",
    **options: Any,
) -> Matching:
    r"""The noise of one of N levels is predicted, and taken away by ancestral sampling.

    .. math::
        x_n = \sqrt{\bar\alpha_n} x + \sqrt{1 - \bar\alpha_n} \, \varepsilon, \qquad
        \min_\theta \; E_{n, x, \varepsilon} |\varepsilon_\theta(x_n, n) - \varepsilon|^2, \qquad
        x_{n-1} \sim p(x_{n-1} \mid x_n, x_0 = D)

    The likelihood is that of the first level, by the probability flow on the schedule between the levels.

    Args:
        dim: Dimension of a point.
        rates: The schedule, `linear` or `cosine`; see `genflow.paths.DiscreteSteps`.
        levels: The number N of levels.
        steps: Steps of the sampler, evenly spaced among the levels; N are the authors'.
            `replace(integrator=DDIM())` takes fewer.
        weighting: `simple`, or `min-snr` and others; see `genflow.paths.weightings`.
        options: Those of `genflow.baselines.presets.diffusion`.

    References:
        | Ho, Jain, Abbeel 2020, https://arxiv.org/abs/2006.11239
        | Nichol, Dhariwal 2021, https://arxiv.org/abs/2102.09672
        | Song, Meng, Ermon 2021, DDIM, https://arxiv.org/abs/2010.02502

    Example:
        >>> import genflow as gf
        >>> gf.baselines.ddpm(2, width=16).fit("two-moons", iterations=5).sample(4, steps=10).shape
        torch.Size([4, 2])
    """
    return diffusion(
        dim,
        "ddpm" if rates == "linear" else "ddpm-cosine",
        DiscreteSteps(rates, levels),
        Noise(),
        "log_snr",
        times=Steps(levels),
        weighting=weighting,
        sampler=Ancestral(),
        sampling=Uniform(steps),
        **options,
    )


@extends(ddpm)
def ddpm_cosine(dim: int, weighting: Weighting | str = "min-snr", **options: Any) -> Matching:
    r"""The same with the cosine schedule, :math:`\bar\alpha = f(t) / f(0), f = \cos^2(\frac{t + s}{1 + s} \frac\pi2)`,
    and errors of the data weighted by :math:`\min(\mathrm{SNR}, 5)`.

    Args:
        dim: Dimension of a point.
        weighting: `min-snr`, `simple` or another; see `genflow.paths.weightings`.
        options: Those of `ddpm`.

    References:
        | Nichol, Dhariwal 2021, https://arxiv.org/abs/2102.09672
        | Hang et al. 2023, min-SNR, https://arxiv.org/abs/2303.09556

    Example:
        >>> import genflow as gf
        >>> gf.baselines.ddpm_cosine(2, width=16).velocity.path.rates
        'cosine'
    """
    return ddpm(dim, "cosine", weighting=weighting, **options)


@extends(diffusion)
def v_diffusion(dim: int, steps: int = 64, weighting: Weighting | str = "unweighted", **options: Any) -> Matching:
    r"""The angle of the cosine schedule is predicted, and DDIM samples.

    .. math::
        x_t = \cos(\tfrac{\pi t}{2}) x + \sin(\tfrac{\pi t}{2}) \varepsilon, \qquad
        \min_\theta \; E_{t, x, \varepsilon} \bigl|v_\theta(x_t, t)
        - (\cos(\tfrac{\pi t}{2}) \varepsilon - \sin(\tfrac{\pi t}{2}) x)\bigr|^2

    which weighs an error of the data by SNR + 1. :math:`\lambda` is kept within [-20, 20], as by the authors up to the
    rounding of single precision.

    Args:
        dim: Dimension of a point.
        steps: Steps of DDIM, equal in time.
        weighting: `unweighted`, or another; see `genflow.paths.weightings`.
        options: Those of `genflow.baselines.presets.diffusion`.

    References:
        Salimans, Ho 2022, Progressive distillation, https://arxiv.org/abs/2202.00512

    Example:
        >>> import genflow as gf
        >>> gf.baselines.v_diffusion(2, width=16).fit("two-moons", iterations=5).sample(4).shape
        torch.Size([4, 2])
    """
    margin = 3e-5  # tan(π t / 2) = exp(-10)
    return diffusion(
        dim,
        "v-diffusion",
        Trigonometric(margin, 1 - margin),
        Angle(),
        "time",
        weighting=weighting,
        sampler=DDIM(),
        sampling=Uniform(steps),
        **options,
    )


@extends(diffusion)
def vdm(dim: int, steps: int = 40, **options: Any) -> Matching:
    r"""A variational diffusion: the loss bounds the likelihood, and the schedule is learned to make it vary least.

    .. math::
        -\log p(x) \le \tfrac12 E_{t, \varepsilon} \bigl[-\dot\lambda(t) \,
        |\varepsilon_\theta(x_t, \lambda(t)) - \varepsilon|^2\bigr] + \text{const}

    The network predicts the angle, of which the noise is made: an error of it is not divided by the signal that is
    left.

    Args:
        dim: Dimension of a point.
        steps: Integrator steps of likelihood and sampling.
        options: Those of `genflow.baselines.presets.diffusion`.

    References:
        Kingma, Salimans, Poole, Ho 2021, Variational diffusion models, https://arxiv.org/abs/2107.00630

    Example:
        >>> import genflow as gf
        >>> gf.baselines.vdm(2, width=16).fit("two-moons", iterations=5).sample(4).shape
        torch.Size([4, 2])
    """
    return diffusion(
        dim, "vdm", Learned(), Angle(), "log_snr", weighting="likelihood", **{"scheduler": Uniform(steps), **options}
    )
