"""Pictures by JKO-iFlow with U-Net blocks and by others of the same network and budget.

    python benchmarks/pictures.py --out DIR [--data digits letters shapes] [--ways all class] [--budget 60s] [--batch N]
                                  [--models jko-iflow flow-matching edm ddpm latent] [--seeds 0] [--width 16] [--jobs 2]

`digits` is scikit-learn's (8 x 8, 17 grey levels), `letters` a folder of MNIST's four files (28 x 28) and `shapes` one
of PNG files in colours (16 x 16), both drawn here; see drawn_pictures.py. Each is learned as it is and by class.
`latent` is JKO-iFlow among the 16 numbers that an autoencoder makes of a picture. Trainings are those of
`genflow.compare`, of processor time on one thread; what stands in DIR is not trained again.

Judged by: bits per dimension, -log2 p / d of the grey levels (of MNIST's files and of PNG files an upper bound, by the
density of dequantized levels), with the standard error over test rows; and, in the features of a classifier that is
trained on the training pictures and whose accuracy on test pictures is printed, by the Fréchet distance, precision and
recall of as many samples as there are test pictures (at most 1000), each with its standard error. Below them stand the
figures of training pictures, the floor.
"""

from __future__ import annotations

import argparse
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from drawn_pictures import letters, shapes
from matplotlib import pyplot as plt

import genflow as gf
from genflow.metrics import PictureClassifier, picture_figures
from genflow.metrics.tables import Figure

MOST = 1000  # samples that are judged
COLUMNS = 12  # of the grid
FIGURES = ("frechet", "precision", "recall")


def load(name: str, out: Path, condition: str | tuple[()]) -> gf.data.Dataset:
    """One of the three data sets, drawn where it isn't there yet."""
    folder = out / "data" / name
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", gf.Remark)
        if name == "letters":
            if not folder.exists():
                letters(folder)
            return gf.data.load("mnist", folder=folder, condition=condition, name=name)
        if name == "shapes":
            if not folder.exists():
                shapes(folder)
            return gf.data.load(folder, condition=condition, name=name)
        return gf.data.load(name, condition=condition)


def classes_of(data: gf.data.Dataset) -> tuple[list[str], dict[str, torch.Tensor]]:
    """The names of the classes, and the place of each row's among them, by part."""
    parts = {part: np.asarray(rows)[:, 0].astype(str) for part, rows in data.condition.parts().items()}
    names = sorted(set(parts["train"]))
    return names, {part: torch.tensor([names.index(word) for word in rows]) for part, rows in parts.items()}


def draw(model: Any, names: list[str], labels: torch.Tensor, by_class: bool) -> torch.Tensor:
    """As many samples as there are labels, each of its class where the model has classes."""
    generator = torch.Generator().manual_seed(0)
    if not by_class:
        return torch.cat([model.sample(len(part), generator=generator) for part in labels.split(250)])
    rows = torch.empty(len(labels), model.dim, dtype=torch.float64)
    for i, name in enumerate(names):
        chosen = labels == i
        if chosen.any():
            rows[chosen] = model.sample(int(chosen.sum()), condition=name, generator=generator).double()
    return rows


