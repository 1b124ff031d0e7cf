"""The base: the law of the noise at which a flow ends, and from which it samples."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow.errors import InputError
from genflow.interfaces import Component, in_words

__all__ = ["Base", "StandardNormal", "check_base", "check_events"]


class Base(Component, nn.Module, ABC):
    r"""A law :math:`p_Z` that can be drawn from and evaluated. A training that needs noise draws it from here.

    Attributes:
        shape: Shape of an event; `None` where it does not say.

    Example:
        >>> import math, torch, genflow as gf
        >>> class Ring(gf.Base):  # a radius of 1, blurred; any angle
        ...     shape = (2,)
        ...     def sample(self, batch, generator=None, *, dtype=torch.float32, device=None):
        ...         source = device if generator is None else generator.device
        ...         options = {"generator": generator, "dtype": dtype, "device": source}
        ...         angle = 2 * math.pi * torch.rand(*batch, **options)
        ...         radius = (1 + 0.1 * torch.randn(*batch, **options)).abs()
        ...         return (radius[..., None] * torch.stack([angle.cos(), angle.sin()], -1)).to(device)
        ...     def log_prob(self, z):
        ...         r = z.norm(dim=-1)
        ...         density = torch.exp(-50 * (r - 1) ** 2) + torch.exp(-50 * (r + 1) ** 2)
        ...         return (density / (0.1 * math.sqrt(2 * math.pi)) / (2 * math.pi * r)).log()
        >>> gf.models.FlowMatching(2, width=16, base=Ring()).fit("two-moons", iterations=5).sample(3).shape
        torch.Size([3, 2])
    """

    shape: tuple[int, ...] | None = None

    @abstractmethod
    def sample(
        self,
        batch: Sequence[int],
        generator: torch.Generator | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Float[Tensor, "*shape"]:
        """Draws of the shape `(*batch, *event)`, made where the generator lives and moved to `device`."""

    @abstractmethod
    def log_prob(self, z: Float[Tensor, "*shape"]) -> Float[Tensor, "*batch"]:
        r"""The log density :math:`\log p_Z(z)`, in nats."""

    def standardize(self, z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"] | None:
        """Points whose law is N(0, I) where that of z is this one; `None` where no such map is known, as by default."""
        return None


class StandardNormal(Base):
    r"""The base :math:`N(0, \sigma^2 I)`.

    Args:
        shape: Shape of an event; an integer for a vector.
        scale: Standard deviation :math:`\sigma`.

    Raises:
        InputError: A scale that is not positive.

    Example:
        >>> import torch, genflow as gf
        >>> gf.StandardNormal(1).log_prob(torch.zeros(1))
        tensor(-0.9189)
    """

    shape: tuple[int, ...]

    def __init__(self, shape: int | Sequence[int], scale: float = 1.0):
        super().__init__()
        if not 0 < scale < math.inf:
            raise InputError(f"scale: {scale} came; a positive number would do")
        self.shape = (shape,) if isinstance(shape, int) else tuple(shape)
        self.scale = scale

    def sample(
        self,
        batch: Sequence[int],
        generator: torch.Generator | None = None,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> Float[Tensor, "*shape"]:
        source = device if generator is None else generator.device
        z = torch.randn(*batch, *self.shape, generator=generator, dtype=dtype, device=source)
        return (z if self.scale == 1 else z * self.scale).to(device)

    def log_prob(self, z: Float[Tensor, "*shape"]) -> Float[Tensor, "*batch"]:
        r""":math:`-|z|^2 / 2\sigma^2 - (d / 2) \log 2\pi\sigma^2`."""
        check_events(z, self.shape, "z")
        square = (z * z).flatten(z.ndim - len(self.shape)).sum(-1)
        return -0.5 * square / self.scale**2 - math.prod(self.shape) * math.log(self.scale * math.sqrt(2 * math.pi))

    def standardize(self, z: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        return z / self.scale


def check_base(base: Any, event: Sequence[int] | None) -> None:
    """Refuses a base of other events than those of a flow, as far as both say their shape.

    Args:
        base: The base.
        event: The shape of an event.

    Raises:
        InputError: The shapes differ; something that has no draws.
    """
    # Any object with the methods of a Base will do.
    if isinstance(base, type) or not callable(getattr(base, "sample", None)):
        raise InputError(f"base: {in_words(base)} came; a Base such as StandardNormal(dim) would do")
    if isinstance(base, Base) and base.shape is not None and event is not None and tuple(base.shape) != tuple(event):
        wanted = f"{event[0]}" if len(event) == 1 else f"{tuple(event)}"
        raise InputError(
            f"base: its events have the shape {tuple(base.shape)}, those of the flow {tuple(event)}; "
            f"{type(base).__name__}({wanted}) would do"
        )


def check_events(points: Tensor, event: tuple[int, ...], name: str = "x") -> None:
    """Refuses points that are no events of a shape.

    Args:
        points: The points, `(*batch, *event)`.
        event: The shape of an event.
        name: What the argument is called.

    Raises:
        InputError: Their last axes are others.
    """
    if points.ndim < len(event) or points.shape[points.ndim - len(event) :] != event:
        raise InputError(f"{name}: events of shape {event} are wanted, {tuple(points.shape)} came")
