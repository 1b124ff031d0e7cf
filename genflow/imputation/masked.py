r"""One model of all conditional laws of a row's entries: trained with random masks, asked with what is seen.

With the mask :math:`m` of the seen entries and fresh noise :math:`\varepsilon` in their places, the model learns

.. math::
    z' = (1 - m) \odot z + m \odot \varepsilon \quad \text{given} \quad c = (m \odot z, \; m), \qquad
    p(z' \mid c) = p(z_{missing} \mid z_{seen}) \prod_{j \text{ seen}} \varphi(\varepsilon_j)

The law of a whole row given some of its entries is singular; the noise makes it a density of full dimension, whose part
in the missing entries is exactly theirs. With nothing seen it is the density of the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from genflow.assembly import Density, Transport
from genflow.data.dependencies import Dependencies
from genflow.data.preprocessing import columnwise
from genflow.errors import InputError
from genflow.settling import Settled
from genflow.training import TrainingData

if TYPE_CHECKING:
    from genflow.audit import Audit
    from genflow.data import Dataset, Preprocessor

__all__ = ["Masked", "random_masks"]

# What a model says of itself, which is true of it with masks, too.
_DECLARED = (
    "autocasts", "has_latent", "has_log_prob", "has_parts", "integrates", "invertible", "settles", "stepped",
)  # fmt: skip

_NOTHING = 0.2  # the share of rows of which nothing is seen, at least: the density of the row is learned on them


def random_masks(
    shape: tuple[int, int], generator: torch.Generator | None = None, nothing: float = _NOTHING
) -> Bool[Tensor, "n dim"]:
    """Masks of which entries are seen: a random number of entries, from none to all but one, at random places.

    Args:
        shape: Rows and columns.
        generator: Source of randomness, of the CPU.
        nothing: The share of rows of which nothing is seen, beside those that draw no entry.

    Example:
        >>> import torch
        >>> seen = random_masks((1000, 4), torch.Generator().manual_seed(0))
        >>> bool((seen.sum(-1) < 4).all()), sorted(set(seen.sum(-1).tolist()))
        (True, [0, 1, 2, 3])
    """
    rows, dim = shape
    count = torch.randint(dim, (rows,), generator=generator)
    count = torch.where(torch.rand(rows, generator=generator) < nothing, 0, count)
    rank = torch.rand(rows, dim, generator=generator).argsort(-1)
    return rank < count[:, None]


class Masked(Density):
    """A model that is told which entries of a row are seen; as a density it is that of the row with nothing seen.

    Its rows have to stand on lines of their own: each entry of them is one column's.

    Args:
        model: A model whose condition has two entries for each column behind the condition's own.

    Raises:
        InputError: A model that was built for another condition, or that may do without one.

    Example:
        >>> import torch, genflow as gf
        >>> model = Masked(gf.baselines.NSF(3, width=16, transforms=1, condition_dim=6))
        >>> model.condition_dim, model.log_prob(torch.zeros(5, 3)).shape
        (0, torch.Size([5]))
        >>> z, seen = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[True, False, False]])
        >>> model.sample_missing(z, seen)[0, 0].item()
        1.0
    """

    varies = True

    def __init__(self, model: Any):
        super().__init__()
        wanted = 2 * model.dim
        if model.condition_dim is None or model.condition_dim < wanted:
            raise InputError(
                f"masks: the model was built with condition_dim={model.condition_dim}; build it with condition_dim="
                f"{wanted}, two for each column, more for a condition of its own"
            )
        if model.condition_dropout:
            raise InputError(
                f"masks: condition_dropout={model.condition_dropout:g} came beside it, and a model with masks is never "
                "without its condition; leave it out"
            )
        self.model = model
        self.dim: int = model.dim
        self.condition_dim: int = model.condition_dim - wanted
        for name in _DECLARED:
            setattr(self, name, getattr(model, name))

    def config(self) -> dict[str, Any]:
        return {"model": self.model}

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name in ("model", "_modules"):
                raise
            return getattr(self.model, name)  # its parts: scheduler, velocity, …

    # The training

    def preprocessing(self, data: Dataset) -> Preprocessor:
        """The data set's own, of every column by itself: whitened rows have no entry that is one column's.

        What follows from what is learned: a column may be seen without the one that it follows from.

        Raises:
            InputError: A preprocessing that mixes columns.
        """
        alone, rest = columnwise(data.preprocessor)
        if rest is not None and not all(isinstance(part, Dependencies) for part in rest.parts):
            kind = type(data.preprocessor).__name__
            raise InputError(f"masks: the data's {kind} mixes columns; one of every column by itself would do")
        return alone

    def varied(
        self, z: Float[Tensor, "n dim"], condition: Tensor | None, generator: torch.Generator
    ) -> tuple[Float[Tensor, "n dim"], Float[Tensor, "n k"]]:
        """Rows as they are trained on, under random masks, and the condition of each.

        Args:
            z: Rows on the line.
            condition: The user's own condition of each.
            generator: Source of randomness, of the CPU.
        """
        seen = random_masks((len(z), self.dim), generator).to(z.device)
        noise = torch.randn(z.shape, generator=generator, dtype=z.dtype).to(z.device)
        return torch.where(seen, noise, z), self.condition_for(z, seen, condition)

    def next_stage(self, data: TrainingData, history: list[dict[str, Any]]) -> Any:
        return self.model.next_stage(data, history)

    def stages_behind(self, history: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return self.model.stages_behind(history)

    def calibrate(self, x: Tensor, condition: Any = None) -> None:
        """Estimates nothing: the law of what is missing is that of the noise of its own columns, one by one."""

    def calibrate_like(self, other: Any) -> None:
        """Takes over nothing; see `calibrate`."""

    def settle(self, x: Tensor, condition: Any = None) -> Settled | None:
        return self.model.settle(x, self._nothing(condition))

    def remark_on(self, x: Tensor, rows: str = "rows") -> str | None:
        return self.model.remark_on(x, rows)

    # What is seen

    def condition_for(
        self, z: Float[Tensor, "*batch dim"], seen: Bool[Tensor, "*batch dim"], condition: Tensor | None = None
    ) -> Float[Tensor, "*batch k"]:
        """The condition that says which entries are seen, and what they are.

        Args:
            z: Rows on the line; entries that are not seen do not count.
            seen: Which of their entries are seen.
            condition: The user's own condition, `(*batch, k)` or `(k,)`.
        """
        parts = [torch.where(seen, z, 0.0), seen.to(z.dtype)]
        if condition is not None:
            parts.insert(0, condition.to(z).expand(*z.shape[:-1], condition.shape[-1]))
        return torch.cat(parts, -1)

    def sample_missing(
        self,
        z: Float[Tensor, "n dim"],
        seen: Bool[Tensor, "n dim"],
        condition: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "n dim"]:
        """Rows with their missing entries drawn from their law given the seen ones.

        Args:
            z: Rows on the line.
            seen: Which of their entries are seen.
            condition: The user's own condition.
            generator: Source of randomness.
        """
        drawn = self.model.sample((len(z),), self.condition_for(z, seen, condition), generator)
        return torch.where(seen, z, drawn.reshape(z.shape))

    def log_prob_missing(
        self,
        z: Float[Tensor, "n dim"],
        seen: Bool[Tensor, "n dim"],
        condition: Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> Float[Tensor, "n"]:
        r""":math:`\log p(z_{missing} \mid z_{seen})` on the line: that of the row with noise, less that of the noise.

        Args:
            z: Rows on the line.
            seen: Which of their entries are given.
            condition: The user's own condition.
            generator: Source of randomness, of the device that the rows are on.
        """
        noise = torch.randn(z.shape, generator=generator, dtype=z.dtype, device=z.device)
        log_p = self.model.log_prob(torch.where(seen, noise, z), self.condition_for(z, seen, condition), generator)
        log_noise = torch.distributions.Normal(0.0, 1.0).log_prob(noise)
        return log_p - torch.where(seen, log_noise, 0.0).sum(-1)

    # The density of whole rows

    def log_prob(
        self, x: Float[Tensor, "*shape"], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch"]:
        return self.model.log_prob(x, self._nothing(condition), generator)

    def sample(
        self,
        shape: int | Sequence[int],
        condition: Any = None,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> Float[Tensor, "*shape"]:
        return self.model.sample(shape, self._nothing(condition), generator, **options)

    def sample_with_log_prob(
        self, shape: int | Sequence[int], condition: Any = None, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Samples and their log density."""
        return self.model.sample_with_log_prob(shape, self._nothing(condition), generator)

    def encode(self, x: Float[Tensor, "*shape"], condition: Any = None) -> Float[Tensor, "*shape"]:
        """The noise of each row."""
        return self.model.encode(x, self._nothing(condition))

    def decode(self, z: Float[Tensor, "*shape"], condition: Any = None) -> Float[Tensor, "*shape"]:
        """The row of each noise."""
        return self.model.decode(z, self._nothing(condition))

    def latent_log_prob(self, x: Tensor, condition: Any = None, generator: torch.Generator | None = None) -> Tensor:
        """The log density of each row's latent, of a model that has one."""
        return self.model.latent_log_prob(x, self._nothing(condition), generator)

    def integrate(self, x: Tensor, *, condition: Any = None, **options: Any) -> Transport:
        """Moves points along the flow."""
        return self.model.integrate(x, condition=self._nothing(condition), **options)

    def trajectory(self, x: Tensor, reverse: bool = False, condition: Any = None) -> tuple[Tensor, Tensor]:
        """The times of the grid and the points there."""
        return self.model.trajectory(x, reverse, self._nothing(condition))

    def audit(
        self, x: Tensor, condition: Any = None, generator: torch.Generator | None = None, tolerance: float = 0.01
    ) -> Audit:
        """Says how good log p of rows is."""
        return self.model.audit(x, self._nothing(condition), generator, tolerance)

    def cheaper(self, x: Tensor) -> Masked | None:
        found = self.model.cheaper(x)
        return None if found is None else Masked(found)

    def replace(self, **parts: Any) -> Masked:
        """The same with other parts; the weights are shared."""
        return Masked(self.model.replace(**parts))

    def guided(self, weight: float) -> Masked:
        """Nothing to be guided: it was never trained without its condition."""
        return Masked(self.model.guided(weight))

    def _nothing(self, condition: Any) -> Tensor:
        """The condition with nothing seen behind it; one that has it already stays as it is."""
        like = next(self.model.parameters(), next(self.model.buffers(), torch.empty(0)))
        if condition is None:
            return torch.zeros(2 * self.dim, dtype=like.dtype, device=like.device)
        condition = torch.as_tensor(condition)
        if condition.shape[-1] != self.condition_dim:
            return condition
        return torch.cat([condition, condition.new_zeros(*condition.shape[:-1], 2 * self.dim)], -1)
