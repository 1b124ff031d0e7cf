r"""Flow: the four parts assembled.

With :math:`\dot x = v(x, t)` running from the data at :math:`t_0` to the base at :math:`t_1`,

.. math::
    \log p(x) = \log p_Z(z) + \int_{t_0}^{t_1} \nabla \cdot v(x(t), t) \, dt .

`encode` solves it upwards in time, `decode` and `sample` downwards. What is written here once serves every continuous
model.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from genflow import tally
from genflow.answers import check_estimate, check_field, check_states
from genflow.assembly import Cost, Density, Transport
from genflow.audit import Audit, run_audit
from genflow.base import Base, StandardNormal, check_base
from genflow.deadline import check_time
from genflow.divergences import Exact, Hutchinson, as_divergence
from genflow.draws import batch_shape, check_generator
from genflow.errors import InputError
from genflow.interfaces import (
    DivergenceEstimator,
    Dynamics,
    Integrator,
    Scheduler,
    Velocity,
    check_function,
    check_keywords,
    check_part,
)
from genflow.naming.options import option_names
from genflow.numerics.recomputation import recompute
from genflow.numerics.tuning import products
from genflow.schedulers import Uniform
from genflow.schedulers.function import as_scheduler
from genflow.settling import Settled, choose_grid
from genflow.solvers import RK4Simpson
from genflow.solvers.function import as_integrator
from genflow.solvers.grid import moves_points_alone
from genflow.solvers.states import is_lost, is_watched
from genflow.solvers.stochastic import reverse_equation
from genflow.velocities import Guided, as_velocity

if TYPE_CHECKING:
    from typing import Self

__all__ = ["Cost", "Flow", "StandardNormal", "Transport", "check_given"]

_FROM_FUNCTION: dict[str, Callable[..., Any]] = {
    "velocity": as_velocity,
    "scheduler": as_scheduler,
    "integrator": as_integrator,
    "divergence": as_divergence,
}
"""What makes each part of a flow of a plain function."""

_INTERFACES: dict[str, type] = {
    "velocity": Velocity,
    "scheduler": Scheduler,
    "integrator": Integrator,
    "divergence": DivergenceEstimator,
}


_FEW_DIRECTIONS = 8  # to push so many costs little more than to push one


class Flow(Density):
    r"""A velocity, the times to stop at, an integrator, a divergence estimator and a base.

    Args:
        velocity: The field :math:`v(x, t)`.
        scheduler: The grid of times, on each piece of the velocity. Eight equal steps by default.
        integrator: The solver. `RK4Simpson` by default.
        divergence: The estimator of :math:`\nabla \cdot v`. Exact by default.
        base: The law of the noise, a `Base`. Standard normal by default.
        unknown: None: what else comes is refused, also what came to a model as one of its parts.

    Raises:
        InputError: Something else than such a part; a base of other events than the velocity's; none, where the
            velocity does not say its dimension.

    Example:
        >>> import torch, genflow as gf
        >>> expansion = gf.as_velocity(lambda x, t, condition: x)  # z = e x: the density of N(0, 1/e²)
        >>> flow = gf.Flow(expansion, base=gf.StandardNormal(1))
        >>> x = torch.zeros(1, 1)
        >>> round((flow.log_prob(x) - flow.base.log_prob(x)).item(), 4)
        1.0
        >>> flow.replace(integrator=gf.solvers.Adaptive("dopri5")).log_prob(x).shape
        torch.Size([1])
    """

    velocity: Velocity
    base: Any
    has_parts = True
    integrates = True

    def __init__(
        self,
        velocity: Velocity,
        scheduler: Scheduler | None = None,
        integrator: Integrator | None = None,
        divergence: DivergenceEstimator | None = None,
        base: Any = None,
        **unknown: Any,
    ):
        super().__init__()
        if unknown:
            check_keywords(type(self).__name__, unknown, list(dict.fromkeys(option_names(type(self)) or ())))
            raise TypeError(
                f"Flow: {', '.join(unknown)} came, which {type(self).__name__} takes and should not hand on"
            )
        check_part("velocity", velocity, Velocity)
        self.velocity = velocity
        self.scheduler = Uniform(8) if scheduler is None else scheduler
        self.integrator = RK4Simpson() if integrator is None else integrator
        self.divergence = Exact() if divergence is None else divergence
        self.base = _base_of(velocity) if base is None else base
        for name, interface in _INTERFACES.items():  # also what a subclass hands over
            check_part(name, self.parts()[name], interface)
        check_base(self.base, velocity.event())

    @classmethod
    def check_arguments(cls, arguments: Mapping[str, Any]) -> None:
        super().check_arguments(arguments)
        if arguments.get("velocity") is not None:  # models ask it for its events before it arrives here
            check_part("velocity", arguments["velocity"], Velocity)
        if arguments.get("base") is not None:
            check_base(arguments["base"], None)

    def config(self) -> dict[str, Any]:
        return {**super().config(), **self.parts()}

    @property
    def has_log_prob(self) -> bool:  # type: ignore[override]
        """Whether the integrator carries a log-determinant along. A sampler of diffusions moves points alone."""
        return self.__dict__.get("_has_log_prob", True) and self.integrator.carries_density

    @has_log_prob.setter
    def has_log_prob(self, declared: bool) -> None:
        object.__setattr__(self, "_has_log_prob", declared)

    def check_density(self) -> None:
        """Refuses, where a log density is needed, an integrator that moves points alone.

        Raises:
            InputError: With what would do.
        """
        if not self.integrator.carries_density:
            raise moves_points_alone(self._solver)

    @property
    def _solver(self) -> str:
        """What a message calls the integrator."""
        return self.integrator.method or type(self.integrator).__name__

    def parts(self) -> dict[str, Any]:
        """The parts by name, as `replace` takes them."""
        return {
            "velocity": self.velocity,
            "scheduler": self.scheduler,
            "integrator": self.integrator,
            "divergence": self.divergence,
            "base": self.base,
        }

    def replace(self, **parts: Any) -> Self:
        """The same model with other parts: the weights are shared, not copied.

        Args:
            parts: Any of `velocity`, `scheduler`, `integrator`, `divergence`, `base`. A plain function serves for each
                of the first four; see `as_velocity` and its sisters.

        Raises:
            InputError: A name that is none of these; something else than such a part; a velocity and a base of
                different events.
        """
        unknown = sorted(parts.keys() - self.parts().keys())
        if unknown:
            raise InputError(f"replace: no part {unknown[0]!r}; the parts are {', '.join(self.parts())}")
        for name in parts.keys() & _INTERFACES.keys():
            check_function(name, parts[name], _INTERFACES[name])
        parts = {name: _FROM_FUNCTION[name](part) if name in _FROM_FUNCTION else part for name, part in parts.items()}
        self._check_events(parts)
        other = copy.copy(self)
        # A shallow copy shares the dictionary of sub-modules, too: give it one of its own.
        object.__setattr__(other, "_modules", dict(self._modules))
        for name, part in parts.items():
            setattr(other, name, part)
        return other

    def _check_events(self, parts: Mapping[str, Any]) -> None:
        """Refuses a new velocity or base of other events than those of the other of the two."""
        if "base" in parts:
            check_base(parts["base"], parts.get("velocity", self.velocity).event())
        elif "velocity" in parts:
            event, own = parts["velocity"].event(), self.base.shape if isinstance(self.base, Base) else None
            if own is not None and event not in (None, tuple(own)):
                raise InputError(
                    f"velocity: its events have the shape {event}, those of the base {tuple(own)}; one of these, or "
                    "another base beside it, would do"
                )

    def field(self) -> Velocity:
        """The velocity that is integrated: `velocity`, where a model has no more to say of it."""
        return self.velocity

    def guided(self, weight: float) -> Self:
        r"""The same flow with its conditional field exaggerated, by classifier-free guidance; the weights are shared.

        Args:
            weight: The weight :math:`w` of `genflow.velocities.Guided`: 0 for none.

        Raises:
            InputError: A velocity that has not learned to do without its condition.
        """
        if not self.velocity.condition_optional:
            raise InputError(
                "guidance: the model has not learned to do without its condition; one that was trained with "
                "condition_dropout=0.1, as flow-matching and score-sde take it, would do"
            )
        return self.replace(velocity=Guided(self.velocity, weight))

    def integrate(
        self,
        x: Float[Tensor, "*shape"],
        *,
        reverse: bool = False,
        log_det: bool = True,
        costs: Sequence[Cost] = (),
        condition: Any = None,
        generator: torch.Generator | None = None,
        save: Literal["last", "all"] = "last",
        held_pieces: int | None = None,
    ) -> Transport:
        r"""Moves points along the flow, with whatever is to be integrated on the way.

        Args:
            x: Points, `(*batch, *event)`: data, or noise if `reverse`.
            reverse: From noise to data.
            log_det: Whether to integrate the divergence.
            costs: Running costs, such as the kinetic energy `lambda t, x, e: (e.velocity**2).sum(-1)`.
            condition: What the density is conditioned on.
            generator: Source of the estimator's probes, and of a stochastic solver's noise.
            save: Whether to keep the points at all times.
            held_pieces: Of how many pieces, counted from the end, the graph is kept for a backward pass; the pieces
                before them are computed again, one at a time, so that memory does not grow with their number.
        """
        check_given(condition)
        event_ndim = self.velocity.event_ndim
        batch = x.shape[: x.ndim - event_ndim]
        augmented = log_det or bool(costs)
        if augmented:
            self.check_density()
        probes = self.divergence.probes(x, event_ndim, generator) if augmented else None
        direction = -1.0 if reverse else 1.0
        pushes = 0

        def dynamics_of(velocity: Velocity) -> Dynamics:
            def augmented_velocity(t: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
                nonlocal pushes
                check_time()
                estimate = self.divergence(velocity, state[0], t, probes, condition)
                check_estimate(estimate, state[0], event_ndim, type(self.divergence).__name__)
                pushes += estimate.pushes
                rates = [estimate.velocity, estimate.divergence]
                rates += [direction * cost(t, state[0], estimate) for cost in costs]
                if len(state) > len(rates):
                    assert estimate.per_probe is not None
                    rates.append(estimate.per_probe.movedim(0, -1))  # every part of the state begins with the batch
                return tuple(rates)

            def plain_velocity(t: Tensor, state: Tensor) -> Tensor:
                check_time()
                return check_field(velocity(state, t, condition), state, velocity)

            function: Callable[[Tensor, Any], Any] = augmented_velocity if augmented else plain_velocity
            return _FlowDynamics(function, velocity, condition, len(batch), plain_velocity if augmented else None)

        pieces = self.field().pieces()
        state: Any = x
        if augmented:
            zeros = x.new_zeros(batch)
            state = (x, zeros, *(zeros for _ in costs))
            if (count := self.divergence.estimates(probes)) > 1:
                state = (*state, x.new_zeros(*batch, count))
        result = Transport(x)
        kept: list[tuple[Tensor, Tensor]] = []
        again = 0 if held_pieces is None else len(pieces) - held_pieces
        for index, (velocity, start, stop) in enumerate(reversed(pieces) if reverse else pieces):
            ends = (stop, start) if reverse else (start, stop)
            times = self.scheduler.times(*ends, dtype=x.dtype, device=x.device)
            solve = partial(self.integrator.solve, dynamics_of(velocity), times=times, generator=generator, save=save)
            with products(x.device):
                solution = recompute(solve, state, apart=True) if index < again else solve(state)
            state = solution.state
            result.count(solution)
            if save == "all":
                states = check_states(solution.states, self.integrator)
                points = states[0] if augmented else states
                first = 1 if kept else 0  # a piece begins where the last one ended
                kept.append((times[first:], points[first:]))
        if save == "all":
            result.times = torch.cat([times for times, _ in kept]) if kept else x.new_zeros(1)
            result.states = torch.cat([points for _, points in kept]) if kept else x[None]
        tally.add(result.nfe * batch.numel())
        result.x, result.pushes = (state[0], pushes) if augmented else (state, 0)
        if augmented:
            result.log_det = state[1]
            result.costs = tuple(state[2 : 2 + len(costs)])
            result.per_probe = state[2 + len(costs)].movedim(-1, 0) if len(state) > 2 + len(costs) else None
        return result

    def encode(self, x: Float[Tensor, "*shape"], condition: Any = None) -> Float[Tensor, "*shape"]:
        """The noise z of data x."""
        return self.integrate(x, log_det=False, condition=condition).x

    def decode(self, z: Float[Tensor, "*shape"], condition: Any = None) -> Float[Tensor, "*shape"]:
        """The data x of noise z."""
        return self.integrate(z, reverse=True, log_det=False, condition=condition).x

    def log_prob(
        self, x: Float[Tensor, "*shape"], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch"]:
        r"""The log density, in nats.

        Args:
            x: Data, `(*batch, *event)`.
            condition: What the density is conditioned on.
            generator: Source of the estimator's probes, if it is random.
        """
        transport = self.integrate(x, condition=condition, generator=generator)
        return self.base.log_prob(transport.x) + transport.log_det

    def log_prob_with_error(
        self, x: Float[Tensor, "*shape"], condition: Any = None, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
        """The log density and the standard error that random probes leave, integrated in the same solve.

        It is 0 of an estimator without probes, and NaN of a single one, which says nothing of its own error.

        Args:
            x: As in `log_prob`.
            condition: Likewise.
            generator: Likewise.

        Example:
            >>> import torch, genflow as gf
            >>> flow = gf.Flow(gf.velocities.Shallow(2), divergence=gf.divergences.Hutchinson(4))
            >>> log_p, error = flow.log_prob_with_error(torch.zeros(3, 2), generator=torch.Generator().manual_seed(0))
            >>> error.shape, bool((error >= 0).all())
            (torch.Size([3]), True)
        """
        transport = self.integrate(x, condition=condition, generator=generator)
        assert transport.log_det is not None
        log_p, error = self.base.log_prob(transport.x) + transport.log_det, transport.standard_error
        if error is None:
            random = self.divergence.probes(x, self.velocity.event_ndim, torch.Generator(x.device)) is not None
            error = torch.full_like(log_p, math.nan if random else 0.0)
        return log_p, error

    def sample(
        self, shape: int | Sequence[int], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*shape"]:
        """Samples, `(*shape, *event)`: noise from the base, decoded.

        Args:
            shape: How many, or the shape of the batch.
            condition: What the density is conditioned on.
            generator: Source of randomness.
        """
        z = self._noise(shape, generator)
        return self.integrate(z, reverse=True, log_det=False, condition=condition, generator=generator).x

    def sample_with_log_prob(
        self, shape: int | Sequence[int], condition: Any = None, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*batch"]]:
        """Samples and their log density, from one solve.

        They agree with `log_prob` within the solver's error if the divergence is exact; a random estimator draws other
        probes for another call.
        """
        z = self._noise(shape, generator)
        transport = self.integrate(z, reverse=True, condition=condition, generator=generator)
        return transport.x, self.base.log_prob(z) - transport.log_det

    def trajectory(
        self, x: Float[Tensor, "*shape"], reverse: bool = False, condition: Any = None
    ) -> tuple[Float[Tensor, " times"], Float[Tensor, "times *shape"]]:
        """The times of the grid and the points there, from data to noise (or back, if `reverse`)."""
        transport = self.integrate(x, reverse=reverse, log_det=False, condition=condition, save="all")
        assert transport.times is not None
        assert transport.states is not None
        return transport.times, transport.states

    def score(
        self, x: Float[Tensor, "*shape"], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*shape"]:
        r"""The score :math:`\nabla_x \log p(x)`."""
        differentiable = torch.is_grad_enabled()
        with torch.enable_grad():
            x = x if differentiable and x.requires_grad else x.detach().requires_grad_()
            log_p = self.log_prob(x, condition, generator).sum()
            (score,) = torch.autograd.grad(log_p, x, create_graph=differentiable)
        return score

    def reverse_dynamics(self, condition: Any = None) -> Dynamics | None:
        r"""The stochastic equation that has the laws of the flow, to be solved in falling times from the base.

        .. math::
            dx = (v + c \, E[z \mid x_t]) \, dt + \sqrt{2 \sigma c} \, d\bar W

        with the rate :math:`c` at which the path exchanges noise, `GaussianPath.exchange`: what a stochastic solver in
        the place of the integrator solves.

        Args:
            condition: What the density is conditioned on.

        Returns:
            The equation; `None` of a flow without a denoiser.
        """
        field = self.field()
        if field.noise is None or field.denoise is None:
            return None
        denoise = field.denoise if condition is None else partial(field.denoise, condition=condition)
        drift, diffusion = reverse_equation(denoise, field.noise)
        return Dynamics(drift, diffusion=diffusion)

    def audit(
        self,
        x: Float[Tensor, "*shape"],
        condition: Any = None,
        generator: torch.Generator | None = None,
        tolerance: float = 0.01,
    ) -> Audit:
        r"""Says how good log p of these rows is: some hundred of those that a mean is to be reported of.

        log p is computed again with the tolerances of an adaptive integrator a tenth as large, or on a grid of twice
        the steps, under the same probes; beside it stand the standard error that random probes leave, and the error of
        the inverse. A bias of the estimator, that of `FiniteDifference` or of one of your own, does not show: compare
        with `replace(divergence=Exact())` for it.

        Args:
            x: Data, `(*batch, *event)`.
            condition: What the density is conditioned on.
            generator: Source of the estimator's probes; of the seed 0 by default.
            tolerance: How good the mean should be, in nats.

        Warns:
            The mean is not good to the tolerance.

        Example:
            >>> import torch, genflow as gf
            >>> flow = gf.Flow(gf.as_velocity(lambda x, t, condition: x), base=gf.StandardNormal(2))
            >>> print(flow.audit(torch.zeros(4, 2)))
            log p of 4 rows: 0.1621 nats in the mean
              8 to 16 steps: the mean moves by ... nats, a row by ..., at most ...
              random probes: none
              decode(encode(x)): a mean squared error of 0
              the mean is good to 0.01 nats
        """
        return run_audit(self, x, condition, generator, tolerance)

    def settle(
        self, x: Float[Tensor, "*shape"], condition: Any = None, tolerance: float = 0.01, most: int = 128
    ) -> Any:
        r"""Doubles the steps of the grid until log p and the inverse no longer depend on them.

        Halving the steps of a method of order p leaves 2^-p of its error, so what doubling changes is what it had. The
        grid is fine enough where log p of the rows moves by less than `tolerance` nats in the mean of its absolute
        value, and decode(encode(x)) returns them with a mean squared error below 1e-7 of their mean square.

        Within a `genflow.deadline.deadline` it takes what time there is, with a cheaper estimator of the divergence
        where the exact one is dear, and leaves a valid grid whenever that ends.

        Args:
            x: Rows to try it on; not those that the model is judged by.
            condition: What the density is conditioned on.
            tolerance: Nats.
            most: The largest number of steps on a piece.

        Returns:
            A `genflow.settling.Settled`: log p of the rows on the grid that was chosen, and what remains undone.
        """
        if not self.has_log_prob:
            return Settled(x.new_empty(0), f"{self._solver} moves points alone: there are samples, and no log p")
        return choose_grid(self, x, condition, tolerance, most)

    def cheaper(self, x: Float[Tensor, "*shape"]) -> Self | None:
        """The same flow with one random probe in the place of an exact divergence that pushes every direction.

        It is Hutchinson's estimator: log p is right in the mean over the probes, and takes a fraction of the time.

        Args:
            x: Rows, for their dimension.

        Returns:
            The flow; `None` where there is nothing to gain.
        """
        few = x.shape[x.ndim - self.velocity.event_ndim :].numel() <= _FEW_DIRECTIONS
        if few or not isinstance(self.divergence, Exact):
            return None
        return (
            None
            if all(piece.closed_form for piece, _, _ in self.velocity.pieces())
            else self.replace(divergence=Hutchinson(1))
        )

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the model to a folder: weights as safetensors, structure as JSON. See `genflow.load`."""
        from genflow.storage.checkpoint import save

        save(self, path)

    @staticmethod
    def load(path: str | PathLike[str], trust: Sequence[str] = ()) -> Any:
        """Reads what `save` wrote; see `genflow.load`."""
        from genflow.storage.checkpoint import load

        return load(path, trust)

    def noise_like(self, rows: Float[Tensor, "n *event"], generator: torch.Generator | None = None) -> Tensor:
        """Noise for each of these rows, drawn from the base: what a training joins them with.

        Args:
            rows: Rows, `(n, *event)`.
            generator: Source of randomness.

        Raises:
            InputError: A base of other events than these.
        """
        z = self.base.sample(rows.shape[:1], generator, dtype=rows.dtype, device=rows.device)
        if z.shape != rows.shape:
            raise InputError(
                f"base: its draws for {len(rows)} rows have the shape {tuple(z.shape)}, the rows {tuple(rows.shape)}; "
                f"a base of events of the shape {tuple(rows.shape[1:])} would do"
            )
        return z

    def _noise(self, shape: int | Sequence[int], generator: torch.Generator | None) -> Tensor:
        check_generator(generator)
        batch = batch_shape(shape)
        like = next(self.velocity.parameters(), torch.empty(0))
        dtype = like.dtype if like.dtype.is_floating_point and like.dtype.itemsize >= 4 else torch.float32
        return self.base.sample(batch, generator, dtype=dtype, device=like.device)


