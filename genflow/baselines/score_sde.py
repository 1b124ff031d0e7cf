r"""A score-based diffusion: noise is added to the data by a stochastic equation, and a network learns to undo it.

.. math::
    x_t = \alpha(t) x_0 + \sigma(t) \varepsilon, \qquad dx = \frac{\dot\alpha}{\alpha} x \, dt + g \, dW

The network's denoiser gives the score, :math:`\nabla \log p_t(x) = (\alpha D(x, t) - x) / \sigma^2`, and with it two
equations of the same laws: the reverse stochastic one, :math:`dx = (f - g^2 \nabla \log p_t) dt + g \, d\bar W`, and
the probability flow :math:`\dot x = f - \frac12 g^2 \nabla \log p_t`, which is a velocity with an exact likelihood.

Song et al. 2021, Score-based generative modeling through SDEs, https://arxiv.org/abs/2011.13456
"""

from __future__ import annotations

from typing import Any, Literal

from genflow.baselines.presets import diffusion, extends
from genflow.errors import InputError
from genflow.interfaces import NoiseSchedule, Velocity
from genflow.models.matching import Matching, terminal_law
from genflow.paths import (
    Angle,
    GaussianPath,
    Preconditioned,
    Prediction,
    Simple,
    SubVariancePreserving,
    UniformLogSNR,
    UniformTime,
    VarianceExploding,
    VariancePreserving,
    Weighting,
)
from genflow.schedulers import EqualLogSNR
from genflow.velocities import ProbabilityFlow, conditional, optional

__all__ = ["ScoreSDE", "score_sde_subvp", "score_sde_ve"]


class ScoreSDE(Matching):
    r"""A variance-preserving diffusion, trained by denoising score matching; likelihood by its probability flow.

    .. math::
        \min_\theta \; E_{\lambda, x_0, \varepsilon} \;
        |\varepsilon_\theta(\alpha x_0 + \sigma \varepsilon, t_\lambda) - \varepsilon|^2,
        \qquad \lambda = \log(\alpha^2 / \sigma^2)

    With :math:`\lambda` uniform this is the likelihood weighting: the loss bounds the negative log-likelihood up to a
    constant. `weighting="simple"` draws :math:`t` uniformly instead, which favours large noise and smooth samples. The
    times of a batch are spread evenly, which takes away most of the loss's variance.

    The likelihood is that of the law at `noise.t_min`, where the data carry a noise :math:`\sigma(t_{min})`. The
    default, 1e-6 and with it a noise of 3e-4 deviations, is for tables whose columns nearly determine each other:
    there, a noise of 0.01 (1e-3) costs nats; where the data are smooth it changes nothing.

    Args:
        dim: Dimension :math:`d` of a point.
        width: Width of the default network, a residual one.
        depth: Its residual layers.
        prediction: What the network predicts: `epsilon`, `x` or `v`.
        weighting: `likelihood` or `simple`.
        noise: The noise schedule; variance preserving from 1e-6 on by default.
        steps: Integrator steps of likelihood and sampling, equal in :math:`\lambda`.
        batch_size: Rows in a batch.
        learning_rate: Peak learning rate.
        condition_dim: Dimension of a condition, 0 for none: `data.condition_dim`.
        condition_dropout: Share of the rows of a batch that are trained on without their condition, so that the model
            can do without one, and be guided; see `genflow.velocities.Guided`.
        predictor: What predicts in the place of the residual network: a velocity, such as a flattened `UNet`.
        parts: Parts of the `Flow` to be replaced: `velocity`, `scheduler`, `integrator`, `divergence`, `base`.

    Raises:
        InputError: An unknown weighting or prediction; a velocity that is no probability flow; a base that is not the
            law at which the noise ends.

    References:
        | Song, Durkan, Murray, Ermon 2021, Maximum likelihood training of score-based diffusion models,
          https://arxiv.org/abs/2101.09258
        | Kingma et al. 2021, Variational diffusion models, https://arxiv.org/abs/2107.00630

    Example:
        >>> import genflow as gf
        >>> model = gf.baselines.ScoreSDE(2, width=16).fit("two-moons", iterations=5)
        >>> model.sample(4, sampler="sde").shape
        torch.Size([4, 2])
    """

    def __init__(
        self,
        dim: int,
        width: int = 128,
        depth: int = 3,
        prediction: Literal["epsilon", "x", "v"] = "v",
        weighting: Literal["likelihood", "simple"] = "likelihood",
        noise: NoiseSchedule | None = None,
        steps: int = 40,
        batch_size: int = 512,
        learning_rate: float = 4e-3,
        condition_dim: int = 0,
        condition_dropout: float = 0.0,
        predictor: Velocity | None = None,
        **parts: Any,
    ):
        if weighting not in ("likelihood", "simple"):
            raise InputError(f"weighting: {weighting!r} came; likelihood or simple would do")
        velocity = parts.pop("velocity", None)
        if velocity is None:
            inner = predictor or conditional(dim, width, depth, condition_dim, condition_dropout)
            velocity = ProbabilityFlow(inner, noise or VariancePreserving(t_min=1e-6), prediction, clock="log_snr")
        elif predictor is not None:
            raise InputError("predictor, velocity: both came; give one of them")
        elif velocity.noise is None or velocity.denoise is None:
            raise InputError(
                f"velocity: a {type(velocity).__name__} came, which is the probability flow of no diffusion; "
                "ProbabilityFlow(network, noise) would do"
            )
        elif isinstance(velocity, ProbabilityFlow):
            inner = optional(velocity.network, condition_dim, condition_dropout)
            velocity = velocity if inner is velocity.network else velocity.around(inner)
        self.choose(noise=velocity.noise)
        parts = {"scheduler": EqualLogSNR(velocity.noise, steps), **parts}
        parts["base"] = terminal_law(velocity.noise, velocity.event() or (dim,), parts.get("base"))
        super().__init__(
            velocity,
            # The error of the noise, whatever the network predicts: uniform in λ it is the likelihood's weighting.
            times=UniformLogSNR() if weighting == "likelihood" else UniformTime(),
            weighting=Simple(),
            batch_size=batch_size,
            learning_rate=learning_rate,
            condition_dropout=condition_dropout,
            name="score-sde",
            **parts,
        )
        self.dim, self.condition_dim = dim, condition_dim

    def config(self) -> dict[str, Any]:
        return {**super().config(), "predictor": None}  # it stands in the velocity


