r"""Missing entries of rows drawn from :math:`p(x_{missing} \mid x_{seen})`, of any model.

- A model that was trained with masks draws them at once; see `genflow.imputation.Masked`.
- Under another model with a density, Markov chains do; see `genflow.imputation.chains`.
- A model without a density says what it knows by samples: entries are drawn from the kernel estimate of them.

Everything happens on the line, where each column is standard normal by itself; a value that has an interval of the line
is at a random place in it. A value that is drawn is never missing: of a column whose training rows had gaps, draws in
the piece of the gap are drawn again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from genflow.data import Preprocessor
from genflow.data.preprocessing import columnwise
from genflow.draws import draw_seed
from genflow.errors import SolverError
from genflow.imputation.chains import Acceptance, Chains
from genflow.imputation.kernels import KernelLaw
from genflow.imputation.masked import Masked

__all__ = ["Drawn", "Imputation"]

_SAMPLES = 1024  # of the model, that the kernel estimate is made of
_AGAIN = 50  # times that draws of a missing value are drawn again
_BLOCK = 1 << 23  # entries of the matrices of all masks of a block of rows
_FEW = 0.05  # of the global steps accepted: below it the kernel estimate is far from the model


class Drawn(NamedTuple):
    """What an imputation found.

    Attributes:
        x: The rows, `(draws, n, dim)`, in the user's units; entries that were seen are the same.
        acceptance: How the chains moved; `None` where there were none.
        remarks: What a reader should know, one line each.
    """

    x: Tensor
    acceptance: Acceptance | None
    remarks: list[str]


class Imputation:
    """Draws the missing entries of rows.

    Args:
        model: The model, on the line or behind a map of whole rows.
        preprocessor: The map of rows to what the model is a density of.
        log_prob: The model's log density, a portion of rows at a time, `(z, condition, generator) -> (n,)`.
        sample: Its samples likewise, `(count, condition, generator) -> (count, dim)`.
        like: A tensor of the model's dtype and device.
    """

    def __init__(
        self,
        model: Any,
        preprocessor: Preprocessor,
        log_prob: Callable[[Tensor, Any, torch.Generator], Tensor],
        sample: Callable[[int, Any, torch.Generator], Tensor],
        like: Tensor,
    ):
        self.model, self.log_prob, self.sample, self.like = model, log_prob, sample, like
        self.line, self.rest = columnwise(preprocessor)

    def __call__(
        self,
        x: Float[Tensor, "n dim"],
        condition: Tensor | None,
        draws: int,
        generator: torch.Generator,
        steps: int,
    ) -> Drawn:
        """The rows, each so many times.

        Args:
            x: Rows in the user's units, NaN where an entry is missing, at least one in each.
            condition: The model's own condition, `(n, k)` or `(k,)`.
            draws: How many of each row.
            generator: Source of randomness, of the CPU.
            steps: Of the chains.
        """
        x = x.double().repeat(draws, 1)
        row = torch.arange(len(x) // draws).repeat(draws)
        each = condition if condition is None or condition.ndim == 1 else condition.repeat(draws, 1)
        missing = x.isnan()
        if isinstance(self.model, Masked):
            return self._by_masks(x, missing, each, draws, generator)
        law = self._kernel_law(each, generator)
        dim = law.mean.numel()
        size = max(1, min(len(x) // draws, _BLOCK // dim**2))
        found, moves, remarks = torch.empty_like(x), [], []
        for start in range(0, len(x) // draws, size):
            rows = (row >= start) & (row < start + size)
            part = each if each is None or each.ndim == 1 else each[rows]
            found[rows], acceptance, said = self._by_chains(
                x[rows], missing[rows], row[rows] - start, part, law, generator, steps
            )
            moves += [acceptance] if acceptance is not None else []
            remarks += [line for line in said if line not in remarks]
        acceptance = _mean(moves)
        if acceptance is not None and acceptance.still > _FEW:
            remarks.append(
                f"{acceptance.still:.0%} of the draws never moved from where they began; steps={5 * steps}, or a model "
                "that was fitted with masks, would do"
            )
        return Drawn(found.reshape(draws, -1, x.shape[-1]), acceptance, remarks)

    def _by_masks(
        self, x: Tensor, missing: Tensor, condition: Tensor | None, draws: int, generator: torch.Generator
    ) -> Drawn:
        model, remarks = self.model, []
        on_device = _device_generator(generator, self.like)
        found, left = x.clone(), torch.ones(len(x), dtype=torch.bool)
        for _ in range(_AGAIN):
            z = self._spread(x[left], missing[left], generator)
            part = condition if condition is None or condition.ndim == 1 else condition[left]
            given = model.condition_for(z.to(self.like), ~missing[left].to(self.like.device), part)
            drawn = self.sample(len(z), given, on_device).cpu().double()
            found[left] = self._fill(x[left], missing[left], drawn)
            left = (found.isnan() & missing).any(-1)
            if not left.any():
                break
        if left.any():
            found[left] = self._force(found[left], missing[left], generator)
            remarks.append(_forced_in_words(int(left.sum()), len(x)))
        return Drawn(found.reshape(draws, -1, x.shape[-1]), None, remarks)

    def _by_chains(
        self,
        x: Tensor,
        missing: Tensor,
        row: Tensor,
        condition: Tensor | None,
        law: KernelLaw,
        generator: torch.Generator,
        steps: int,
    ) -> tuple[Tensor, Acceptance | None, list[str]]:
        count, remarks = int(row.max()) + 1, []
        behind = law.mean.numel() - x.shape[-1]  # entries of the condition, which are seen
        own = None if not behind else condition.cpu().double().expand(len(x), behind)  # type: ignore[union-attr]
        whole = lambda z: z if own is None else torch.cat([z, own], -1)
        cut = lambda z: z[:, : x.shape[-1]]
        masks = torch.cat([~missing[:count], torch.ones(count, behind, dtype=torch.bool)], -1)
        given = law.given(masks)
        z = self._spread(x, missing, generator)
        left = torch.ones(len(x), dtype=torch.bool)
        for _ in range(_AGAIN):
            z[left] = cut(given.draw(whole(z)[left], row[left], generator))
            left = self._gap(z, missing).any(-1)
            if not left.any():
                break
        if left.any():
            forced = self._force(self._fill(x[left], missing[left], z[left]), missing[left], generator)
            z[left] = self._spread(forced, torch.zeros_like(missing[left]), generator)
            remarks.append(_forced_in_words(int(left.sum()), len(x)))
        if not self.model.has_log_prob:
            remarks.append(
                f"rows have no density under this model: entries are drawn from a kernel estimate of {_SAMPLES} of its "
                "samples; one that was fitted with masks would draw them itself"
            )
            return self._fill(x, missing, z), None, remarks
        probes = draw_seed(generator)

        def log_density(z: Tensor) -> Tensor:
            rows, shift = cut(z), torch.zeros(len(z), dtype=torch.float64)
            if self.rest is not None:
                rows, shift = self.rest(rows)

            def of(rows: Tensor, given: Tensor | None) -> Tensor:
                source = torch.Generator(self.like.device).manual_seed(probes)
                return self.log_prob(rows.to(self.like), given, source).cpu().double()

            log_p = _where_solved(of, rows, condition) + shift
            return torch.where(self._gap(cut(z), missing).any(-1), -math.inf, log_p)

        def places(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            new = torch.where(missing, cut(z), self._spread(x, missing, generator))
            here, there = (torch.where(missing, 0.0, -0.5 * part.square()).sum(-1) for part in (cut(z), new))
            return whole(new), here, there

        inside = torch.cat([missing, torch.zeros(len(x), behind, dtype=torch.bool)], -1)
        several = places if self.line.random else None
        z, acceptance = Chains(log_density, given, row, inside, several, generator).run(whole(z), steps)
        return self._fill(x, missing, cut(z)), acceptance, remarks

    def _kernel_law(self, condition: Tensor | None, generator: torch.Generator) -> KernelLaw:
        """Of samples of the model, with the condition of each where they differ."""
        given = condition
        if condition is not None and condition.ndim > 1:
            given = condition[torch.randint(len(condition), (_SAMPLES,), generator=generator).to(condition.device)]
        z = self.sample(_SAMPLES, given, _device_generator(generator, self.like)).cpu().double()
        if self.rest is not None:
            z = self.rest.inverse(z)
        if given is not None and given.ndim > 1:
            z = torch.cat([z, given.cpu().double()], -1)
        return KernelLaw(z[z.isfinite().all(-1)])

    def _spread(self, x: Tensor, missing: Tensor, generator: torch.Generator) -> Tensor:
        """Rows on the line, the seen entries at random places of theirs, the others anywhere."""
        middle = self.line.inverse(torch.zeros(1, x.shape[-1], dtype=torch.float64))
        z = self.line.spread(torch.where(missing, middle, x), generator)[0]
        return torch.where(missing, 0.0, z)

    def _fill(self, x: Tensor, missing: Tensor, z: Tensor) -> Tensor:
        return torch.where(missing, self.line.inverse(z), x)

    def _gap(self, z: Tensor, missing: Tensor) -> Bool[Tensor, "n dim"]:
        """Which of the entries that are to be drawn stand for a missing value."""
        return self.line.inverse(z).isnan() & missing

    def _force(self, x: Tensor, missing: Tensor, generator: torch.Generator) -> Tensor:
        """What is still missing, by the law of its column alone."""
        x = x.clone()
        while (left := x.isnan() & missing).any():
            z = torch.randn(x.shape, generator=generator, dtype=torch.float64)
            x = torch.where(left, self.line.inverse(z), x)
        return x


def _device_generator(generator: torch.Generator, like: Tensor) -> torch.Generator:
    return torch.Generator(like.device).manual_seed(draw_seed(generator))


def _where_solved(
    log_prob: Callable[[Tensor, Tensor | None], Tensor], rows: Tensor, condition: Tensor | None
) -> Tensor:
    """Log densities of rows; none, minus infinity, where a flow's equation can't be solved: too far out to be proposed.

    One such row ends the solve of all, so the others are found by halving.
    """
    try:
        return log_prob(rows, condition)
    except SolverError:
        if len(rows) == 1:
            return torch.full((1,), -math.inf, dtype=torch.float64)
    middle = len(rows) // 2
    parts = []
    for part in (slice(0, middle), slice(middle, None)):
        own = condition if condition is None or condition.ndim == 1 else condition[part]
        parts.append(_where_solved(log_prob, rows[part], own))
    return torch.cat(parts)


def _forced_in_words(count: int, of: int) -> str:
    return f"{count} of {of} draws were missing again and again: their entries are drawn from their column alone"


def _mean(moves: Sequence[Acceptance]) -> Acceptance | None:
    if not moves:
        return None
    mean = lambda name: sum(getattr(move, name) for move in moves) / len(moves)
    return Acceptance(mean("rate_global"), mean("rate_local"), mean("still"))
