r"""The abstract parts that every continuous model is assembled from.

A generative model is a velocity field, integrated over a schedule of times, with its divergence accumulated on the way:

.. math::
    \frac{dx}{dt} = v(x, t), \qquad
    \log p(x) = \log p_Z(z) + \int_{t_0}^{t_1} \nabla \cdot v(x(t), t) \, dt, \qquad x(t_0) = x, \; x(t_1) = z.

Time runs from data to noise. Shapes are `(*batch, *event)`; the rank of the event is `velocity.event_ndim`. A time is a
scalar or has the shape `(*batch,)`; tangents, cotangents and probes carry one leading axis, `(n, *batch, *event)`.

=====================  ==========================  ===============================================
part                   question                    to write your own, override
=====================  ==========================  ===============================================
`Velocity`             where does mass move?       `forward`
`DivergenceEstimator`  how fast does it spread?    `__call__` (and `probes`, if it is random)
`Integrator`           how do we get there?        `solve`
`Scheduler`            when?                       `times`
=====================  ==========================  ===============================================
"""

from __future__ import annotations

import copy
import difflib
import functools
import inspect
import math
import types
import typing
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow.errors import InputError, name_of_function

__all__ = [
    "Component",
    "DivergenceEstimator",
    "Dynamics",
    "Estimate",
    "GaussianPath",
    "Integrator",
    "NoiseSchedule",
    "Path",
    "Scheduler",
    "Solution",
    "State",
    "Velocity",
    "Work",
    "check_function",
    "check_keywords",
    "check_part",
    "hints_of",
    "in_words",
    "trace",
]

State = Tensor | tuple[Tensor, ...]
"""What an integrator moves: a tensor, or a tuple of tensors that move together (the point, its log-determinant, …)."""


class Component:
    """Remembers the arguments it was built with, so that a checkpoint can name them and build it again.

    Arguments that it does not have, and numbers and parts of another form than its annotations say, are refused before
    the constructor begins: see `check_arguments`. A component whose structure changes after construction overrides
    `config`.
    """

    _arguments: dict[str, Any]
    _chosen: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        self = super().__new__(cls)
        signature = inspect.signature(cls.__init__)
        try:
            # bind_partial: copying and unpickling create the object without arguments and fill it afterwards.
            bound = signature.bind_partial(self, *args, **kwargs)
        except TypeError:
            if all(each.kind is not each.VAR_KEYWORD for each in signature.parameters.values()):
                check_keywords(cls.__name__, kwargs, list(signature.parameters)[1:])
            raise
        arguments = dict(list(bound.arguments.items())[1:])
        for parameter in bound.signature.parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                arguments.update(arguments.pop(parameter.name, {}))
        cls.check_arguments(arguments)
        object.__setattr__(self, "_arguments", arguments)
        object.__setattr__(self, "_chosen", {})
        return self

    @classmethod
    def check_arguments(cls, arguments: Mapping[str, Any]) -> None:
        """Refuses, before the constructor begins, numbers and parts of another form than its annotations say.

        Args:
            arguments: The arguments that were typed, by name.

        Raises:
            InputError: With what would do.
        """
        hints = hints_of(cls)  # type: ignore[arg-type]  # mypy takes the class of a class for one without a hash
        for name, value in arguments.items():
            if value is not None:
                _check_form(name, value, hints.get(name, Any))

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The constructor's arguments that may be left out, and what they are then."""
        parameters = inspect.signature(cls.__init__).parameters
        return {name: each.default for name, each in parameters.items() if each.default is not each.empty}

    def given(self) -> dict[str, Any]:
        """The arguments that were typed."""
        return dict(self._arguments)

    def config(self) -> dict[str, Any]:
        """All of the constructor's arguments, typed or not: numbers, strings, lists, dictionaries, other components.

        What was left to a rule (`None`) is what the rule chose, so that a checkpoint outlives defaults and rules.
        """
        arguments = {**self.defaults(), **self._arguments}
        chosen = {name: self._chosen.get(name) for name, value in arguments.items() if value is None}
        return {**arguments, **chosen}

    def choose(self, **arguments: Any) -> None:
        """Says what a rule made of arguments that were left to it, for `config`.

        Args:
            arguments: Arguments of the constructor.
        """
        object.__setattr__(self, "_chosen", {**self._chosen, **arguments})

    def rebuilt(self, **arguments: Any) -> Any:
        """The same component, built anew with other arguments. What a rule chose is chosen again.

        Args:
            arguments: Arguments of the constructor.
        """
        again = {name for name in self._chosen if self._arguments.get(name) is None}
        old = {name: value for name, value in self.config().items() if name not in again}
        return type(self)(**{**old, **arguments})