class Judge:
    """Test pictures, and a classifier in whose features samples are held against them.

    Args:
        name: One of the data sets.
        out: Where drawn ones are kept.
    """

    def __init__(self, name: str, out: Path):
        data = self.data = load(name, out, "label")
        self.names, labels = classes_of(data)
        torch.manual_seed(0)
        self.network = PictureClassifier(data.event_shape, len(self.names)).fit(data.train, labels["train"])
        self.accuracy = self.network.accuracy(data.test, labels["test"])
        self.labels, self.test = labels["test"][:MOST], data.test[:MOST]

    def figures(self, samples: torch.Tensor) -> dict[str, Figure]:
        """Of as many samples as there are test pictures."""
        return picture_figures(samples, self.data.train, self.test, self.network)

    def one_of_each(self, samples: torch.Tensor) -> torch.Tensor:
        """Those of the first labels, class by class, as they were drawn."""
        order = [int(torch.nonzero(self.labels == i % len(self.names))[i // len(self.names)]) for i in range(COLUMNS)]
        return samples[order]


def trained(judge: Judge, way: str, chosen: argparse.Namespace) -> Iterator[tuple[dict[str, Any], torch.Tensor]]:
    """The runs of a comparison, each with samples of its model."""
    data = load(judge.data.name, chosen.out, "label" if way == "class" else ())
    folder = chosen.out / f"{data.name}-{way}-{chosen.budget}"
    options = {name: {"batch_size": chosen.batch} for name in chosen.models if chosen.batch}
    if "latent" in chosen.models:
        grey = data.dim == math.prod(data.image_shape)
        convolutional = {"picture": list(data.image_shape)} if grey else {}
        options["latent"] = {**options.get("latent", {}), "latent": 16, **convolutional}
    board = gf.compare(
        data, chosen.models, budget=chosen.budget, clock="cpu", seeds=chosen.seeds, out=folder, points=500,
        jobs=chosen.jobs, evaluation=chosen.evaluation, velocity=f"unet,width={chosen.width}", resume=folder.exists(),
        options=options, progress=False,
    )  # fmt: skip
    for run in board.runs:
        if run["status"].startswith("ok"):
            model = gf.load(folder / "models" / data.name / run["name"])
            yield run, draw(model, judge.names, judge.labels, way == "class")
        else:
            print(f"{way:<8}{run['name']:<16} {run['status']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", nargs="+", default=["digits", "letters", "shapes"])
    parser.add_argument("--models", nargs="+", default=["jko-iflow", "flow-matching", "edm", "ddpm", "latent"])
    parser.add_argument("--ways", nargs="+", choices=("all", "class"), default=["all", "class"])
    parser.add_argument("--budget", default="60s")
    parser.add_argument("--evaluation", default="30s", help="time of the figures of a training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--batch", type=int, help="rows in a batch of every model, in the place of its own default")
    parser.add_argument("--jobs", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    for name in chosen.data:
        judge = Judge(name, chosen.out)
        shape = " x ".join(map(str, judge.data.event_shape or ()))
        print(f"{name}: {len(judge.data.train)} pictures of {shape}, {len(judge.names)} classes")
        print(f"the classifier names {judge.accuracy:.1%} of the test pictures' classes")
        print(f"{'':<8}{'model':<16}{'steps':>7}{'bits / dim':>17}{'Fréchet':>17}{'precision':>17}{'recall':>17}")
        grids = {"test": judge.one_of_each(judge.test)}
        for way in chosen.ways:
            for run, samples in trained(judge, way, chosen):
                found, figures = judge.figures(samples), run["figures"]
                bit = judge.data.dim * math.log(2)
                has = figures["nll"] is not None and math.isfinite(figures["nll"])  # a latent model has no density
                cells = [f"{figures['nll'] / bit:.3f} ± {figures['nll_se'] / bit:.3f}" if has else "–"]
                cells += [f"{found[key].value:.3f} ± {found[key].standard_error:.3f}" for key in FIGURES]
                told = "".join(f"{cell:>17}" for cell in cells)
                print(f"{way:<8}{run['name']:<16}{figures['train_steps']:>7.0f}{told}", flush=True)
                grids[f"{run['name']}{', by class' if way == 'class' else ''}"] = judge.one_of_each(samples)
        floors = judge.figures(judge.data.train[: len(judge.test)])
        told = "".join(f"{floors[key].floor:>9.3f}{'':8}" for key in FIGURES)
        print(f"{'':<8}{'training rows':<16}{'':>24}{told}", flush=True)
        picture(judge.data, grids, chosen.out / f"{name}.png")


def picture(data: gf.data.Dataset, grids: dict[str, torch.Tensor], path: Path) -> None:
    """Samples side by side, a row for each model."""
    wide = 0.6 * COLUMNS + 1.6
    figure, axes = plt.subplots(len(grids), COLUMNS, figsize=(wide, 0.62 * len(grids)), squeeze=False)
    low, high = float(data.test.min()), float(data.test.max())
    for line, (name, rows) in zip(axes, grids.items(), strict=True):
        for axis, image in zip(line, data.images(rows).double().cpu().numpy(), strict=True):
            shade = np.clip((image - low) / (high - low), 0, 1)
            axis.imshow(np.moveaxis(shade, 0, -1) if shade.ndim == 3 else shade, cmap="gray_r", vmin=0, vmax=1)
            axis.set_axis_off()
        line[0].text(-0.25, 0.5, name, transform=line[0].transAxes, ha="right", va="center", fontsize=8)
    figure.subplots_adjust(1.6 / wide, 0.01, 0.995, 0.99, wspace=0.05, hspace=0.05)
    figure.savefig(path, dpi=150)
    plt.close(figure)


if __name__ == "__main__":
    main()
