"""Are these pictures like those? Figures in the features of a small classifier that is trained on real ones.

A distance of pixels sees little of what a picture shows. A network that tells the classes of real pictures apart has
learned what does matter in them; in the space of its last hidden layer, samples and pictures that nobody has seen are
held against each other. The features are of these pictures alone: figures can be compared between models, not between
data sets, nor with those of a larger classifier.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad

from genflow.errors import InputError
from genflow.metrics.frechet import frechet_distance
from genflow.metrics.tables.manifold import manifold
from genflow.metrics.tables.rows import Figure

__all__ = ["PictureClassifier", "picture_figures"]

_BATCH = 128
_AT_ONCE = 512  # pictures, so that memory does not grow with their number


class PictureClassifier(nn.Module):
    r"""A small convolutional network, trained by cross-entropy; its last hidden layer are the features.

    Three convolutions of 3 x 3, the second and the third with half the resolution each, a mean over all places, and a
    hidden layer. It is trained on pictures that are moved by up to a pixel, with a learning rate that falls to zero.

    Args:
        shape: Channels, height and width of a picture.
        classes: How many classes there are.
        width: Channels of the first convolution; twice and four times as many in the others.
        features: Units of the hidden layer.

    Example:
        >>> import torch
        >>> from genflow.metrics import PictureClassifier
        >>> x = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> x[:32, :, :4] += 2  # bright above
        >>> labels = torch.arange(64) // 32
        >>> network = PictureClassifier((1, 8, 8), classes=2, width=8).fit(x, labels, epochs=20)
        >>> network.accuracy(x, labels) > 0.9
        True
        >>> network.features(x).shape
        torch.Size([64, 64])
    """

    mean: Tensor
    scale: Tensor

    def __init__(self, shape: tuple[int, int, int], classes: int, width: int = 32, features: int = 64):
        super().__init__()
        if len(shape) != 3 or min(*shape, classes, width, features) < 1:
            raise InputError(
                f"shape, classes, width, features: {tuple(shape)}, {classes}, {width}, {features} came; three sizes "
                "and three numbers of at least 1 would do"
            )
        self.shape = tuple(shape)
        self.body = nn.Sequential(
            nn.Conv2d(shape[0], width, 3, padding=1), nn.SiLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(2 * width, 4 * width, 3, stride=2, padding=1), nn.SiLU(),
            nn.Flatten(2),
        )  # fmt: skip
        self.hidden = nn.Linear(4 * width, features)
        self.readout = nn.Linear(features, classes)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def features(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n features"]:
        """The hidden layer of pictures, `(n, channels, height, width)` or rows of their numbers, without a graph.

        Whatever their dtype and device, they are taken to those of the network.
        """
        with torch.no_grad():
            return torch.cat([self._hidden(part) for part in self._pictures(x).split(_AT_ONCE)])

    def accuracy(self, x: Float[Tensor, "n ..."], labels: Int[Tensor, " n"]) -> float:
        """The share of pictures whose class it names."""
        named = self.readout(self.features(x)).argmax(-1)
        return (named == labels.to(named.device)).double().mean().item()

    def forward(self, x: Float[Tensor, "n ..."]) -> Float[Tensor, "n classes"]:
        """Logits of the classes."""
        return self.readout(self._hidden(self._pictures(x)))

    def fit(
        self, x: Float[Tensor, "n ..."], labels: Int[Tensor, " n"], epochs: int = 30, rate: float = 3e-3, seed: int = 0
    ) -> PictureClassifier:
        """Trains it, from the weights that it has, and returns it.

        Args:
            x: Pictures.
            labels: Their classes, counted from 0.
            epochs: How often each of them is seen.
            rate: Peak learning rate of Adam.
            seed: Seed of the batches and of the pixels that pictures are moved by.
        """
        x, labels = self._pictures(x), labels.to(self.hidden.weight.device)
        generator = torch.Generator(x.device).manual_seed(seed)
        self.mean, self.scale = x.mean(), x.std().clamp_min(1e-12)
        optimizer = torch.optim.AdamW(self.parameters(), lr=rate, weight_decay=1e-2)
        batches = epochs * math.ceil(len(x) / _BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=batches)
        for _ in range(epochs):
            for rows in torch.randperm(len(x), generator=generator, device=x.device).split(_BATCH):
                loss = cross_entropy(self(_moved(x[rows], generator)), labels[rows], label_smoothing=0.05)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
        return self

    def _hidden(self, x: Tensor) -> Tensor:
        return nn.functional.silu(self.hidden(self.body((x - self.mean) / self.scale).mean(-1)))

    def _pictures(self, x: Tensor) -> Tensor:
        if x.ndim < 2 or x[0].numel() != math.prod(self.shape):
            raise InputError(f"x: the shape {tuple(x.shape)} came; (n, *{self.shape}) or rows of that many would do")
        return x.reshape(len(x), *self.shape).to(self.hidden.weight)


def picture_figures(
    samples: Float[Tensor, "n ..."],
    train: Float[Tensor, "m ..."],
    test: Float[Tensor, "k ..."],
    network: PictureClassifier,
) -> dict[str, Figure]:
    """Samples of pictures against test pictures, in the features of a classifier.

    Samples and training pictures are cut to the number of the fewer of them, since all figures depend on it.

    Args:
        samples: Pictures of a model, `(n, channels, height, width)` or rows of their numbers.
        train: Pictures that it was trained on: they give the floors.
        test: Pictures that neither the model nor the classifier has seen.
        network: The classifier.

    Returns:
        `frechet`, the `frechet_distance`, and `precision`, `recall`, `density` and `coverage` of
        `genflow.metrics.tables.manifold`, each with its floor, the figure of the training pictures.

    Raises:
        InputError: Pictures of another shape, too few of them, values that are not finite.

    Example:
        >>> import torch
        >>> from genflow.metrics import PictureClassifier, picture_figures
        >>> samples, train, test = torch.randn(3, 100, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        >>> list(picture_figures(samples, train, test, PictureClassifier((1, 8, 8), classes=2)))
        ['frechet', 'precision', 'recall', 'density', 'coverage']
    """
    count = min(len(samples), len(train))
    x, real, y = [network.features(rows) for rows in (samples[:count], train[:count], test)]
    value, error = frechet_distance(x, y)
    found = {"frechet": Figure(value, error, floor=frechet_distance(real, y)[0])}
    return {**found, **manifold(x.cpu().numpy(), real.cpu().numpy(), y.cpu().numpy())}


def _moved(x: Tensor, generator: torch.Generator) -> Tensor:
    """Pictures that are moved by up to a pixel, all of a batch alike; what comes in is a copy of the edge."""
    down, right = torch.randint(0, 3, (2,), generator=generator, device=x.device).tolist()
    padded = pad(x, (1, 1, 1, 1), mode="replicate")
    return padded[..., down : down + x.shape[-2], right : right + x.shape[-1]]