class _Undeclared:
    """The default, `None`, of an optional attribute. What a network registers by that name comes before it."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        for kind in ("_modules", "_parameters", "_buffers"):
            found = {} if instance is None else instance.__dict__.get(kind, {})
            if self.name in found:
                return found[self.name]
        return None


def _declare_nothing() -> Any:
    return _Undeclared()


class Estimate(NamedTuple):
    """A velocity and its divergence at one point in time.

    Attributes:
        velocity: :math:`v(x, t)`, of the shape `(*batch, *event)`.
        divergence: :math:`\\nabla \\cdot v` or its estimate, of the shape `(*batch,)`.
        pushed: :math:`J \\varepsilon` of each probe, `(n, *batch, *event)`, where the estimator has it; a Jacobian
            penalty is made of it.
        per_probe: The estimate of each probe, `(n, *batch)`; integrated, it gives the standard error of log p. Where
            probes depend on each other, deviations from the mean are scaled to those of independent ones.
        pushes: How many tangents or cotangents were pushed through the network for it.
    """

    velocity: Tensor
    divergence: Tensor
    pushed: Tensor | None = None
    per_probe: Tensor | None = None
    pushes: int = 0


class Velocity(Component, nn.Module, ABC):
    r"""A time-dependent vector field :math:`v(x, t)`, or :math:`v(x, t \mid c)` under a condition.

    Only `forward` has to be written. The other three follow from it by automatic differentiation; a network that knows
    a faster way overrides them.

    What else a field may offer is declared here, too, with the default of one that does not. A field that is made of
    others passes all of it on: see `genflow.wrappers`.

    Attributes:
        event_ndim: Rank of the event: 1 for a vector, 3 for an image.
        interval: The times :math:`(t_0, t_1)` on which it lives, data first.
        closed_form: Whether `divergence` is computed without pushing tangents.
        spatial: Whether it knows where each entry of an event is, such as a pixel or a node among its neighbours: rows
            for it are not whitened, which mixes entries.
        channels: Numbers that a layer holds for each entry of a tangent, where they are many: it bounds how many
            tangents are pushed at once.
        dim: How many numbers an event has; `None` where it does not say.
        event_shape: The shape of an event, where it is more than `(dim,)`.
        condition_dim: How many numbers a condition has, 0 for none; `None` where it does not say.
        condition_ndim: Rank of a condition: 1 for a vector, 2 for one with features of each node of a graph.
        condition_optional: Whether it has learned to do without: `None` in the place of a condition is then the field
            of all of them.
        noise: The `NoiseSchedule` of a diffusion whose probability flow it is.
        denoise: `(t, x, condition=None)`, the denoiser :math:`E[x_0 \mid x_t]` of that diffusion.
        diffusion: `(t, x)`, the coefficient :math:`g` of a stochastic equation :math:`dx = v \, dt + g \, dW`.
        scale_output: `(factor)`, multiplies the field by a number, in place.
    """

    event_ndim: int = 1
    interval: tuple[float, float] = (0.0, 1.0)
    closed_form: bool = False
    spatial: bool = False
    channels: int = 1
    dim: int | None = _declare_nothing()
    event_shape: tuple[int, ...] | None = _declare_nothing()
    condition_dim: int | None = _declare_nothing()
    condition_ndim: int = 1
    condition_optional: bool = False
    noise: NoiseSchedule | None = _declare_nothing()
    denoise: Callable[..., Tensor] | None = _declare_nothing()
    diffusion: Callable[..., Any] | None = _declare_nothing()
    scale_output: Callable[[float], None] | None = _declare_nothing()

    def register_parameter(self, name: str, param: nn.Parameter | None) -> None:
        if isinstance(vars(Velocity).get(name), _Undeclared):
            self._parameters.setdefault(name, None)  # the default makes way
        super().register_parameter(name, param)

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        if isinstance(vars(Velocity).get(name), _Undeclared):
            self._buffers.setdefault(name, None)
        super().register_buffer(name, tensor, persistent)

    @abstractmethod
    def forward(self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None) -> Float[Tensor, "*shape"]:
        r"""The velocity :math:`v(x, t)`.

        Args:
            x: Points, `(*batch, *event)`.
            t: Times, a scalar or `(*batch,)`.
            condition: What the density is conditioned on, `(*batch, k)`, or `(k,)` for one that all rows share.
        """

    def pushforward(
        self, x: Float[Tensor, "*shape"], t: Tensor, tangents: Float[Tensor, "n *shape"], condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n *shape"]]:
        r"""The velocity and :math:`J u` for each tangent :math:`u`, :math:`J = \partial v / \partial x`.

        Args:
            x: Points, `(*batch, *event)`.
            t: Times, a scalar or `(*batch,)`.
            tangents: Tangents, `(n, *batch, *event)`.
            condition: As in `forward`.
        """

        def push(tangent: Tensor) -> tuple[Tensor, Tensor]:
            return torch.func.jvp(lambda y: self(y, t, condition), (x,), (tangent,))  # type: ignore[return-value]

        return torch.func.vmap(push, out_dims=(None, 0), randomness="same")(tangents)  # type: ignore[arg-type]

    def pullback(
        self, x: Float[Tensor, "*shape"], t: Tensor, cotangents: Float[Tensor, "n *shape"], condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "n *shape"]]:
        r"""The velocity and :math:`J^\top w` for each cotangent :math:`w`, by reverse mode.

        Args:
            x: Points, `(*batch, *event)`.
            t: Times, a scalar or `(*batch,)`.
            cotangents: Cotangents, `(n, *batch, *event)`.
            condition: As in `forward`.
        """
        differentiable = torch.is_grad_enabled()
        with torch.enable_grad():
            x = x if differentiable and x.requires_grad else x.detach().requires_grad_()
            v = self(x, t, condition)
            if not v.requires_grad:  # a field that does not depend on x
                return v, torch.zeros_like(cotangents)
            (pulled,) = torch.autograd.grad(
                v, x, cotangents, create_graph=differentiable, is_grads_batched=True, allow_unused=True
            )
        if pulled is None:
            pulled = torch.zeros_like(cotangents)
        return (v, pulled) if differentiable else (v.detach(), pulled.detach())

    def divergence(
        self, x: Float[Tensor, "*shape"], t: Tensor, condition: Any = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*batch"]]:
        r"""The velocity and its exact divergence :math:`\operatorname{tr} J`: the identity, pushed in chunks.

        Args:
            x: Points, `(*batch, *event)`.
            t: Times, a scalar or `(*batch,)`.
            condition: As in `forward`.
        """
        return trace(lambda columns: self.pushforward(x, t, columns, condition), x, self)

    def on(self, interval: tuple[float, float]) -> Velocity:
        """A copy of this field that lives on another interval. A constructor with an argument `interval` is told."""
        other = copy.deepcopy(self)
        other.interval = (float(interval[0]), float(interval[1]))
        object.__setattr__(other, "_arguments", {**other._arguments, "interval": other.interval})
        return other

    def pieces(self) -> list[tuple[Velocity, float, float]]:
        """The smooth pieces `(velocity, start, stop)` in the order of time: one for each block of a chain."""
        return [(self, *self.interval)]

    def event(self) -> tuple[int, ...] | None:
        """The shape of an event, as far as the field, or one of its pieces, says it."""
        for field in (self, *(piece for piece, _, _ in self.pieces())):
            if field.event_shape:
                return tuple(field.event_shape)
            if field.dim and field.event_ndim == 1:
                return (int(field.dim),)
        return None


# Tangents pushed at once hold at most this many numbers (64 MB in float32 for each layer's activations of one width).
_PUSHED_ELEMENTS = 1 << 24


def trace(
    push: Callable[[Tensor], tuple[Tensor, Tensor]], x: Tensor, velocity: Velocity, chunk: int | None = None
) -> tuple[Tensor, Tensor]:
    r"""The velocity and :math:`\operatorname{tr} J`: the identity, pushed or pulled in chunks of columns.

    Args:
        push: Columns `(n, *batch, *event)` to the velocity and their images under :math:`J`, or :math:`J^\top`.
        x: Points, `(*batch, *event)`.
        velocity: Says the rank of the event, and how much its layers hold for a column.
        chunk: How many columns at once; by default as many as `_PUSHED_ELEMENTS` allows.
    """
    batch, event = x.shape[: x.ndim - velocity.event_ndim], x.shape[x.ndim - velocity.event_ndim :]
    size = math.prod(event)
    chunk = chunk or max(1, min(size, _PUSHED_ELEMENTS // max(1, x.numel() * velocity.channels)))
    v, total = x, x.new_zeros(batch)
    for columns in torch.eye(size, dtype=x.dtype, device=x.device).split(chunk):
        columns = columns.reshape(-1, *(1,) * len(batch), *event).expand(-1, *x.shape)
        v, pushed = push(columns)
        total = total + (pushed * columns).flatten(-velocity.event_ndim).sum(-1).sum(0)
    return v, total


class DivergenceEstimator(Component, ABC):
    r"""Estimates :math:`\nabla \cdot v` along a path.

    A random estimator draws its probes once per solve, so that the augmented differential equation is deterministic.

    Attributes:
        has_per_probe: Whether its estimates carry `per_probe`, so that a solve can give the standard error of log p.
        n: How many probes it draws, where an argument of that name says so.
    """

    has_per_probe: bool = False
    n: int | None = None

    def probes(
        self, x: Float[Tensor, "*shape"], event_ndim: int, generator: torch.Generator | None = None
    ) -> Float[Tensor, "n *shape"] | None:
        """Random directions for one solve from `x`, or `None` for an estimator that needs none."""
        return None

    def estimates(self, probes: Tensor | None) -> int:
        """How many estimates stand in `per_probe` under these probes; 0 without them. One for each probe by default."""
        return len(probes) if probes is not None and self.has_per_probe else 0

    @abstractmethod
    def __call__(
        self, velocity: Velocity, x: Tensor, t: Tensor, probes: Tensor | None = None, condition: Any = None
    ) -> Estimate:
        """The velocity and its divergence at `(x, t)`."""


class Dynamics:
    """What an integrator integrates: :math:`dy/dt = f(t, y)`, called as `(t, state)`.

    Dynamics may offer more, and an integrator that misses what it needs says so:

    - `diffusion(t, x)`: the coefficient :math:`g` of a stochastic differential equation :math:`dx = f dt + g dW`;
    - `denoise(t, x)`: :math:`E[x_0 \\mid x_t]`, with `noise`, the `NoiseSchedule`.

    Args:
        function: A plain `f(t, state)`.
        tensors: Parameters and other tensors that it closes over. The adjoint method needs them: a tensor that is not
            listed gets no gradient from it.
        diffusion: :math:`g(t, x)`.

    Attributes:
        batch_ndim: Number of leading axes of every part of the state that count rows, for a solver that gives each row
            steps of its own; `None` where the rows can't be told apart.
        controlled: Of how many parts of the state, counted from the first, an adaptive solver controls the error;
            `None` for all.
        path: The rate of the first part of the state alone, `(t, part)`, where all other parts are integrals along its
            path, whose rates do not depend on them: a solver may then take them elsewhere than where it takes its own.

    Example:
        >>> import torch, genflow as gf
        >>> decay = gf.Dynamics(lambda t, x: -x)
        >>> solution = gf.solvers.RK4().solve(decay, torch.ones(1), torch.linspace(0, 1, 11))
        >>> round(solution.state.item(), 4)
        0.3679
    """

    function: Callable[[Tensor, Any], Any] | None = None
    tensors: tuple[Tensor, ...] = ()
    diffusion: Callable[[Tensor, Tensor], Any] | None = None
    noise: NoiseSchedule | None = None
    denoise: Callable[[Tensor, Tensor], Tensor] | None = None
    batch_ndim: int | None = 1
    controlled: int | None = None
    path: Callable[[Tensor, Tensor], Tensor] | None = None

    def __init__(
        self,
        function: Callable[[Tensor, State], State],
        tensors: Sequence[Tensor] = (),
        diffusion: Callable[[Tensor, Tensor], Tensor] | None = None,
    ):
        self.function = function
        self.tensors = tuple(tensors)
        self.diffusion = diffusion

    @staticmethod
    def of(function: Callable[[Tensor, State], State]) -> Dynamics:
        """Dynamics as they are; a plain function as dynamics that offer no more."""
        return function if isinstance(function, Dynamics) else Dynamics(function)

    def __call__(self, t: Tensor, state: State) -> State:
        assert self.function is not None
        return self.function(t, state)


@dataclass(kw_only=True)
class Work:
    """What a solve took.

    Attributes:
        nfe: How often the dynamics were evaluated.
        steps: Steps accepted.
        rejected: Steps rejected by an adaptive solver.
    """

    nfe: int = 0
    steps: int = 0
    rejected: int = 0

    def count(self, other: Work) -> None:
        """Adds what another solve took: the next interval, or the next block."""
        self.nfe += other.nfe
        self.steps += other.steps
        self.rejected += other.rejected


@dataclass
class Solution(Work):
    """What an integrator returns.

    Attributes:
        state: The state at the last time.
        states: The states at all times, stacked along a new first axis, where `save="all"` was asked for.
    """

    state: Any
    states: Any = None


class Integrator(Component, ABC):
    """Solves an initial value problem along given times, in either direction.

    Attributes:
        order: Order of convergence: the error falls by :math:`2^{order}` when a fixed step is halved. For a stochastic
            equation the weak order, that of expectations.
        method: Which of several methods under one class; empty where the class says it.
    """

    order: int
    method: str = ""

    @functools.cached_property
    def carries_density(self) -> bool:
        """Whether a log-determinant can ride along: samplers of diffusions can't, nor what moves single tensors alone.

        Found out by a step of a pair of tensors, where a class does not say it: `carries_density = False`.
        """
        return _moves_pairs(self)

    @property
    def tolerances(self) -> dict[str, float]:
        """What one that chooses its own steps keeps its error within: its arguments `rtol` and `atol`, as it has them.

        Empty for one that takes the steps that it is given.
        """
        return {name: value for name, value in self.config().items() if name in ("rtol", "atol") and value is not None}

    @abstractmethod
    def solve(
        self,
        dynamics: Callable[[Tensor, State], State],
        state: State,
        times: Float[Tensor, " times"],
        *,
        generator: torch.Generator | None = None,
        save: Literal["last", "all"] = "last",
    ) -> Solution:
        """Integrates from `times[0]` to `times[-1]`.

        A fixed-step solver takes one step from each time to the next; an adaptive one chooses its own between them.

        Args:
            dynamics: :math:`f(t, y)`, usually a `Dynamics`.
            state: The state :math:`y` at `times[0]`.
            times: Times, monotone in either direction.
            generator: Source of randomness for a stochastic solver.
            save: Whether to keep the state at the last time only, or at all of them.

        Raises:
            SolverError: A state that is not finite at the end. On a CPU always; on another device a training may be
                left to see it in its loss.
        """


def _moves_pairs(integrator: Integrator) -> bool:
    """Whether an integrator moves a pair of tensors as it moves one.

    Where it does not move one here either, it misses something else, and says so where it is used.
    """
    x, times = torch.ones(1, 1), torch.linspace(0, 1, 2)

    def moves(state: State, rate: Callable[[Tensor, Any], Any]) -> bool:
        try:
            end = integrator.solve(Dynamics(rate), state, times, generator=torch.Generator()).state
        except Exception:  # one of the user's own may fail in any way
            return False
        return type(end) is type(state) and [part.shape for part in end] == [part.shape for part in state]

    with torch.no_grad(), torch.random.fork_rng([]):
        return moves((x, x[0]), lambda t, y: (-y[0], -y[1])) or not moves(x, lambda t, y: -y)


class Scheduler(Component, ABC):
    """Says at which times to stop.

    Attributes:
        steps: The number of steps it takes where none is asked for.
    """

    steps: int

    @abstractmethod
    def times(
        self,
        start: float,
        stop: float,
        steps: int | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Float[Tensor, " times"]:
        """A grid of `steps + 1` times from `start` to `stop`, in either direction."""

    def with_steps(self, steps: int) -> Scheduler:
        """The same kind of grid, of as many steps where none are asked for."""
        return self.rebuilt(steps=steps)


class Path(Component, ABC):
    r"""A path from data to noise, a straight combination of the two whose coefficients depend on time:

    .. math:: x_t = \alpha(t) \, x + \sigma(t) \, z + \gamma(t) \, \varepsilon, \qquad \varepsilon \sim N(0, I),

    at :math:`t_{min}` the data, :math:`\alpha = 1, \sigma = \gamma = 0`, or as good as; at :math:`t_{max}` the noise.
    Two lines, `alpha` and `sigma`, make one; the rates are their derivatives by automatic differentiation, which a
    path overrides where it knows them.

    Attributes:
        t_min: The earliest time at which everything is finite.
        t_max: The latest one.
        latent: Whether :math:`\gamma` is more than zero somewhere.
    """

    t_min: float = 0.0
    t_max: float = 1.0
    latent: bool = False

    @abstractmethod
    def alpha(self, t: Tensor) -> Tensor:
        r"""Signal :math:`\alpha(t)`."""

    @abstractmethod
    def sigma(self, t: Tensor) -> Tensor:
        r"""Noise :math:`\sigma(t)`."""

    def gamma(self, t: Tensor) -> Tensor:
        r"""What is neither of the two ends, :math:`\gamma(t)`: zero by default."""
        return torch.zeros_like(t)

    def alpha_dot(self, t: Tensor) -> Tensor:
        r"""Time derivative :math:`\dot\alpha(t)`."""
        return _rate(self.alpha, t)

    def sigma_dot(self, t: Tensor) -> Tensor:
        r"""Time derivative :math:`\dot\sigma(t)`."""
        return _rate(self.sigma, t)

    def gamma_dot(self, t: Tensor) -> Tensor:
        r"""Time derivative :math:`\dot\gamma(t)`."""
        return _rate(self.gamma, t)

    def parameters(self) -> Iterable[nn.Parameter]:
        """What is learned of it: nothing by default. A path that is a module has its own."""
        return ()

    def gaussian(self) -> GaussianPath | None:
        r"""The path of the same laws in which all noise is one, :math:`\sqrt{\sigma^2 + \gamma^2}`, for a normal z that
        does not depend on x; `None` where there is none."""
        return None


def _rate(function: Callable[[Tensor], Tensor], t: Tensor) -> Tensor:
    return torch.func.jvp(function, (t,), (torch.ones_like(t),))[1]


class GaussianPath(Path):
    r"""A path :math:`x_t = \alpha(t) x + \sigma(t) z` whose noise may be normal: the noise schedule of a diffusion.

    It is then the law of a forward equation :math:`dx = (\dot\alpha / \alpha) x \, dt + g \, dW` and of the probability
    flow :math:`\dot x = \dot\alpha D + \dot\sigma E[z \mid x_t]`, with :math:`D = E[x \mid x_t]`, and its time may be
    told in the log signal-to-noise ratio :math:`\lambda`.
    """

    def log_snr(self, t: Tensor) -> Tensor:
        r""":math:`\lambda(t) = \log(\alpha(t)^2 / \sigma(t)^2)`, falling in time."""
        return 2 * (self.alpha(t).log() - self.sigma(t).log())

    def time_of(self, log_snr: Tensor) -> Tensor:
        r"""The time at which :math:`\lambda` has the given value, by bisection; one of the ends beyond them."""
        wanted = log_snr.detach().double()
        low, high = (torch.full_like(wanted, end) for end in (self.t_min, self.t_max))
        with torch.no_grad():
            for _ in range(_HALVINGS):
                middle = 0.5 * (low + high)
                later = self.log_snr(middle) > wanted  # not noisy enough yet
                low, high = torch.where(later, middle, low), torch.where(later, high, middle)
        return (0.5 * (low + high)).to(log_snr.dtype)

    def diffusion(self, t: Tensor) -> Tensor:
        r"""The coefficient :math:`g(t)` of the forward equation.

        .. math:: g^2 = 2 \sigma (\dot\sigma - \sigma \dot\alpha / \alpha)
        """
        return (2 * self.sigma(t) * (self.sigma_dot(t) - self.sigma(t) * self.alpha_dot(t) / self.alpha(t))).sqrt()

    def exchange(self, t: Tensor) -> Tensor:
        r"""The rate :math:`c(t)` at which a stochastic sampler exchanges the noise of a point.

        .. math:: dx = \bigl(\dot\alpha D + (\dot\sigma + c) E[z \mid x_t]\bigr) dt + \sqrt{2 \sigma c} \, d\bar W

        in falling times has the laws of the path for every :math:`c \ge 0`. By default that of the forward equation,
        :math:`g^2 = 2 \sigma c`; a path on which that one is infinite has another.
        """
        return self.sigma_dot(t) - self.sigma(t) * self.alpha_dot(t) / self.alpha(t)

    def gaussian(self) -> GaussianPath | None:
        return self


NoiseSchedule = GaussianPath
"""The name that diffusions have for it."""

_HALVINGS = 64  # of an interval: to the last bit of a double


# The form of what is typed


class _Form(NamedTuple):
    """How an interface is spoken of.

    Attributes:
        example: One that would do.
        maker: What makes one of a plain function; empty where nothing does.
        takes: What such a function is called with.
    """

    example: str
    maker: str = ""
    takes: tuple[str, ...] = ()


_FORMS: dict[Any, _Form] = {
    Velocity: _Form("gf.velocities.Shallow(dim)", "gf.as_velocity", ("x", "t", "condition")),
    DivergenceEstimator: _Form(
        "gf.divergences.Hutchinson(4)", "gf.as_divergence", ("velocity", "x", "t", "probes", "condition")
    ),
    Integrator: _Form("gf.solvers.RK4()", "gf.as_integrator", ("dynamics", "state", "times")),
    Scheduler: _Form("gf.schedulers.Uniform(8)", "gf.as_scheduler", ("start", "stop", "steps")),
    Path: _Form("gf.paths.Linear()"),
    GaussianPath: _Form("gf.schedulers.VariancePreserving()"),
}

_NUMBERS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "True or False"}


def check_part(name: str, given: Any, interface: type) -> None:
    """Refuses what is no part of a kind.

    Args:
        name: What the argument is called.
        given: What came.
        interface: `Velocity`, `DivergenceEstimator`, `Integrator`, `Scheduler`, `Path` or `GaussianPath`.

    Raises:
        InputError: With what would do.

    Example:
        >>> import genflow as gf
        >>> gf.models.FlowMatching(3, integrator=gf.solvers.Heun)
        Traceback (most recent call last):
        genflow.errors.InputError: integrator: the class Heun came; an Integrator such as Heun() would do
    """
    if _is_one(given, interface):
        return
    form = _FORMS[interface]
    if form.maker and callable(given) and not isinstance(given, type | Component):
        raise InputError(f"{name}: {in_words(given)} came; {form.maker}({name_of_function(given, '…')}) would do")
    raise InputError(f"{name}: {in_words(given)} came; {_such_as(interface, given)} would do")


def check_function(name: str, given: Any, interface: type) -> None:
    """Refuses what is neither a part of a kind nor a function that one can be made of.

    Args:
        name: What the argument is called.
        given: What came.
        interface: As in `check_part`; one that is made of functions.

    Raises:
        InputError: With what would do.

    Example:
        >>> import genflow as gf
        >>> gf.as_divergence(lambda velocity, x, t, probes: velocity.divergence(x, t))
        Traceback (most recent call last):
        genflow.errors.InputError: divergence: <lambda> takes (velocity, x, t, probes); one that takes (velocity, x, ...
    """
    if _is_one(given, interface):
        return
    form = _FORMS[interface]
    takes = f"({', '.join(form.takes)})"
    if not callable(given) or isinstance(given, type | Integrator | Scheduler | DivergenceEstimator | Velocity | Path):
        instance = _such_as(interface, given)
        raise InputError(f"{name}: {in_words(given)} came; {instance}, or a function {takes}, would do")
    try:
        signature = inspect.signature(given)
    except (TypeError, ValueError):  # some that are not written in Python don't say
        return
    try:
        signature.bind(*form.takes)
    except TypeError:
        own = f"({', '.join(signature.parameters)})"
        raise InputError(f"{name}: {name_of_function(given)} takes {own}; one that takes {takes} would do") from None


def check_keywords(owner: str, given: Iterable[str], known: Sequence[str]) -> None:
    """Refuses names of arguments that there are not.

    Args:
        owner: What is built with them.
        given: The names that came.
        known: Those that there are.

    Raises:
        InputError: With the nearest, and all of them.
    """
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}? " if near else ""
            raise InputError(f"{owner}: no option {name!r}; {hint}known: {', '.join(known) or 'none'}")


@functools.lru_cache(maxsize=512)
def hints_of(cls: type) -> Mapping[str, Any]:
    """The types of what a constructor takes, as far as they can be told.

    What it takes by `*` or `**` is its own affair: what it hands on is looked at where it arrives.

    Args:
        cls: The class.
    """
    constructor = next(vars(each)["__init__"] for each in cls.__mro__ if "__init__" in vars(each))
    try:
        hints = typing.get_type_hints(constructor)
    except Exception:  # annotations of the user's own may name anything
        hints = {}
    parameters = inspect.signature(constructor).parameters.values()
    named = [each.name for each in parameters if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    return types.MappingProxyType({name: hints.get(name, Any) for name in named})


def in_words(value: Any) -> str:
    """What an error calls something that came.

    Args:
        value: Anything.

    Example:
        >>> from genflow.interfaces import in_words
        >>> in_words("heun"), in_words(2.5), in_words(int), in_words([1])
        ("'heun'", '2.5', 'the class int', 'a list')
    """
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if inspect.isroutine(value):
        return f"the function {name_of_function(value)}"
    return repr(value) if value is None or isinstance(value, str | bool | int | float) else _one(type(value).__name__)


def _one(noun: str) -> str:
    return f"{'an' if noun[0] in 'AEIOaeio' else 'a'} {noun}"


def _check_form(name: str, value: Any, hint: Any) -> None:
    """Refuses a value in the place of a number or of a part; of any other type nothing is said."""
    several = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
    kinds = [kind for kind in (typing.get_args(hint) if several else (hint,)) if kind is not types.NoneType]
    if not kinds:
        return
    if all(kind in _FORMS for kind in kinds):
        if not _is_one(value, *kinds):
            check_part(name, value, kinds[0])
    elif all(kind in _NUMBERS for kind in kinds) and not _is_number(value, float not in kinds):
        if isinstance(getattr(value, name, None), int):  # a data set knows its own
            would = f"data.{name}"
        else:
            whole = f" such as {value:.0f}" if isinstance(value, float) and value.is_integer() else ""
            would = " or ".join(_NUMBERS[kind] for kind in kinds) + whole
        raise InputError(f"{name}: {in_words(value)} came; {would} would do")


def _is_one(part: Any, *interfaces: type) -> bool:
    """Whether something is a part of one of these kinds. What torch.compile makes of one is one, too."""
    return isinstance(getattr(part, "_orig_mod", part), interfaces)


def _is_number(value: Any, whole: bool) -> bool:
    """Whether something may stand for a number: one of NumPy's and a tensor do, and infinity where none is too many."""
    if whole and isinstance(value, float):
        return math.isinf(value)
    return any(hasattr(type(value), method) for method in ("__index__", "__float__"))


def _such_as(interface: type, given: Any) -> str:
    """One of the parts of a kind; of a class that is one, an instance."""
    example = _FORMS[interface].example
    if isinstance(given, type) and issubclass(given, interface):
        parameters = list(inspect.signature(given).parameters.values())
        kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        alone = all(each.default is not each.empty or each.kind in kinds for each in parameters)
        example = f"{given.__name__}({'' if alone else '…'})"
    return f"{_one(interface.__name__)} such as {example}"
