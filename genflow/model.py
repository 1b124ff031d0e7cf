"""What every model of a comparison can do, and a model in the user's units."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from genflow.errors import InputError
from genflow.interfaces import Component
from genflow.training import Budget, Progress, Stage, TrainingData, parse_seconds, train

if TYPE_CHECKING:
    from genflow.audit import Audit
    from genflow.data import Dataset, Preprocessor

__all__ = ["GenerativeModel", "Transformed"]

_VALIDATION_ROWS = 2048  # of the validation part, for every model alike: its cost counts against the budget
_SETTLING_ROWS = 64  # enough to see how fine a grid has to be
_CHUNK = 8192  # rows at once when a whole table is scored: the working set stays in the cache


class GenerativeModel(Component, nn.Module, ABC):
    """A density with samples, which says in stages how it is trained.

    Continuous models inherit the first two from `Flow`; a discrete flow writes its own.

    Attributes:
        whiten: Whether `fit` hands it rows without correlation, on top of the data set's own preprocessing.
        has_log_prob: Whether rows have a density under it; where they have none, `log_prob` raises an `InputError`.
        condition_dim: Dimension of the condition that it was built for, 0 for none.
    """

    whiten: bool = False
    has_log_prob: bool = True
    condition_dim: int = 0

    @abstractmethod
    def log_prob(
        self, x: Float[Tensor, "*shape"], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch"]:
        """The log density of each row, in nats."""

    @abstractmethod
    def sample(
        self, shape: int | Sequence[int], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*shape"]:
        """Samples, `(*shape, *event)`."""

    @abstractmethod
    def next_stage(self, data: TrainingData, history: list[dict[str, Any]]) -> Stage | None:
        """The next stage of training, or `None` at the end.

        A function of the model's state, the data and the history alone, so that a resumed training takes the same road.
        """

    def preprocessing(self, data: Dataset) -> Preprocessor:
        """The units that `fit` trains it in: the data set's own, whitened if `whiten` is set."""
        from genflow.data import Compose, Whiten

        if not self.whiten:
            return data.preprocessor
        return Compose([data.preprocessor, Whiten.fit(data.preprocessor(data.train)[0])])

    def settle(self, x: Float[Tensor, "*shape"], condition: Any = None) -> None:
        """After training: makes sure, on validation rows, that log p is what it says. A flow chooses its grid."""

    def fit(
        self,
        data: Any,
        *,
        budget: str | float | Budget | None = None,
        iterations: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
        checkpoint: str | PathLike[str] | None = None,
    ) -> Transformed:
        """Trains on a data set and returns the model in the data's own units.

        Args:
            data: A `Dataset`, or anything that `genflow.data.load` takes: a name, a path, an array.
            budget: Wall time of the training, such as `"60s"`, `"2min"` or a number of seconds; or a `Budget`.
            iterations: Optimizer steps instead of a time.
            seed: Seed of everything random in the training.
            progress: Called now and then with where it stands; see `genflow.training.Progress`.
            checkpoint: A folder that the state is kept in; a training that was cut off goes on from there.

        Raises:
            InputError: Neither or both of budget and iterations; data that can't be read.

        Example:
            >>> import genflow as gf
            >>> model = gf.models.FlowMatching(2).fit("two-moons", iterations=20)
            >>> model.sample(3).shape
            torch.Size([3, 2])
        """
        from genflow.data import load

        if budget is None and iterations is None:
            budget = "60s"
        if isinstance(budget, Budget) and iterations is None:
            limit = budget
        else:
            limit = Budget(None if budget is None else parse_seconds(str(budget)), iterations)
        dataset = load(data)
        dim = getattr(self, "dim", None)
        if dim is not None and dim != dataset.dim:
            raise InputError(f"data: {dataset.name} has {dataset.dim} columns, the model was built for {dim}")
        if dataset.condition_dim != self.condition_dim:
            raise InputError(
                f"condition: that of {dataset.name} has dimension {dataset.condition_dim}, the model was built with "
                f"condition_dim={self.condition_dim}; build it with condition_dim={dataset.condition_dim}"
            )
        like = next(self.parameters(), torch.empty(0))

        preprocessor = self.preprocessing(dataset)

        def prepared(x: Tensor) -> Tensor:
            return preprocessor(x)[0].to(like.device, like.dtype)

        rows = TrainingData(prepared(dataset.train), prepared(dataset.validation[:_VALIDATION_ROWS]))
        encoding = None
        if (given := dataset.condition) is not None:
            encoding = given.encoding
            vectors = (given.vectors(part) for part in (given.train, given.validation[:_VALIDATION_ROWS]))
            first, second = (part.to(like.device, like.dtype) for part in vectors)
            rows = TrainingData(rows.train, rows.validation, first, second)
        history = train(self, rows, limit, seed=seed, progress=progress, checkpoint=checkpoint)
        self.eval()
        few = rows.validation_condition
        self.settle(rows.validation[:_SETTLING_ROWS], None if few is None else few[:_SETTLING_ROWS])
        return Transformed(self, preprocessor, dataset.columns, history, encoding)


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
    """

    def __init__(
        self,
        model: Any,
        preprocessor: Any,
        columns: Sequence[str] = (),
        history: Sequence[dict[str, Any]] = (),
        encoding: Any = None,
    ):
        super().__init__()
        self.model = model
        self.preprocessor = preprocessor
        self.columns = list(columns)
        self.history = list(history)
        self.encoding = encoding

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
        return self.model.latent_log_prob(self._standardized(self._rows(x))[0], condition, generator)

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
        return Transformed(model, self.preprocessor, self.columns, self.history, self.encoding)

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
