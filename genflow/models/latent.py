r"""A flow in the latent space of an autoencoder, for pictures and other rows of many columns.

The autoencoder is trained first, by the mean squared error of its reconstruction,

.. math:: \min_{E, D} \; \frac{1}{2 d} \, E_x |D(E(x)) - x|^2, \qquad E: R^d \to R^l, \quad D: R^l \to R^d,

then a flow on the training rows' latents :math:`u = (E(x) - \mu) / s`, which have mean zero and variance one. A sample
is :math:`D(\mu + s u)` of a sample u of the flow; under a condition c, of the flow's :math:`p(u | c)`, while the
autoencoder, which only has to tell rows from each other, is one for all conditions. All samples lie on a surface of l
dimensions in the space of rows, where no density exists; that of the latent does.

| R. Rombach et al., High-resolution image synthesis with latent diffusion models, CVPR 2022,
  https://arxiv.org/abs/2112.10752
| C. Xu, X. Cheng, Y. Xie, Normalizing flow neural networks by JKO scheme, NeurIPS 2023, section 5,
  https://arxiv.org/abs/2212.14424
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from jaxtyping import Float
from torch import Tensor

from genflow.data import Dataset, Preprocessor, Standardize
from genflow.errors import InputError
from genflow.model import GenerativeModel
from genflow.models.autoencoders import Autoencoder, ConvolutionalAutoencoder
from genflow.models.jko_iflow import JKOiFlow
from genflow.naming.search import Between, OneOf
from genflow.settling import Settled
from genflow.training import Optimization, Stage, TrainingData

__all__ = ["LatentFlow"]

_KIND = "autoencoder"
_ROWS = 8192  # rows that are encoded at once
_LATENT = 8  # dimensions of the latent space, where rows have more


class LatentFlow(GenerativeModel):
    r"""An autoencoder, and a flow in its latent space. See the formulas above.

    It has no `log_prob`; `latent_log_prob` is the density of the latents.

    Args:
        dim: Columns :math:`d` of a row, such as the pixels of a picture.
        latent: Dimension :math:`l` of the latent space, less than :math:`d`. By default 8, or :math:`d - 1` if that is
            less.
        width: Width of the autoencoder's hidden layers.
        picture: Height and width of the pictures that rows are, for a `ConvolutionalAutoencoder`; without it, the
            autoencoder takes a row for a vector.
        channels: Channels of the convolutional one.
        share: Share of the budget for the autoencoder.
        batch_size: Rows in a batch of the autoencoder's training.
        learning_rate: Peak learning rate of the autoencoder.
        flow: Options of the `JKOiFlow` in the latent space, such as `{"blocks": 4}`; from Python, any model of `latent`
            columns.
        autoencoder: From Python, another autoencoder: a component with `encode`, `decode` and `errors`.
        condition_dim: Dimension of a condition, 0 for none: `data.condition_dim`. A model that comes as `flow` has to
            be built with the same.

    Raises:
        InputError: A share that leaves nothing to the flow, a picture of another size than the rows, a flow that can't
            be built.

    Example:
        >>> import genflow as gf
        >>> data = gf.data.load("digits")
        >>> model = gf.models.LatentFlow(64, latent=4, flow={"blocks": 1, "width": 16}).fit(data, iterations=10)
        >>> data.images(model.sample(5)).shape
        torch.Size([5, 8, 8])
    """

    has_log_prob = False
    has_latent = True
    has_parts = True
    search = {
        "learning_rate": Between(5e-4, 1e-2, log=True),
        "width": OneOf((128, 256, 512)),
        "share": Between(0.2, 0.8),
    }

    def __init__(
        self,
        dim: int,
        latent: int | None = None,
        width: int = 256,
        picture: tuple[int, int] | None = None,
        channels: int = 16,
        share: float = 0.3,
        batch_size: int = 256,
        learning_rate: float = 2e-3,
        flow: dict[str, Any] | GenerativeModel | None = None,
        autoencoder: Any = None,
        condition_dim: int = 0,
    ):
        super().__init__()
        if not 0 < share < 1:
            raise InputError(
                f"share: {share} came; a share of the budget between 0 and 1 that leaves some for the flow"
            )
        if latent is None and dim < 2:
            raise InputError(
                f"latent: rows of {dim} column have no space of fewer dimensions; a model of the rows themselves, "
                "such as jko-iflow, would do"
            )
        latent = min(_LATENT, dim - 1) if latent is None else latent
        self.dim, self.latent, self.share, self.condition_dim = dim, latent, share, condition_dim
        self.batch_size, self.learning_rate = batch_size, learning_rate
        if autoencoder is None and picture is not None:
            autoencoder = ConvolutionalAutoencoder(picture, latent, channels)
            if autoencoder.dim != dim:
                raise InputError(
                    f"picture: {list(picture)} came for rows of {dim} columns; a product of {dim} would do"
                )
        self.autoencoder = Autoencoder(dim, latent, width) if autoencoder is None else autoencoder
        self.flow: Any = _flow(latent, flow, condition_dim)
        self.scale = Standardize(latent)

    def config(self) -> dict[str, Any]:
        return {**super().config(), "latent": self.latent, "flow": self.flow, "autoencoder": self.autoencoder}

    @property
    def scheduler(self) -> Any:
        """The grid of the flow in the latent space."""
        return self.flow.scheduler

    def preprocessing(self, data: Dataset) -> Preprocessor:
        """The data set's own units; of pictures, one scale for all pixels."""
        return super().preprocessing(data) if data.image_shape is None else Standardize.fit_one_scale(data.train)

    def replace(self, **parts: Any) -> LatentFlow:
        """The same model with other parts of the flow, such as an integrator: the weights are shared, not copied.

        Args:
            parts: See `genflow.Flow.replace`.
        """
        other = LatentFlow(**{**self.config(), "flow": self.flow.replace(**parts)})
        other.scale = self.scale
        return other

    def latents(self, x: Float[Tensor, "*batch dim"]) -> Float[Tensor, "*batch latent"]:
        r"""The standardized latents :math:`u = (E(x) - \mu) / s`."""
        return self.scale(self.autoencoder.encode(x))[0].to(x.dtype)

    def from_latents(self, u: Float[Tensor, "*batch latent"]) -> Float[Tensor, "*batch dim"]:
        r"""The rows :math:`D(\mu + s u)`."""
        return self.autoencoder.decode(self.scale.inverse(u).to(u.dtype))

    def encode(self, x: Float[Tensor, "*batch dim"], condition: Any = None) -> Float[Tensor, "*batch latent"]:
        """The noise of each row's latent."""
        return self.flow.encode(self.latents(x), condition)

    def decode(self, z: Float[Tensor, "*batch latent"], condition: Any = None) -> Float[Tensor, "*batch dim"]:
        """The row of each noise."""
        return self.from_latents(self.flow.decode(z, condition))

    def log_prob(
        self, x: Float[Tensor, "*batch dim"], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch"]:
        """There is none.

        Raises:
            InputError: Always, with what there is instead.
        """
        raise InputError(
            f"log_prob: samples of a latent model lie on a surface of {self.latent} of {self.dim} dimensions, "
            "where rows have no density; latent_log_prob gives that of their latents"
        )

    def latent_log_prob(
        self, x: Float[Tensor, "*batch dim"], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch"]:
        r"""The log density of each row's standardized latent :math:`u`, in nats.

        Args:
            x: Rows, `(*batch, d)`.
            condition: What the density is conditioned on.
            generator: Source of the divergence estimator's probes, if it is random.
        """
        return self.flow.log_prob(self.latents(x), condition, generator)

    def sample(
        self, shape: int | Sequence[int], condition: Any = None, generator: torch.Generator | None = None
    ) -> Float[Tensor, "*batch dim"]:
        """Samples, `(*shape, d)`: those of the flow, decoded.

        Args:
            shape: How many, or the shape of the batch.
            condition: What the density is conditioned on.
            generator: Source of randomness.
        """
        return self.from_latents(self.flow.sample(shape, condition, generator))

    def next_stage(self, data: TrainingData, history: list[dict[str, Any]]) -> Stage | None:
        if not history:
            return self._autoencoder_stage(data)
        if "latents" not in data.cache:
            data.cache["latents"] = TrainingData(
                self._encode(data.train),
                self._encode(data.validation),
                data.train_condition,
                data.validation_condition,
            )
        return self.flow.next_stage(data.cache["latents"], history[1:])

    @torch.no_grad()
    def calibrate(self, x: Float[Tensor, "*batch dim"], condition: Any = None) -> None:
        self.flow.calibrate(self.latents(x), condition)

    def calibrate_like(self, other: Self) -> None:
        self.flow.calibrate_like(other.flow)

    @torch.no_grad()
    def settle(self, x: Float[Tensor, "*batch dim"], condition: Any = None) -> Settled | None:
        found = self.flow.settle(self.latents(x), condition)
        # What it says of latents is no density of rows.
        return None if found is None else Settled(x.new_empty(0), found.remark)

    def _autoencoder_stage(self, data: TrainingData) -> Stage:
        @torch.no_grad()
        def finish(entry: dict[str, Any]) -> None:
            latents = torch.cat([self.autoencoder.encode(rows) for rows in data.train.split(_ROWS)])
            self.scale = Standardize.fit(latents, [f"latent {j + 1}" for j in range(self.latent)]).to(latents.device)
            entry.update(kind=_KIND, reconstruction=self.autoencoder.errors(data.validation).mean().item())

        return Stage(
            name=_KIND,
            parameters=list(self.autoencoder.parameters()),
            train=data.train,
            validation=data.validation,
            loss=lambda batch, generator: self.autoencoder.errors(batch).mean() / 2,
            validate=lambda rows, generator: self.autoencoder.errors(rows) / 2,
            share=self.share,
            finish=finish,
            closing=1 + len(data.train) / max(1, len(data.validation)),
            optimization=Optimization("adam", self.learning_rate, self.batch_size),
        )

    @torch.no_grad()
    def _encode(self, x: Tensor) -> Tensor:
        return torch.cat([self.latents(rows) for rows in x.split(_ROWS)])


def _flow(latent: int, flow: Any, condition_dim: int) -> GenerativeModel:
    """The model of the latents: `JKOiFlow` with these options, or the one that came."""
    if isinstance(flow, GenerativeModel):
        if flow.condition_dim != condition_dim:
            raise InputError(
                f"flow: a model with condition_dim={flow.condition_dim} came for condition_dim={condition_dim}; build "
                "it with the same"
            )
        return flow
    if flow is not None and not isinstance(flow, Mapping):
        raise InputError(f'flow: {flow!r} came; options of JKOiFlow such as {{"blocks": 4}}, or a model, would do')
    try:
        return JKOiFlow(latent, condition_dim=condition_dim, **(flow or {}))
    except TypeError as error:
        raise InputError(f"flow: {error}; the options of jko-iflow would do") from None
