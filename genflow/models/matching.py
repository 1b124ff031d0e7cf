r"""Matching: a network learned by regression along a path, without simulation.

.. math::
    \min_F \; E_{t, x, z} \; w(t) \, |F(s \, x_t, t) - F^*(x, z, t)|^2, \qquad
    x_t = \alpha(t) x + \sigma(t) z + \gamma(t) \varepsilon

Flow matching, stochastic interpolants and diffusions are this one loss: they differ in the path, in what the network
predicts, in the pairs, the times and the weights. Each is a preset of a few lines, in `genflow.models` and
`genflow.baselines`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.answers import check_field
from genflow.base import StandardNormal, check_base
from genflow.errors import InputError
from genflow.flow import Flow
from genflow.interfaces import GaussianPath, Integrator, Path, Scheduler, Velocity
from genflow.model import GenerativeModel
from genflow.models.stages import beside
from genflow.naming.search import Between, OneOf
from genflow.paths import Coupling, Linear, Prediction, Rate, Times, UniformTime, Weighting
from genflow.paths.couplings import coupling as coupling_of
from genflow.paths.weightings import weighting_of
from genflow.schedulers import EqualLogSNR, Uniform
from genflow.solvers import EulerMaruyama
from genflow.training import Optimization, Rows, Stage, Stream, TrainingData, pair, pick, unpair
from genflow.velocities import ProbabilityFlow, optional, strike_out
from genflow.wrappers import alike

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Matching", "regression_errors", "terminal_law"]

Pairs = tuple[Tensor, Tensor, Tensor | None]
"""Points, the noise of each, and the condition of each where there is one."""

_SLACK = 0.01  # of a deviation, between the law that the noise leads to and the base: 1e-4 nats in each dimension
_ENDED = 1e-6  # of the signal: none
_DRAWS, _COUPLED_DRAWS = 8, 2  # of each row in a validation; to pair a batch takes as long as to train on it
_RATE = Rate()  # what a plain field predicts


def regression_errors(
    velocity: Velocity, path: Path, x: Tensor, z: Tensor, t: Tensor, condition: Tensor | None, latent: Tensor | None
) -> Tensor:
    r"""The squared error of each row, :math:`|F(s x_t, t) - F^*|^2`, `(n,)`.

    Args:
        velocity: A `ProbabilityFlow`, whose network's prediction is compared; or a field, compared with the rate
            :math:`\dot x_t`.
        path: The path.
        x: Data, `(n, *event)`.
        z: Noise, `(n, *event)`.
        t: Times, `(n,)`.
        condition: What each row is conditioned on, `(n, k)`.
        latent: The noise :math:`\varepsilon` of the path itself, `(n, *event)`, where it has one.
    """

    def combined(to_x: Any, to_z: Any, to_latent: Any) -> Tensor:
        terms = zip((to_x, to_z, to_latent), (x, z, latent), strict=True)
        return sum(  # type: ignore[return-value]
            (beside(c, x) if isinstance(c, Tensor) else c) * end for c, end in terms if end is not None
        )

    rates = path.gamma_dot(t) if latent is not None else 0.0
    x_t = combined(path.alpha(t), path.sigma(t), path.gamma(t) if latent is not None else 0.0)
    if isinstance(velocity, ProbabilityFlow):
        found, target = velocity.predict(x_t, t, condition), velocity.prediction.target(path, t)
    else:
        given = () if condition is None else (condition,)  # a plain field of two arguments serves as well
        found, target = check_field(velocity(x_t, t, *given), x_t, velocity), _RATE.target(path, t)
    return (found - combined(*target, rates)).square().flatten(1).sum(-1)


class Matching(Flow, GenerativeModel):
    r"""A network along a path: what flow matching, interpolants and diffusions are assembled from. See above.

    Where no signal is left at the path's end, :math:`\alpha = 0, \sigma = 1`, the noise z is drawn from the base, which
    may be any law; elsewhere it is normal, and the base is the law in which the path ends. With a normal z that does
    not depend on x the model has a denoiser, and every solver samples it: those of ordinary and of stochastic
    equations, and the samplers of diffusions; see `replace`.

    Args:
        velocity: The network: a `ProbabilityFlow` of a path and a prediction, or a field that is the rate
            :math:`\dot x_t` itself.
        path: The path of a plain field; `Linear` by default.
        coupling: `independent`, `ot`, `entropic`, or a `Coupling`.
        times: The distribution of the times; uniform by default.
        weighting: `unweighted`, `simple`, `likelihood`, `edm`, `min-snr`, or a `Weighting`.
        sampler: The solver that samples, where it is another than the integrator, which the density needs. Another
            integrator, by `replace`, takes its place.
        sampling: The grid of times of that solver; the integrator's by default.
        batch_size: Rows in a batch.
        learning_rate: Peak learning rate.
        condition_dropout: Share of the rows of a batch that are trained on without their condition, so that the model
            can do without one, and be guided; see `genflow.velocities.Guided`.
        name: What the model is called.
        parts: Parts of the `Flow` to be replaced: `scheduler`, `integrator`, `divergence`, `base`.

    Raises:
        InputError: A velocity that follows another path than the given one; a base that is not the law at which the
            path ends.

    References:
        | Albergo, Boffi, Vanden-Eijnden 2023, Stochastic interpolants, https://arxiv.org/abs/2303.08797
        | Kingma, Gao 2023, Understanding diffusion objectives as the ELBO, https://arxiv.org/abs/2303.00848

    Example:
        >>> import genflow as gf
        >>> network = gf.velocities.ResidualMLP(2, width=16)
        >>> model = gf.models.Matching(network, gf.paths.Trigonometric(), coupling="ot", weighting="unweighted")
        >>> model.fit("two-moons", iterations=5).sample(4).shape
        torch.Size([4, 2])
    """

    autocasts = True
    search = {"learning_rate": Between(5e-4, 1e-2, log=True), "width": OneOf((64, 128, 256)), "depth": OneOf((2, 3, 4))}
    velocity: Any  # a network, or a ProbabilityFlow, while it is trained; for sampling, anything around one

    def __init__(
        self,
        velocity: Velocity,
        path: Path | None = None,
        coupling: Coupling | str = "independent",
        times: Times | None = None,
        weighting: Weighting | str = "unweighted",
        sampler: Integrator | None = None,
        sampling: Scheduler | None = None,
        batch_size: int = 512,
        learning_rate: float = 2e-3,
        condition_dropout: float = 0.0,
        name: str = "matching",
        **parts: Any,
    ):
        condition_dim = velocity.condition_dim or 0
        if isinstance(velocity, ProbabilityFlow):
            network = optional(velocity.network, condition_dim, condition_dropout)
            velocity = velocity if network is velocity.network else velocity.around(network)
            if path is not None and not alike(path, velocity.path):
                raise InputError(
                    f"path: a {type(path).__name__} came beside a velocity along a {type(velocity.path).__name__}; "
                    "one of them would do"
                )
            path = velocity.path
        else:
            path = path or velocity.noise or Linear()
            velocity = optional(velocity, condition_dim, condition_dropout)
            interval = (path.t_min, path.t_max)
            velocity = velocity if tuple(velocity.interval) == interval else velocity.on(interval)
            self.choose(path=path)
        event = velocity.event()
        self._ends_in_base = _signal_left(path) < _ENDED
        parts = {"scheduler": _grid(velocity, path), "integrator": None, "divergence": None, "base": None, **parts}
        if self._ends_in_base:
            parts["base"] = (StandardNormal(event) if event else None) if parts["base"] is None else parts["base"]
        else:
            parts["base"] = terminal_law(path, event, parts["base"])
        super().__init__(velocity, **parts)
        check_base(self.base, event)
        self.dim, self.condition_dim, self.condition_dropout = (
            math.prod(event or (0,)),
            condition_dim,
            condition_dropout,
        )
        self._plain_path = None if isinstance(velocity, ProbabilityFlow) else path
        self.coupling = coupling_of(coupling)
        if times is not None and not isinstance(times, Times):
            raise InputError(f"times: {times!r} came; a distribution of genflow.paths such as LogitNormal() would do")
        self.times, self.weighting = times or UniformTime(), weighting_of(weighting)
        self.sampler, self.sampling = sampler, sampling
        self.batch_size, self.learning_rate, self.name = batch_size, learning_rate, name

    def replace(self, **parts: Any) -> Self:
        other = super().replace(**parts)
        if "integrator" in parts or "scheduler" in parts:
            other.sampler = other.sampling = None
        return other

    def config(self) -> dict[str, Any]:
        config = super().config()
        return {**config, **{name: getattr(self, name) for name in ("sampler", "sampling") if name in config}}

    @property
    def path(self) -> Path:
        """The path that the model is trained along."""
        if isinstance(self.velocity, ProbabilityFlow):
            return self.velocity.path
        path = self.velocity.noise or self._plain_path
        assert path is not None
        return path

    @property
    def prediction(self) -> Prediction:
        """What the network predicts."""
        return self.velocity.prediction if isinstance(self.velocity, ProbabilityFlow) else _RATE

    def field(self) -> Velocity:
        """The velocity that is integrated: where it is a rate and there is a denoiser to it, one that offers that."""
        normal = not self._ends_in_base or (type(self.base) is StandardNormal and self.base.scale == 1)
        if self.velocity.noise is not None or not (self.coupling.independent and normal and self.path.gaussian()):
            return self.velocity
        return ProbabilityFlow(self.velocity, self.path, _RATE)

    def losses(
        self, x: Tensor, z: Tensor, u: Tensor, condition: Tensor | None = None, latent: Tensor | None = None
    ) -> Tensor:
        r"""The loss of each row, :math:`w(t) |F - F^*|^2`.

        Args:
            x: Data, `(n, *event)`.
            z: Noise, `(n, *event)`.
            u: Numbers in [0, 1] that the times are made of, `(n,)`.
            condition: What each row is conditioned on, `(n, k)`.
            latent: The path's own noise, `(n, *event)`, where it has one.
        """
        t = self.times.quantile(u, self.path).clamp(self.path.t_min, self.path.t_max)
        weight = self.weighting(self.path, self.prediction, self.times, t)
        return weight * regression_errors(self.velocity, self.path, x, z, t, condition, latent)

    def noise_for(self, x: Float[Tensor, "n *event"], generator: torch.Generator | None = None) -> Tensor:
        """Noise for each of these rows: from the base, where the path ends in it, and normal elsewhere."""
        if self._ends_in_base:
            return self.noise_like(x, generator)
        return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)

    def next_stage(self, data: TrainingData, history: list[dict[str, Any]]) -> Stage | None:
        return None if history else self.regression(data)

    def regression(self, data: TrainingData, share: float = 1.0) -> Stage:
        """The stage of training that the loss makes of rows, with noise that is drawn for each batch.

        Args:
            data: Rows.
            share: Its share of the budget that is left.

        Raises:
            InputError: A velocity around a diffusion's, which can't be trained.
        """

        def coupled(batch: Rows, generator: torch.Generator) -> Pairs:
            x, condition = unpair(batch)
            z = self.noise_for(x, generator)
            rows, partners = self.coupling(x, z, generator, condition)
            return x[rows], z[partners], None if condition is None else condition[rows]

        def coupled_in_batches(rows: Rows, generator: torch.Generator) -> Pairs:
            # As in training: under another coupling the field that is learned is not the best one, and the weights that
            # are kept would be early ones.
            if self.coupling.independent:
                return coupled(rows, generator)
            places = torch.arange(len(unpair(rows)[0])).split(self.batch_size)
            xs, zs, conditions = zip(*(coupled(pick(rows, part), generator) for part in places), strict=True)
            return torch.cat(xs), torch.cat(zs), None if conditions[0] is None else torch.cat(conditions)

        validation = pair(data.validation, data.validation_condition)
        return self._stage("matching", data.batched, validation, coupled, coupled_in_batches, share)

    def paired_regression(
        self, train: Sequence[Tensor], validation: Sequence[Tensor], name: str, share: float
    ) -> Stage:
        """The same with given pairs.

        Args:
            train: Points, the condition of each where there is one, and the noise of each.
            validation: The same to validate on.
            name: What the stage is called.
            share: Its share of the budget that is left.
        """

        def given(batch: Rows, generator: torch.Generator) -> Pairs:
            x, *condition, z = batch
            return x, z, condition[0] if condition else None

        return self._stage(name, tuple(train), tuple(validation), given, given, share)

    def _stage(
        self,
        name: str,
        train: Rows | Stream,
        validation: Rows,
        pairs: Callable[[Rows, torch.Generator], Pairs],
        pairs_of_validation: Callable[[Rows, torch.Generator], Pairs],
        share: float,
    ) -> Stage:
        if self.velocity.noise is not None and not isinstance(self.velocity, ProbabilityFlow):
            kind = type(self.velocity).__name__
            raise InputError(f"velocity: a {kind} can't be trained as a diffusion; a ProbabilityFlow would do")

        def loss(batch: Rows, generator: torch.Generator) -> Tensor:
            x, z, condition = pairs(batch, generator)
            latent = self._latent(x, generator)
            first = torch.rand((), generator=generator, dtype=x.dtype, device=x.device)
            u = (first + _spread(x)) % 1
            if condition is None or not self.condition_dropout:
                return self._mean(self.losses(x, z, u, condition, latent))
            without = strike_out(len(x), self.condition_dropout, generator)
            losses = [
                self.losses(x[i], z[i], u[i], given, None if latent is None else latent[i])
                for i, given in ((~without, condition[~without]), (without, None))
                if i.any()
            ]
            return self._mean(torch.cat(losses))

        def validate(rows: Rows, generator: torch.Generator) -> Tensor:
            # Several draws for each row, spread evenly over time.
            first = unpair(rows)[0]
            draws = _DRAWS if self.coupling.independent else _COUPLED_DRAWS
            again = torch.arange(len(first), device=first.device).repeat(draws)
            x, z, condition = pairs_of_validation(pick(rows, again), generator)
            u = _spread(x)[torch.randperm(len(x), generator=generator, device=x.device)]
            return self.losses(x, z, u, condition, self._latent(x, generator))

        return Stage(
            name=name,
            parameters=list(self.velocity.parameters()),
            train=train,
            validation=validation,
            loss=loss,
            validate=validate,
            share=share,
            optimization=Optimization("adam", self.learning_rate, self.batch_size, average=0.999),
        )

    def _latent(self, x: Tensor, generator: torch.Generator) -> Tensor | None:
        if not self.path.latent:
            return None
        return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)

    def _mean(self, losses: Tensor) -> Tensor:
        """The mean loss. A path that is learned descends on the mean of its square instead: with fixed ends the mean
        does not depend on it, and it is to make the loss vary least. Kingma et al. 2021, appendix I."""
        learned = [parameter for parameter in self.path.parameters() if parameter.requires_grad]
        mean = losses.mean()
        if not learned or not torch.is_grad_enabled():
            return mean
        slopes = torch.autograd.grad(losses.square().mean() - mean, learned, retain_graph=True)
        turned = sum((slope * parameter).sum() for slope, parameter in zip(slopes, learned, strict=True))
        return mean + turned - turned.detach()  # type: ignore[union-attr]

    def sample(
        self,
        shape: int | Sequence[int],
        condition: Any = None,
        generator: torch.Generator | None = None,
        sampler: Literal["ode", "sde"] | None = None,
        steps: int | None = None,
    ) -> Float[Tensor, "*shape"]:
        r"""Samples, `(*shape, *event)`, of the law at the path's earliest time.

        Args:
            shape: How many, or the shape of the batch.
            condition: What the density is conditioned on.
            generator: Source of randomness.
            sampler: `ode`, the model's integrator; `sde`, the stochastic equation of the same laws by Euler–Maruyama,
                see `reverse_dynamics`; by default the model's own sampler, where it has one, and `ode` elsewhere.
            steps: Steps of the solver; by default those of its grid, and 250 of the stochastic equation.

        Raises:
            InputError: An unknown sampler; a stochastic one for a model without a denoiser.
        """
        if sampler not in (None, "ode", "sde"):
            raise InputError(f"sampler: {sampler!r} came; ode or sde would do")
        solver: Integrator = self.integrator
        grid: Scheduler = self.scheduler
        if sampler == "sde":
            solver, grid = EulerMaruyama(), _grid(self.velocity, self.path, 250)
        elif sampler is None and self.sampler is not None:
            solver, grid = self.sampler, self.sampling or self.scheduler
        grid = grid if steps is None else grid.with_steps(steps)
        drawn = super().replace(integrator=solver, scheduler=grid)
        return Flow.sample(drawn, shape, condition, generator)


def _signal_left(path: Path) -> float:
    """How far the path ends from its noise: 0 where nothing of the data is left, and the noise as it was drawn."""
    alpha, sigma, gamma = (
        f(torch.tensor(path.t_max, dtype=torch.float64)).item() for f in (path.alpha, path.sigma, path.gamma)
    )
    # Times that keep away from an infinite rate by a margin end in the base as well as a network can tell.
    margin = 1 - path.t_max if path.latent else 0.0
    return max(abs(alpha) - margin, abs(sigma - 1) - margin, abs(gamma) if not path.latent else 0.0)


def _grid(velocity: Velocity, path: Path, steps: int | None = None) -> Uniform | EqualLogSNR:
    """Equal steps in time for a field, and in the log-SNR for a diffusion, where that is finite."""
    merged = path.gaussian()
    learned = any(True for _ in path.parameters())  # its grid would not outlive a checkpoint
    if not learned and (isinstance(velocity, ProbabilityFlow) or velocity.noise is not None):
        ends = torch.tensor([path.t_min, path.t_max], dtype=torch.float64)
        if merged is not None and merged.log_snr(ends).isfinite().all():
            return EqualLogSNR(merged, steps or 40)
    return Uniform(steps or 32)


def terminal_law(path: Path, event: Sequence[int] | None, base: Any = None) -> StandardNormal:
    r"""The base that a path of normal noise ends in, the law at `t_max` of data of variance one.

    Args:
        path: The path.
        event: The shape of an event; `None` where it is not known.
        base: One that was given: it is returned, if it is that law.

    Raises:
        InputError: It is another; the shape of an event is not known.
    """
    noise = path.gaussian()
    event = event or (None if base is None else base.shape)
    if event is None or not isinstance(noise, GaussianPath):
        raise InputError("base: the velocity does not say its dimension; give base=StandardNormal(shape)")
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
