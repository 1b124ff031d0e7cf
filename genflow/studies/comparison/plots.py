"""The pictures of a comparison: the leaderboard, samples and densities beside the data, and the training."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from genflow.storage import atomic
from genflow.studies.comparison.exchange import grid_of
from genflow.studies.comparison.outcomes import Outcomes
from genflow.studies.reporting.drawing import picture, plain, subplots
from genflow.studies.reporting.frames import records
from genflow.studies.reporting.mosaics import Panel, classes_of, draw_panels
from genflow.studies.reporting.plot import FURTHER_COLOURS, Plot, drawable_units

__all__ = ["colour_of", "plots_of", "write"]

_COLOURS = {
    "jko-iflow": "#c8324a",
    "cnf": "#2474a8",
    "flow-matching": "#2c8f5a",
    "score-sde": "#7d53a5",
    "nsf": "#d9861a",
    "maf": "#00838f",
}
_DATA = "#3b4252"
_SHADE = "#c9d1dc"


def colour_of(board: Outcomes, model: str) -> str:
    """The colour of a model, the same in every picture."""
    if model in _COLOURS:
        return _COLOURS[model]
    others = [name for name in board.model_names if name not in _COLOURS]
    return FURTHER_COLOURS[others.index(model) % len(FURTHER_COLOURS)]


def plots_of(board: Outcomes, data: str | None = None) -> list[Plot]:
    """The pictures of one data set, or with `None` those of the whole comparison."""
    if data is None:
        if not np.isfinite(board.frame["nll"]).any():
            return []
        caption = (
            "Left: test NLL of each model with its standard error over the test rows. Right: how far it lies above the "
            "best model on the same rows; this paired difference has a much smaller standard error, and is the one to "
            "judge by. Lower is better."
        )
        return [Plot("leaderboard", "Likelihood", caption, lambda: _leaderboard(board))]
    if data not in board.row_log_prob:
        return []
    parts, description = board.data(data)
    dim = parts["test"].shape[1]
    found = []
    name = board.home(data)
    if dim == 2 and not description.get("condition"):
        caption = (
            "Top: test rows and as many samples of each model. Bottom: log density in nats, one colour scale for all; "
            "under the data stands the true density where it is known, otherwise a histogram of the training rows. "
            "∫p is the model's mass on the square that is shown."
        )
        found.append(Plot(f"{name}-density", "Samples and density", caption, lambda: _density(board, data)))
    elif description["image_shape"]:
        caption = "Test rows and samples of each model as pictures, on one scale, drawn at random."
        if classes_of(parts, description, np.arange(len(parts["test"]))) is not None:
            caption += " Each line is a class: test rows of it, and samples under that condition."
        found.append(Plot(f"{name}-samples", "Samples", caption, lambda: _images(board, data)))
    else:
        caption = "The pairs of columns that depend most on each other (rank correlation): test rows and samples."
        if dim > 1:
            found.append(Plot(f"{name}-pairs", "Pairs of columns", caption, lambda: _pairs(board, data)))
        caption = "Shaded: test rows. Lines: samples of each model. Outermost half per cent of the test rows not shown."
        found.append(Plot(f"{name}-marginals", "Single columns", caption, lambda: _marginals(board, data)))
    caption = (
        "The objective of each stage on the validation rows against the seconds of training. Each model has its "
        "own objective: compare a curve with itself. Shades separate stages; the weights at the "
        "lowest point of each are kept."
    )
    found.append(Plot(f"{name}-training", "Training", caption, lambda: _training(board, data)))
    return found


def write(board: Outcomes, folder: Path) -> list[str]:
    """Draws all pictures of a comparison into a folder, as PNG.

    Returns:
        A line for each that could not be drawn.
    """
    folder.mkdir(exist_ok=True)
    failures = []
    for plot in [item for data in [None, *board.data_names] for item in plots_of(board, data)]:
        drawn, failure = picture(plot.name, plot.draw)
        if failure:
            failures.append(failure)
        else:
            atomic.write(folder / f"{plot.name}.png", drawn)
    return failures


def _leaderboard(board: Outcomes) -> Any:
    names = board.data_names
    count = len(board.model_names)
    height = 0.62 + 0.3 * count
    figure, axes = subplots(len(names), 2, figsize=(8.6, height * len(names) + 0.35), squeeze=False)
    for index, data in enumerate(names):
        left, right = axes[index]
        rows = board.summary[board.summary["data"] == data]
        known = board.config["data"][data]
        paired = board.paired[board.paired["data"] == data] if len(board.paired) else board.paired
        best = next((row["model"] for row in records(rows) if row["best"]), None)
        for place, row in enumerate(records(rows)):
            colour = colour_of(board, row["model"])
            if not math.isfinite(row["nll"]):
                word = "no density" if row["status"].startswith("ok") else row["status"].partition(":")[0]
                left.text(0.02, place, word, color="#9aa3af", va="center", transform=left.get_yaxis_transform())
                continue
            look = {"fmt": "o", "ms": 5, "color": colour, "capsize": 2.5, "lw": 1.4}
            left.errorbar(row["nll"], place, xerr=row["nll_se"], **look)
            if row["model"] == best:
                right.plot(0, place, "o", ms=5, color=colour)
            else:
                pair = paired[(paired["model"] == row["model"]) & (paired["other"] == best)].iloc[0]
                right.errorbar(pair["difference"], place, xerr=pair["se"], **look)
        if "nll_true" in known:
            left.axvline(known["nll_true"], color=_DATA, lw=1, ls=(0, (4, 3)))
            left.text(
                known["nll_true"],
                1.0,
                " true density",
                transform=left.get_xaxis_transform(),
                fontsize=7,
                color=_DATA,
                va="bottom",
                ha="center",
            )
        right.axvline(0, color="#9aa3af", lw=0.8, zorder=0)
        for axis in (left, right):
            axis.set_ylim(len(rows) - 0.5, -0.5)
            axis.set_yticks(
                range(len(rows)), [plain(model, 30) for model in rows["model"]] if axis is left else [""] * len(rows)
            )
            axis.tick_params(axis="y", length=0, labelsize=8.5)
            axis.grid(axis="x", color="#e8ebf0", lw=0.7)
            axis.set_axisbelow(True)
            axis.locator_params(axis="x", nbins=6)
            axis.spines["left"].set_visible(False)
        for label, model in zip(left.get_yticklabels(), rows["model"], strict=True):
            label.set_color(colour_of(board, model))
        left.set_title(plain(data, 60), loc="left", pad=13)
        if index == len(names) - 1:
            left.set_xlabel("test NLL ± SE, nats per row, units of the data")
            right.set_xlabel("above the best ± paired SE, nats per row")
    figure.tight_layout(h_pad=1.2, w_pad=1.5)
    return figure


def _first_runs(board: Outcomes, data: str, units: np.ndarray | float = 1.0) -> list[tuple[str, dict[str, np.ndarray]]]:
    """Each model that made it, in the order in which they were named, with the arrays of its first seed."""
    found = {}
    for run in board.runs:
        if run["data"] == data and run["status"].startswith("ok") and run["label"] not in found:
            arrays = board.arrays(data, run["name"])
            found[run["label"]] = {**arrays, "samples": arrays["samples"] / units}
    return list(found.items())


def _in_units(board: Outcomes, data: str) -> tuple[dict[str, np.ndarray], list[str], np.ndarray]:
    """Rows in units that can be drawn, the labels of the columns that say so, and the units."""
    parts, description = board.data(data)
    units = drawable_units(np.concatenate([parts["train"], parts["test"]]))
    columns = [
        name if unit == 1 else f"{name} / {unit:.0e}" for name, unit in zip(description["columns"], units, strict=True)
    ]
    rows = {part: parts[part] / units for part in ("train", "test")}
    return {**parts, **rows}, columns, units


def _panels(count: int, rows: int, size: float = 2.05) -> tuple[Any, Any]:
    return subplots(rows, count, figsize=(size * count, size * rows + 0.3), squeeze=False)


def _density(board: Outcomes, data: str) -> Any:
    parts, columns, units = _in_units(board, data)
    runs = _first_runs(board, data, units)
    rows = np.concatenate([parts["train"], parts["test"]])
    first, second = grid_of(rows, len(runs[0][1]["grid"]))
    extent = (first[0], first[-1], second[0], second[-1])
    log_unit = np.log(units).sum()  # log p stays that of the data's own units
    log_cell = np.log(first[1] - first[0]) + np.log(second[1] - second[0]) + log_unit
    if "true_grid" in parts:
        under_data = parts["true_grid"]
    else:
        bins = 48
        counts, *_ = np.histogram2d(
            parts["train"][:, 0], parts["train"][:, 1], bins=bins, range=[extent[:2], extent[2:]], density=True
        )
        with np.errstate(divide="ignore"):
            under_data = np.log(counts.T) - log_unit
    grids = [arrays["grid"] for _, arrays in runs if np.isfinite(arrays["grid"]).any()]
    # The scale of the true density or of the models' median peak: a single spike must not darken all others.
    peak = float(np.median([np.nanmax(grid) for grid in (grids or [under_data])]))
    if "true_grid" in parts:
        peak = float(np.nanmax(under_data))
    low, high = peak - 7.0, peak
    figure, axes = _panels(len(runs) + 1, 2)
    shown = min(len(parts["test"]), 1000)
    groups = [("data", _DATA, parts["test"], under_data)]
    groups += [(label, colour_of(board, label), arrays["samples"], arrays["grid"]) for label, arrays in runs]
    image = None
    for index, (label, colour, points, grid) in enumerate(groups):
        top, bottom = axes[0, index], axes[1, index]
        top.scatter(points[:shown, 0], points[:shown, 1], s=2.2, color=colour, alpha=0.6, lw=0, rasterized=True)
        image = bottom.imshow(
            np.where(np.isfinite(grid), grid, low - 1),
            origin="lower",
            extent=extent,
            vmin=low,
            vmax=high,
            cmap="magma",
            aspect="auto",
            interpolation="bilinear",
        )
        if index:
            row = board.summary[(board.summary["data"] == data) & (board.summary["model"] == label)].iloc[0]
            mass = float(np.exp(grid.astype(float) + log_cell).sum())
            figure_of = f"NLL {row['nll']:.3f}   ∫p = {mass:.3f}" if math.isfinite(mass) else "no density"
            top.set_title(plain(label, 22), color=colour)
            bottom.set_title(figure_of, fontsize=7.5, fontweight="normal")
        else:
            top.set_title("data", color=colour)
            name = "true density" if "true_grid" in parts else "histogram"
            bottom.set_title(name, fontsize=7.5, fontweight="normal")
        for axis in (top, bottom):
            axis.set_xlim(extent[:2])
            axis.set_ylim(extent[2:])
            axis.set_box_aspect(1)
            if index:
                axis.set_yticklabels([])
        top.tick_params(axis="x", length=0, labelbottom=False)
        top.spines["bottom"].set_visible(False)
        bottom.set_xlabel(plain(columns[0], 22))
    axes[0, 0].set_ylabel(plain(columns[1], 22))
    axes[1, 0].set_ylabel(plain(columns[1], 22))
    figure.tight_layout(w_pad=0.4, h_pad=0.6)
    bar = figure.colorbar(image, ax=axes[1, :], fraction=0.012, pad=0.012, extend="min")
    bar.set_label("log p (nats)")
    bar.outline.set_visible(False)
    figure.colorbar(image, ax=axes[0, :], fraction=0.012, pad=0.012).ax.set_visible(False)
    return figure


def _images(board: Outcomes, data: str) -> Any:
    parts, description = board.data(data)
    runs = _first_runs(board, data)
    panels = [Panel("data", _DATA, parts["test"], classes_of(parts, description, np.arange(len(parts["test"]))))]
    for label, arrays in runs:
        classes = classes_of(parts, description, arrays.get("drawn_at"))
        panels.append(Panel(plain(label, 22), colour_of(board, label), arrays["samples"], classes))
    return draw_panels(panels, tuple(description["image_shape"]), parts["train"][:1000])


def _pairs(board: Outcomes, data: str) -> Any:
    from scipy.stats import spearmanr

    parts, columns, units = _in_units(board, data)
    runs = _first_runs(board, data, units)
    dim = parts["test"].shape[1]
    used = min(dim, 40)
    rank = np.abs(np.atleast_2d(spearmanr(parts["train"][:5000, :used]).statistic))
    if rank.shape[0] != used:  # of two columns scipy returns one number
        rank = np.full((used, used), float(rank.squeeze()))
    upper = [(rank[i, j], i, j) for i in range(used) for j in range(i + 1, used)]
    pairs = [(i, j) for _, i, j in sorted(upper, reverse=True)[:3]]
    across = len(runs) + 1
    figure, axes = subplots(
        len(pairs), across, figsize=(1.85 * across, 1.95 * len(pairs)), squeeze=False, layout="constrained"
    )
    groups = [("data", _DATA, parts["test"])]
    groups += [(label, colour_of(board, label), arrays["samples"]) for label, arrays in runs]
    for row, (i, j) in enumerate(pairs):
        limits = [_limits(parts["test"][:, column], 0.002) for column in (i, j)]
        for index, (label, colour, points) in enumerate(groups):
            axis = axes[row, index]
            axis.scatter(points[:1000, i], points[:1000, j], s=2, color=colour, alpha=0.5, lw=0, rasterized=True)
            axis.set_xlim(limits[0])
            axis.set_ylim(limits[1])
            axis.set_box_aspect(1)
            axis.locator_params(nbins=4)
            axis.set_xlabel(plain(columns[i], 20), labelpad=1)
            if index:
                axis.set_yticklabels([])
            else:
                axis.set_ylabel(plain(columns[j], 20))
            if row == 0:
                axis.set_title(plain(label, 22), color=colour)
    return figure


def _marginals(board: Outcomes, data: str) -> Any:
    parts, columns, units = _in_units(board, data)
    runs = _first_runs(board, data, units)
    shown = min(8, parts["test"].shape[1])
    across = min(4, shown)
    down = math.ceil(shown / across)
    figure, axes = subplots(down, across, figsize=(2.5 * across, 1.75 * down + 0.45), squeeze=False)
    for index, axis in enumerate(axes.flat):
        if index >= shown:
            axis.set_visible(False)
            continue
        edges = np.linspace(*_limits(parts["test"][:, index], 0.005), 41)
        axis.hist(parts["test"][:, index], edges, density=True, color=_SHADE, label="data")
        for label, arrays in runs:
            counts, _ = np.histogram(arrays["samples"][:, index], edges)
            heights = counts / max(1, len(arrays["samples"])) / np.diff(edges)
            axis.stairs(heights, edges, color=colour_of(board, label), lw=1.1, label=plain(label, 30))
        axis.set_xlabel(plain(columns[index], 28))
        axis.set_yticks([])
        axis.spines["left"].set_visible(False)
        axis.locator_params(axis="x", nbins=4)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.tight_layout(w_pad=0.8, h_pad=0.8, rect=(0, 0, 1, 1 - 0.3 / (1.75 * down + 0.45)))
    figure.legend(handles, labels, loc="upper center", ncols=min(len(labels), 8), bbox_to_anchor=(0.5, 1.0))
    return figure


def _training(board: Outcomes, data: str) -> Any:
    runs = {}
    for run in board.runs:
        if run["data"] == data and run.get("history") and run["label"] not in runs:
            runs[run["label"]] = run
    count = max(1, len(runs))
    figure, axes = _panels(count, 1, size=2.15)
    for axis, (label, run) in zip(axes[0], runs.items(), strict=False):
        colour = colour_of(board, label)
        settled: list[float] = []
        for index, entry in enumerate(run["history"]):
            curve = np.array(
                [
                    [row[0], math.nan if isinstance(row[2], str) or row[2] is None else row[2]]
                    for row in entry.get("curve", [])
                ]
            )
            if not len(curve):
                continue
            if index % 2 and len(run["history"]) > 1:
                axis.axvspan(curve[0, 0], curve[-1, 0], color="#f1f3f7", lw=0, zorder=0)
            axis.plot(curve[:, 0], curve[:, 1], color=colour, lw=1.2)
            if np.isfinite(curve[:, 1]).any():
                lowest = int(np.nanargmin(curve[:, 1]))
                axis.plot(*curve[lowest], "o", ms=3.2, color=colour)
                settled += list(curve[min(2, len(curve) - 1) :, 1])
        finite = [value for value in settled if math.isfinite(value)]
        if finite:  # the untrained beginning would flatten all that follows
            low, high = min(finite), max(np.quantile(finite, 0.97), min(finite) + 1e-6)
            axis.set_ylim(low - 0.08 * (high - low), high + 0.15 * (high - low))
        stages = len(run["history"])
        axis.set_title(plain(label, 22), color=colour)
        axis.set_xlabel("seconds" + (f", {stages} stages" if stages > 1 else ""))
        axis.grid(axis="y", color="#e8ebf0", lw=0.7)
        axis.locator_params(nbins=5)
        axis.set_box_aspect(0.85)
    for axis in axes[0][len(runs) :]:
        axis.set_visible(False)
    axes[0, 0].set_ylabel("validation objective")
    figure.tight_layout(w_pad=0.6)
    return figure


def _limits(values: np.ndarray, tail: float) -> tuple[float, float]:
    low, high = np.quantile(values, [tail, 1 - tail])
    margin = 0.06 * (high - low) or 1.0
    return float(low - margin), float(high + margin)
