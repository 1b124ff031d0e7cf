"""Draws blocks.png: test rows of two-moons behind each block of a JKO-iFlow that was trained for 20 seconds."""

from pathlib import Path

import matplotlib.pyplot as plt
import torch

import genflow as gf

data = gf.data.load("two-moons")
model = gf.models.JKOiFlow(2, joint=0.0, matching=0.0, blocks=4, first=0.1).fit(data, budget="20s")
with torch.no_grad():
    z = model.preprocessor(data.test)[0].float()
    panels = [(0.0, z)]
    for block, _, stop in model.model.velocity.pieces():
        flow = gf.Flow(block, model.model.scheduler)
        z = flow.encode(z)
        panels.append((stop, z))

figure, axes = plt.subplots(1, len(panels), figsize=(2.1 * len(panels), 2.4), sharex=True, sharey=True)
for axis, (time, points) in zip(axes, panels, strict=True):
    axis.scatter(*points.T, s=1.5, c=data.test[:, 1], cmap="coolwarm", linewidths=0)
    axis.set(title=f"t = {time:.2g}", aspect="equal", xlim=(-3.2, 3.2), ylim=(-3.2, 3.2), xticks=[], yticks=[])
figure.tight_layout(pad=0.4)
figure.savefig(Path(__file__).with_suffix(".png"), dpi=90, bbox_inches="tight", pad_inches=0.05)
