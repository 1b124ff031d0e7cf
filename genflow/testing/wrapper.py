"""The promises of a part that is made of another: what that one declares is passed on."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection
from typing import Any

import torch
from torch import Tensor

from genflow.errors import InputError
from genflow.interfaces import DivergenceEstimator, Velocity
from genflow.testing.promises import generator, near, promise
from genflow.testing.velocity import check_velocity
from genflow.velocities import Chain
from genflow.wrappers import Composed, alike, declared_names

__all__ = ["check_wrapper"]

_ROWS = 5


def check_wrapper(
    build: Callable[[Any], Any],
    inner: Velocity | DivergenceEstimator,
    *,
    own: Collection[str] = (),
    condition: Tensor | None = None,
) -> None:
    r"""Checks a velocity or an estimator that is made of another: it passes on what the interface declares.

    Each declared attribute of the inner part is set to something unusual, and looked for in the wrapper. Of a velocity,
    the blocks of a chain must show through, its derivatives are those of `check_velocity`, and where wrapper and inner
    velocity have a denoiser and its noise, it must be that of the field,
    :math:`v = (\dot\sigma / \sigma)(x - \alpha D) + \dot\alpha D`.

    Args:
        build: Makes the wrapper of an inner part.
        inner: The inner part.
        own: Names of the attributes that the wrapper says itself; those of its attribute `own`, too.
        condition: A condition `(k,)` that it is tried with, for one that needs one.

    Raises:
        BrokenPromise: With the promise that is broken.

    Example:
        >>> import torch, genflow as gf
        >>> from genflow.testing import check_wrapper
        >>> network = gf.velocities.Shallow(2, width=6, condition_dim=1)
        >>> check_wrapper(lambda v: gf.velocities.Guided(v, 1.5), gf.velocities.NullCondition(network),
        ...               condition=torch.tensor([0.5]))
        >>> class Forgetful(gf.Velocity):
        ...     def __init__(self, velocity):
        ...         super().__init__()
        ...         self.velocity = velocity
        ...     def forward(self, x, t, condition=None):
        ...         return self.velocity(x, t, condition)
        >>> check_wrapper(Forgetful, gf.velocities.Shallow(2, width=6))
        Traceback (most recent call last):
        genflow.testing.promises.BrokenPromise: Forgetful: interval: the inner one says (0.125, 0.875), the wrapper ...
    """
    wrapper = build(copy.deepcopy(inner))
    own = {*own, *(wrapper.own if isinstance(wrapper, Composed) else ())}
    if isinstance(inner, DivergenceEstimator):
        _check_estimator(build, inner, own)
        return
    _check_attributes(build, inner, own)
    _check_callables(build, inner, own)
    _check_pieces(build, inner, own, condition)
    _check_denoiser(wrapper, condition)
    _check_scale(wrapper, condition)
    check_velocity(wrapper, condition=condition)


def _with(part: Any, name: str, value: Any) -> Any:
    """A copy of a part that declares something else."""
    other = copy.deepcopy(part)
    if isinstance(inspect.getattr_static(type(other), name, None), property):
        kind = type(part)  # a property gives way to that of a class derived from it
        other.__class__ = type(kind.__name__, (kind,), {name: property(lambda self: value)})
    else:
        object.__setattr__(other, name, value)
    return other


def _check_attributes(build: Callable[[Any], Any], inner: Velocity, own: Collection[str]) -> None:
    unusual: dict[str, Any] = {
        "interval": (0.125, 0.875),
        "closed_form": not inner.closed_form,
        "spatial": not inner.spatial,
        "channels": inner.channels + 6,
        "condition_optional": not inner.condition_optional,
        "noise": _noise(),
    }
    shapes = ("event_ndim", "dim", "event_shape", "condition_dim", "condition_ndim")
    callables = ("denoise", "diffusion", "scale_output")
    for name in declared_names(Velocity):
        if name in own or name in callables:
            continue
        # What the shapes are, a wrapper may need to know: they stay. What is declared one day can be anything.
        value = getattr(inner, name) if name in shapes else unusual.get(name, _Anything())
        found = getattr(build(_with(inner, name, value)), name)
        promise(
            alike(found, value),
            build(inner),
            f"{name}: the inner one says {value!r}, the wrapper {found!r}; it should pass it on",
        )


class _Anything:
    """The value of an attribute of which nothing is known."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Anything:
        return self

    def __repr__(self) -> str:
        return "something"


def _noise() -> Any:
    from genflow.schedulers import VariancePreserving

    return VariancePreserving(t_min=0.01)


