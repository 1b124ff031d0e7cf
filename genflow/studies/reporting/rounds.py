"""Pictures of a JKO-iFlow: what its rounds of training did, and rows on their way through its blocks."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from genflow.storage import atomic
from genflow.studies.reporting.drawing import picture, subplots

__all__ = ["write_pictures"]

_SHOWN_ROWS = 3000
_LINE, _POINTS = "#9aa3af", "#2b3a55"


def write_pictures(fitted: Any, data: Any, folder: Path) -> tuple[list[Path], list[str]]:
    """Draws what there is to see of a model that was trained block by block; nothing for any other.

    `rounds.png` has the movement of every block, on its times, and the NLL behind them, a line for each round;
    `blocks.png`, for rows in the plane, samples on their way from the noise to the data.

    Args:
        fitted: What `fit` returned.
        data: The data set.
        folder: Where the files go.

    Returns:
        What was written, and a line for each picture that could not be drawn.
    """
    blocks = [entry for entry in fitted.history if entry.get("kind") == "block"]
    plots = {}
    if blocks:
        plots["rounds"] = lambda: _rounds(blocks)
    if data.dim == 2 and fitted.model.integrates and len(fitted.model.velocity.pieces()) > 1:
        plots["blocks"] = lambda: _passage(fitted, data)
    written, failures = [], []
    for name, draw in plots.items():
        drawn, failure = picture(name, draw)
        if failure:
            failures.append(failure)
        else:
            written.append(folder / f"{name}.png")
            atomic.write(written[-1], drawn)
    return written, failures


def _rounds(blocks: list[dict[str, Any]]) -> Any:
    from matplotlib import colormaps

    figure, (left, right) = subplots(1, 2, figsize=(8.2, 2.9), gridspec_kw={"width_ratios": [1.6, 1]})
    rounds = [list(group) for _, group in groupby(blocks, key=lambda entry: (entry["moves"], entry["halvings"]))]
    colours = colormaps["viridis_r"]([(i + 1) / (len(rounds) + 0.5) for i in range(len(rounds))])
    for number, (entries, colour) in enumerate(zip(rounds, colours, strict=True), 1):
        # In the first round a block that did not help is dropped.
        kept = [entry for entry in entries if entry["kept"] or number > 1] or entries
        name = f"{number}" + (": halved" if kept[0]["halvings"] else ": moved" if kept[0]["moves"] else ": as given")
        edges = [kept[0]["interval"][0], *(entry["interval"][1] for entry in kept)]
        left.stairs([entry["movement"] for entry in kept], edges, color=colour, linewidth=1.6, label=name)
    left.set(xlabel="time", ylabel="movement of the block", ylim=(0, None), title="Movement per block")
    left.legend(title="round")
    finals = [entries[-1]["nll"] for entries in rounds]
    right.plot(range(1, len(rounds) + 1), finals, color=_LINE, linewidth=1)
    right.scatter(range(1, len(rounds) + 1), finals, color=colours, zorder=3)
    right.set(xlabel="round", ylabel="NLL of the validation rows", xticks=range(1, len(rounds) + 1))
    right.set_title("NLL per round")
    figure.tight_layout()
    return figure


@torch.no_grad()
def _passage(fitted: Any, data: Any) -> Any:
    """Noise, the samples behind each block on the way back, and the data."""
    flow, preprocessor = fitted.model, fitted.preprocessor
    z = flow.base.sample((_SHOWN_ROWS,), torch.Generator().manual_seed(0)).to(next(flow.parameters()))
    panels = [(flow.velocity.interval[1], z)]
    for piece, start, _ in reversed(flow.velocity.pieces()):
        z = flow.replace(velocity=piece).decode(z)
        panels.append((start, z))
    shown = [panels[round(i * (len(panels) - 1) / min(6, len(panels) - 1))] for i in range(min(7, len(panels)))]
    truth = preprocessor.spread(data.test[:_SHOWN_ROWS], torch.Generator().manual_seed(0))[0]
    count = len(shown) + 1
    figure, axes = subplots(1, count, figsize=(1.75 * count, 2.0), sharex=True, sharey=True)
    titles = [f"t = {time:.2g}" for time, _ in shown] + ["test rows"]
    for axis, title, points in zip(axes, titles, [*(x for _, x in shown), truth], strict=True):
        axis.scatter(*points.cpu().numpy().T, s=0.8, linewidths=0, color=_POINTS, alpha=0.6, rasterized=True)
        axis.set(title=title, xticks=[], yticks=[], aspect="equal")
    low, high = (min(-3.0, truth.min().item()), max(3.0, truth.max().item()))
    axes[0].set(xlim=(low, high), ylim=(low, high))
    figure.tight_layout(pad=0.3)
    return figure
