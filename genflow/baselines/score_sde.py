r"""A score-based diffusion: noise is added to the data by a stochastic equation, and a network learns to undo it.

.. math::
    x_t = \alpha(t) x_0 + \sigma(t) \varepsilon, \qquad dx = \frac{\dot\alpha}{\alpha} x \, dt + g \, dW

The network's denoiser gives the score, :math:`\nabla \log p_t(x) = (\alpha D(x, t) - x) / \sigma^2`, and with it two
equations of the same laws: the reverse stochastic one, :math:`dx = (f - g^2 \nabla \log p_t) dt + g \, d\bar W`, and
the probability flow :math:`\dot x = f - \frac12 g^2 \nabla \log p_t`, which is a velocity with an exact likelihood.

Song et al. 2021, Score-based generative modeling through SDEs, https://arxiv.org/abs/2011.13456
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.base import StandardNormal
from genflow.errors import InputError
from genflow.flow import Flow, check_given
from genflow.interfaces import Dynamics, NoiseSchedule, Velocity
from genflow.model import GenerativeModel
from genflow.schedulers import EqualLogSNR, VariancePreserving
from genflow.solvers import EulerMaruyama
from genflow.training import Rows, Stage, TrainingData, paired, unpaired
from genflow.velocities import ProbabilityFlow, conditional, optional, struck_out

__all__ = ["ScoreSDE"]

_SLACK = 0.01  # of a deviation, between the law that the noise leads to and the base: 1e-4 nats in each dimension


class ScoreSDE(Flow, GenerativeModel):
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

    autocasts = True
    velocity: Any  # a ProbabilityFlow while it is trained; for sampling, anything around one

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
            network = predictor or conditional(dim, width, depth, condition_dim, condition_dropout)
            velocity = ProbabilityFlow(network, noise or VariancePreserving(t_min=1e-6), prediction, clock="log_snr")
        elif predictor is not None:
            raise InputError("predictor, velocity: both came; give one of them")
        elif velocity.noise is None or velocity.denoise is None:
            raise InputError(
                f"velocity: a {type(velocity).__name__} came, which is the probability flow of no diffusion; "
                "ProbabilityFlow(network, noise) would do"
            )
        if isinstance(velocity, ProbabilityFlow):
            network = optional(velocity.network, condition_dim, condition_dropout)
            velocity = velocity if network is velocity.network else velocity.around(network)
        self.choose(noise=velocity.noise)
        parts = {"scheduler": EqualLogSNR(velocity.noise, steps), **parts}
        parts["base"] = _terminal(velocity.noise, velocity.event() or (dim,), parts.get("base"))
        super().__init__(velocity, **parts)
        self.dim, self.condition_dim, self.condition_dropout = dim, condition_dim, condition_dropout
        self.weighting = weighting
        self.batch_size, self.learning_rate = batch_size, learning_rate

    def config(self) -> dict[str, Any]:
        return {**super().config(), "predictor": None}  # it stands in the velocity

    def sample(
        self,
        shape: int | Sequence[int],
        condition: Any = None,
        generator: torch.Generator | None = None,
        sampler: Literal["ode", "sde"] = "ode",
        steps: int = 250,
    ) -> Float[Tensor, "*shape"]:
        r"""Samples, `(*shape, *event)`, of the law at `noise.t_min`.

        Args:
            shape: How many, or the shape of the batch.
            condition: What the density is conditioned on.
            generator: Source of randomness.
            sampler: `ode`, the probability flow by the model's integrator, or `sde`, the reverse stochastic equation by
                Euler–Maruyama.
            steps: Steps of the stochastic equation, equal in :math:`\lambda`.

        Raises:
            InputError: An unknown sampler.
        """
        if sampler == "ode":
            return super().sample(shape, condition, generator)
        if sampler != "sde":
            raise InputError(f"sampler: {sampler!r} came; ode or sde would do")
        check_given(condition)
        z = self._noise(shape, generator)
        t_min, t_max = self.velocity.interval
        times = EqualLogSNR(self.velocity.noise, steps).times(t_max, t_min, dtype=z.dtype, device=z.device)
        return EulerMaruyama().solve(self.reverse_dynamics(condition), z, times, generator=generator).state

    def reverse_dynamics(self, condition: Any = None) -> Dynamics:
        r"""The reverse equation :math:`dx = (2 v - f) dt + g \, d\bar W`, with :math:`f = (\dot\alpha / \alpha) x`.

        Args:
            condition: What the density is conditioned on.
        """
        noise = self.velocity.noise

        def drift(t: Tensor, x: Any) -> Tensor:
            return 2 * self.velocity(x, t, condition) - (noise.alpha_dot(t) / noise.alpha(t)) * x

        return Dynamics(drift, diffusion=lambda t, x: noise.diffusion(t))

    def losses(self, x: Tensor, epsilon: Tensor, u: Tensor, condition: Tensor | None = None) -> Tensor:
        r"""The loss of each row, :math:`|\varepsilon_\theta - \varepsilon|^2`.

        Args:
            x: Data, `(n, *event)`.
            epsilon: Noise, `(n, *event)`.
            u: Numbers in [0, 1] that the times are made of, `(n,)`.
            condition: What each row is conditioned on, `(n, k)`.
        """
        noise = self.velocity.noise
        t_min, t_max = self.velocity.interval
        if self.weighting == "likelihood":
            low, high = noise.log_snr(u.new_tensor([t_max, t_min])).tolist()
            t = noise.time_of(low + (high - low) * u).clamp(t_min, t_max)
        else:
            t = t_min + (t_max - t_min) * u
        alpha, sigma = noise.alpha(t), noise.sigma(t)
        column = (-1, *(1,) * (x.ndim - 1))
        x_t = alpha.view(column) * x + sigma.view(column) * epsilon
        error = self.velocity.predict(x_t, t, condition) - self.velocity.target(x, epsilon, t)
        # An error of the prediction is so many times one of the noise.
        scale = {"epsilon": torch.ones_like(t), "x": alpha / sigma, "v": alpha / (alpha**2 + sigma**2)}
        return scale[self.velocity.prediction] ** 2 * error.square().flatten(1).sum(-1)

    def next_stage(self, data: TrainingData, history: list[dict[str, Any]]) -> Stage | None:
        if history:
            return None
        if not isinstance(self.velocity, ProbabilityFlow):
            name = type(self.velocity).__name__
            raise InputError(f"velocity: a {name} can't be trained as a diffusion; a ProbabilityFlow would do")

        def loss(batch: Rows, generator: torch.Generator) -> Tensor:
            x, condition = unpaired(batch)
            epsilon = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
            first = torch.rand((), generator=generator, dtype=x.dtype, device=x.device)
            u = (first + _spread(x)) % 1
            if condition is None or not self.condition_dropout:
                return self.losses(x, epsilon, u, condition).mean()
            without = struck_out(len(x), self.condition_dropout, generator)
            losses = [self.losses(x[~without], epsilon[~without], u[~without], condition[~without])]
            losses += [self.losses(x[without], epsilon[without], u[without])] if without.any() else []
            return torch.cat(losses).mean()

        def validate(rows: Rows, generator: torch.Generator) -> Tensor:
            # Eight draws for each row, spread evenly over time.
            x, condition = (
                None if part is None else part.repeat(8, *(1,) * (part.ndim - 1)) for part in unpaired(rows)
            )
            assert x is not None
            epsilon = torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)
            u = _spread(x)[torch.randperm(len(x), generator=generator, device=x.device)]
            return self.losses(x, epsilon, u, condition)

        return Stage(
            name="denoising",
            parameters=list(self.velocity.parameters()),
            train=paired(data.train, data.train_condition),
            validation=paired(data.validation, data.validation_condition),
            loss=loss,
            validate=validate,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            average=0.999,
        )


def _terminal(noise: NoiseSchedule, event: Sequence[int], base: Any) -> StandardNormal:
    r"""The base that a diffusion ends in, the law at `t_max` of data of variance one; or the given one, if it is that.

    Raises:
        InputError: It is another.
    """
    alpha, sigma = (f(torch.tensor(noise.t_max, dtype=torch.float64)).item() for f in (noise.alpha, noise.sigma))
    law = math.hypot(alpha, sigma)
    law = 1.0 if abs(law - 1) < _SLACK else law
    if base is None:
        return StandardNormal(event, law)
    fits = type(base) is StandardNormal and sigma * (1 - _SLACK) <= base.scale <= law * (1 + _SLACK)
    if not fits:
        came = f" of scale {base.scale:g}" if isinstance(base, StandardNormal) else ""
        wanted = ", ".join([f"{event[0] if len(event) == 1 else tuple(event)}", *([f"scale={law:.4g}"] * (law != 1))])
        raise InputError(
            f"base: a {type(base).__name__}{came} came, the noise of this diffusion ends in N(0, {law:.4g}²); leave it "
            f"out, or give StandardNormal({wanted}); flow-matching, cnf and jko-iflow are trained to end in any base"
        )
    return base


def _spread(x: Tensor) -> Tensor:
    """Numbers in [0, 1), spread evenly, one for each row."""
    return (torch.arange(len(x), dtype=x.dtype, device=x.device) + 0.5) / len(x)