def _check_callables(build: Callable[[Any], Any], inner: Velocity, own: Collection[str]) -> None:
    """What can be called is offered where the inner one offers it, asks that one, and is not offered elsewhere."""
    called: list[str] = []

    def denoise(t: Tensor, x: Tensor, condition: Any = None) -> Tensor:
        called.append("denoise")
        return x

    def diffusion(t: Tensor, x: Tensor) -> Tensor:
        called.append("diffusion")
        return torch.ones((), dtype=x.dtype)

    def scale_output(factor: float) -> None:
        called.append("scale_output")

    event = build(copy.deepcopy(inner)).event()
    for name, function in (("denoise", denoise), ("diffusion", diffusion), ("scale_output", scale_output)):
        if name in own:
            continue
        none = getattr(build(_with(inner, name, None)), name)
        promise(none is None, build(inner), f"it offers {name}, which the inner one does not")
        offered = getattr(build(_with(inner, name, function)), name)
        promise(offered is not None, build(inner), f"the inner one offers {name}, the wrapper does not")
        called.clear()
        if name == "scale_output":
            offered(2.0)
        elif event is not None:
            x, t = torch.randn(_ROWS, *event, generator=generator()), torch.tensor(0.3)
            answer = offered(t, x)
            promise(
                torch.as_tensor(answer).expand_as(x).shape == x.shape, build(inner), f"{name} has a shape of its own"
            )
        promise(name in called or event is None, build(inner), f"{name} does not ask the inner one")


def _check_pieces(build: Callable[[Any], Any], inner: Velocity, own: Collection[str], condition: Tensor | None) -> None:
    """Around a chain of two blocks, there are two pieces at least, each the same field as the whole."""
    low, high = inner.interval
    middle = low + 0.5 * (high - low)
    try:
        whole = build(Chain([inner.on((low, middle)), inner.on((middle, high))])).double()
    except (InputError, TypeError):  # a chain is not what it takes
        return
    pieces, event = whole.pieces(), whole.event()
    promise(len(pieces) >= 2, whole, "around a chain of two blocks it is one piece: a solver would step over the jump")
    if event is None:
        return
    x = torch.randn(_ROWS, *event, generator=generator(), dtype=torch.float64)
    given = None if condition is None else condition.double()
    shared = {id(parameter) for parameter in whole.parameters()}
    for piece, start, stop in pieces:
        t = torch.tensor(start + 0.3 * (stop - start), dtype=torch.float64)
        promise(near(piece(x, t, given), whole(x, t, given), 1e-9), whole, "a piece is another field than the whole")
        promise(
            all(id(parameter) in shared for parameter in piece.parameters()),
            whole,
            "the weights of a piece are copies: what is learned through it would be lost",
        )


def _check_denoiser(wrapper: Velocity, condition: Tensor | None) -> None:
    noise, event = wrapper.noise, wrapper.event()
    if wrapper.denoise is None or noise is None or event is None:
        return
    x = torch.randn(_ROWS, *event, generator=generator(), dtype=torch.float64)
    field, given = copy.deepcopy(wrapper).double(), None if condition is None else condition.double()
    low, high = field.interval
    t = torch.tensor(low + 0.4 * (high - low), dtype=torch.float64)
    assert field.denoise is not None
    denoised = field.denoise(t, x) if given is None else field.denoise(t, x, given)
    alpha, sigma = noise.alpha(t), noise.sigma(t)
    rate = noise.sigma_dot(t) / sigma
    flow = rate * (x - alpha * denoised) + noise.alpha_dot(t) * denoised
    promise(near(flow, field(x, t, given), 1e-6), wrapper, "its denoiser is not that of its field")


def _check_scale(wrapper: Velocity, condition: Tensor | None) -> None:
    field, event = copy.deepcopy(wrapper).double(), wrapper.event()
    if field.scale_output is None or event is None:
        return
    with torch.no_grad():
        for parameter in field.parameters():
            parameter.add_(0.1)
    x = torch.randn(_ROWS, *event, generator=generator(), dtype=torch.float64)
    given = None if condition is None else condition.double()
    t = torch.tensor(0.4 * sum(field.interval), dtype=torch.float64)
    before = field(x, t, given).detach()
    field.scale_output(2.0)
    promise(near(field(x, t, given), 2 * before, 1e-9), wrapper, "scale_output(2) does not double the field")


def _check_estimator(build: Callable[[Any], Any], inner: DivergenceEstimator, own: Collection[str]) -> None:
    for name in declared_names(DivergenceEstimator):
        if name in own:
            continue
        value: Any = {"has_per_probe": not inner.has_per_probe, "n": 7}.get(name, _Anything())
        found = getattr(build(_with(inner, name, value)), name)
        promise(
            alike(found, value),
            build(inner),
            f"{name}: the inner one says {value!r}, the wrapper {found!r}; it should pass it on",
        )
    wrapper, x = build(inner), torch.randn(_ROWS, 3, generator=generator(), dtype=torch.float64)
    first, second = (estimator.probes(x, 1, generator(1)) for estimator in (inner, wrapper))
    promise(
        (first is None and second is None) or (first is not None and second is not None and torch.equal(first, second)),
        wrapper,
        "its probes are not those of the inner one",
    )
    promise(
        wrapper.estimates(second) == inner.estimates(first), wrapper, "it counts its estimates otherwise than the inner"
    )