@extends(diffusion)
def _named(
    dim: int,
    name: str,
    path: GaussianPath,
    prediction: Prediction,
    steps: int = 40,
    weighting: Weighting | str = "likelihood",
    **options: Any,
) -> Matching:
    """A diffusion at times that are uniform in the log-SNR.

    Args:
        steps: Integrator steps of likelihood and sampling, equal in the log-SNR.
        weighting: `likelihood`, or another; see `genflow.paths.weightings`.
        options: Those of `genflow.baselines.presets.diffusion`.
    """
    parts = {"scheduler": EqualLogSNR(path, steps), **options}
    return diffusion(dim, name, path, prediction, "log_snr", times=UniformLogSNR(), weighting=weighting, **parts)


@extends(_named)
def score_sde_ve(dim: int, sigma_min: float = 1e-3, sigma_max: float = 50.0, **options: Any) -> Matching:
    r"""The variance-exploding diffusion, :math:`x_t = x + \sigma(t) \varepsilon` with a noise that grows geometrically.

    .. math::
        \sigma(t) = \sigma_{min} (\sigma_{max} / \sigma_{min})^t, \qquad
        \min_\theta E_{t, x, \varepsilon} |\sigma \nabla \log p_\theta(x_t) + \varepsilon|^2

    The times are uniform, and so is the log signal-to-noise ratio. The network's input and output are scaled as by
    Karras et al., since a plain network does not see unscaled inputs of a deviation of 50.

    Args:
        dim: Dimension of a point.
        sigma_min: The least noise, where the likelihood is defined.
        sigma_max: The most; the base is :math:`N(0, 1 + \sigma_{max}^2)`.
        options: Those of `ScoreSDE`, but for `noise` and `prediction`.

    References:
        Song et al. 2021, https://arxiv.org/abs/2011.13456; the scaling: Karras et al. 2022, table 1,
        https://arxiv.org/abs/2206.00364

    Example:
        >>> import genflow as gf
        >>> round(gf.baselines.score_sde_ve(2, width=16).base.scale)
        50
    """
    return _named(dim, "score-sde-ve", VarianceExploding(sigma_min, sigma_max), Preconditioned(), **options)


@extends(_named)
def score_sde_subvp(dim: int, **options: Any) -> Matching:
    r"""The sub-variance-preserving diffusion, :math:`\alpha = e^{-B/2}, \sigma = 1 - e^{-B}`.

    Args:
        dim: Dimension of a point.
        options: Those of `ScoreSDE`, but for `noise`.

    References:
        Song et al. 2021, https://arxiv.org/abs/2011.13456

    Example:
        >>> import genflow as gf
        >>> gf.baselines.score_sde_subvp(2, width=16).fit("two-moons", iterations=5).sample(4).shape
        torch.Size([4, 2])
    """
    return _named(dim, "score-sde-subvp", SubVariancePreserving(t_min=1e-3), Angle(), **options)
