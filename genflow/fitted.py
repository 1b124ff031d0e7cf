"""A model in the user's units: what `fit` returns, and what is saved."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow.errors import InputError
from genflow.interfaces import Component

if TYPE_CHECKING:
    from genflow.audit import Audit

__all__ = ["FitRecord", "Transformed"]

_CHUNK = 8192  # rows at once when a whole table is scored: the working set stays in the cache


@dataclass(frozen=True)
class FitRecord(Component):
    """What a training was given, and what came of it.

    Attributes:
        data: Name of the data set.
        seconds: What the training took on its budget's clock, whatever the model did until it could be used.
        steps: Optimizer steps.
        nll: Mean negative log-likelihood of validation rows, in nats, in the units of the file; NaN without one.
        nll_se: Its standard error.
        nll_rows: How many rows it is the mean of.
    """

    data: str
    seconds: float = math.nan
    steps: int = 0
    nll: float = math.nan
    nll_se: float = math.nan
    nll_rows: int = 0


class Transformed(Component, nn.Module):
    r"""A model behind an invertible preprocessing: densities and samples in the user's own units.

    .. math:: \log p(x) = \log p_{model}(T(x)) + \log |\det \partial T / \partial x|

    The preprocessing runs in float64; points then take the model's dtype, and results the input's.

    Args:
        model: A model of standardized rows.
        preprocessor: The invertible map :math:`T`, `x -> (T(x), log-determinant)`, with `inverse`.
        columns: Names of the columns.
        history: The training's history.
        encoding: What makes vectors of the user's conditions, where there are some; see `genflow.data.Encoding`.
            Everywhere below, a condition is one row of the user's own numbers and class names, or one for each row.
        remarks: What a reader of its figures should know, one line each.
        record: What `fit` was given, and what came of it; `None` for a model that was not fitted by genflow.
    """

    def __init__(
        self,
        model: Any,
        preprocessor: Any,
        columns: Sequence[str] = (),
        history: Sequence[dict[str, Any]] = (),
        encoding: Any = None,
        remarks: Sequence[str] = (),
        record: FitRecord | None = None,
    ):
        super().__init__()
        self.model = model
        self.preprocessor = preprocessor
        self.columns = list(columns)
        self.history = list(history)
        self.encoding = encoding
        self.remarks = list(remarks)
        self.record = record

    def config(self) -> dict[str, Any]:
        names = ("model", "preprocessor", "columns", "history", "encoding", "remarks", "record")
        return {name: getattr(self, name) for name in names}

    @property
    def dim(self) -> int:
        """The number of columns."""
        return int(self.model.dim)

    @property
    def has_log_prob(self) -> bool:
        """Whether rows have a density under the model."""
        return bool(getattr(self.model, "has_log_prob", True))

    def log_prob(
        self, x: Any, condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch"]:
        """The log density of rows, in nats, in the units of the file.

        Args:
            x: Rows, `(*batch, d)`: a tensor, or an array.
            condition: What the density is conditioned on.
            generator: Source of the divergence estimator's probes, if it is random.
        """
        x = self._rows(x)
        z, log_det = self._standardized(x)
        parts = self._chunks(z, self._encoded(condition, x.shape[:-1]))
        log_p = torch.cat([self.model.log_prob(z_k, c_k, generator) for z_k, c_k in parts]).reshape(x.shape[:-1])
        return (log_p.to(log_det) + log_det).to(x.device, x.dtype)

    def latent_log_prob(
        self, x: Any, condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch"]:
        """The log density of each row's latent, in nats and in the units of the latent space.

        Raises:
            InputError: A model without a latent space of its own.
        """
        if not hasattr(self.model, "latent_log_prob"):
            raise InputError(f"latent_log_prob: {type(self.model).__name__} has no latent space; log_prob would do")
        x = self._rows(x)
        return self.model.latent_log_prob(self._standardized(x)[0], self._encoded(condition, x.shape[:-1]), generator)

    def sample(
        self,
        shape: int | Sequence[int],
        condition: Any = None,
        generator: torch.Generator | None = None,
        **options: Any,
    ) -> Float[Tensor, "*shape"]:
        """Samples in the units of the file, `(*shape, d)`, in float64.

        Args:
            shape: How many, or the shape of the batch.
            condition: What the density is conditioned on.
            generator: Source of randomness.
            options: Passed on to the model's own `sample`.
        """
        condition = self._encoded(condition, _batch(shape))
        return self._original(self.model.sample(shape, condition, generator, **options))

    def sample_with_log_prob(
        self, shape: int | Sequence[int], condition: Any = None, generator: torch.Generator | None = None
    ) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*batch"]]:
        """Samples and their log density in the units of the file, in float64."""
        z, log_p = self.model.sample_with_log_prob(shape, self._encoded(condition, _batch(shape)), generator)
        x = self._original(z)
        return x, log_p.to(x) + self.preprocessor(x)[1]

    def encode(self, x: Any, condition: Any = None) -> Float[Tensor, "*shape"]:
        """The noise of each row."""
        x = self._rows(x)
        return self.model.encode(self._standardized(x)[0], self._encoded(condition, x.shape[:-1]))

    def decode(self, z: Float[Tensor, "*shape"], condition: Any = None) -> Float[Tensor, "*shape"]:
        """The row of each noise, in the units of the file, in float64."""
        return self._original(self.model.decode(z, self._encoded(condition, z.shape[:-1])))

    def score(self, x: Any, condition: Any = None) -> Float[Tensor, "*shape"]:
        r"""The score :math:`\nabla_x \log p(x)` in the units of the file."""
        differentiable = torch.is_grad_enabled()
        with torch.enable_grad():
            x = self._rows(x)
            x = x if differentiable and x.requires_grad else x.detach().requires_grad_()
            (score,) = torch.autograd.grad(self.log_prob(x, condition).sum(), x, create_graph=differentiable)
        return score

    def audit(
        self, x: Any, condition: Any = None, generator: torch.Generator | None = None, tolerance: float = 0.01
    ) -> Audit:
        """Says how good log p of these rows is; see `Flow.audit`. The inversion error is in the model's own units.

        Args:
            x: Rows, `(*batch, d)`; some hundred of those that a mean is to be reported of.
            condition: What the density is conditioned on.
            generator: Source of the divergence estimator's probes.
            tolerance: How good the mean should be, in nats.

        Raises:
            InputError: A model whose log p is no solver's, and so is exact.
        """
        if not hasattr(self.model, "audit"):
            name = type(self.model).__name__
            raise InputError(f"audit: {name} solves no differential equation, so there is nothing to audit")
        x = self._rows(x)
        z, log_det = self._standardized(x)
        audit = self.model.audit(z, self._encoded(condition, x.shape[:-1]), generator, tolerance)
        log_p, finer = (log_p.to(log_det) + log_det for log_p in (audit.log_prob, audit.finer))
        return dataclasses.replace(audit, log_prob=log_p.to(x.device), finer=finer.to(x.device))

    def replace(self, **parts: Any) -> Transformed:
        """The same model with other parts, such as an integrator or a divergence: the weights are shared."""
        if not hasattr(self.model, "replace"):
            raise InputError(f"replace: {type(self.model).__name__} has no velocity, so it has no parts to replace")
        model = self.model.replace(**parts)
        return Transformed(**{**self.config(), "model": model})

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the model to a folder: weights as safetensors, structure as JSON. See `genflow.load`."""
        from genflow.checkpoint import save

        save(self, path)

    def _rows(self, x: Any) -> Tensor:
        x = torch.as_tensor(x)
        x = x if x.is_floating_point() else x.double()
        if not x.ndim or x.shape[-1] != self.dim:
            raise InputError(f"x: rows of {self.dim} numbers are wanted, the shape {tuple(x.shape)} came")
        return x

    def _encoded(self, condition: Any, batch: Sequence[int]) -> Any:
        """The model's condition: one vector for each row of the batch, or one that all share."""
        optional = bool(getattr(self.model, "condition_dropout", None))  # it was trained to do without, too
        if condition is None and optional:
            return None
        if self.encoding is None:
            if condition is not None and not getattr(self.model, "condition_dim", 1):
                raise InputError("condition: one came, but the model was trained without any; leave it out")
            return condition
        like = self._like()
        return self.encoding(condition, batch).to(like.device, like.dtype)

    def _like(self) -> Tensor:
        return next(self.model.parameters(), torch.empty(0))

    def _standardized(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z, log_det = self.preprocessor(x.to(self._preprocessing_device(), torch.float64))
        like = self._like()
        return z.to(like.device, like.dtype), log_det

    def _original(self, z: Tensor) -> Tensor:
        return self.preprocessor.inverse(z.to(self._preprocessing_device(), torch.float64))

    def _preprocessing_device(self) -> torch.device:
        return next(self.preprocessor.buffers(), self._like()).device

    def _chunks(self, z: Tensor, condition: Any) -> list[tuple[Tensor, Any]]:
        flat = z.reshape(-1, z.shape[-1])
        count = max(1, math.ceil(len(flat) / _CHUNK))
        if isinstance(condition, Tensor) and condition.ndim > 1:
            conditions = condition.expand(*z.shape[:-1], -1).reshape(len(flat), -1).chunk(count)
        else:
            conditions = (condition,) * count
        return list(zip(flat.chunk(count), conditions, strict=False))


def _batch(shape: int | Sequence[int]) -> tuple[int, ...]:
    return (shape,) if isinstance(shape, int) else tuple(shape)