def check_given(condition: Any) -> None:
    """Refuses a condition with a number that is none: what is missing is said by `None`, or by the user's own value.

    Raises:
        InputError: An entry is not finite.
    """
    if isinstance(condition, Tensor) and is_watched(condition) and is_lost(condition):
        place = (~condition.isfinite()).nonzero()[0].tolist()
        value = condition[tuple(place)].item()
        raise InputError(
            f"condition: {value} came at {place}; finite numbers would do, or condition=None for none, where the model "
            "was trained to do without"
        )


class _FlowDynamics(Dynamics):
    """A velocity's dynamics; lists its parameters and its condition for the adjoint method."""

    def __init__(
        self,
        function: Callable[[Tensor, Any], Any],
        velocity: Velocity,
        condition: Any,
        batch_ndim: int,
        path: Callable[[Tensor, Tensor], Tensor] | None,
    ):
        tensors: list[Tensor] = [parameter for parameter in velocity.parameters() if parameter.requires_grad]
        if isinstance(condition, Tensor) and condition.requires_grad:
            tensors.append(condition)
        super().__init__(function, tensors)
        self.batch_ndim, self.path = batch_ndim, path
        self.noise, self.diffusion, self.denoise = velocity.noise, velocity.diffusion, velocity.denoise
        if self.denoise is not None and condition is not None:
            self.denoise = partial(self.denoise, condition=condition)


def _base_of(velocity: Velocity) -> StandardNormal:
    shape = velocity.event()
    if shape is None:
        raise InputError("base: the velocity does not say its dimension; give base=StandardNormal(shape)")
    return StandardNormal(shape)
