"""Draws words.png: a picture of a word as a density, JKO-iFlow's samples of it, and samples on their way.

    python docs/images/words.py [TEXT [BUDGET]]

The word is written to a PNG first; what follows is what `genflow fit word.png` does.
"""

import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import genflow as gf

text, budget = [*sys.argv[1:], *("flow", "4min")[len(sys.argv) - 1 :]][:2]
torch.set_num_threads(1)

figure = plt.figure(figsize=(4, 2), dpi=100)
figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=88, fontweight="bold", family="serif")
word = Path(tempfile.mkdtemp()) / "word.png"
figure.savefig(word)
plt.close(figure)

data = gf.data.load(str(word))
model = gf.models.JKOiFlow(2).fit(data, budget=budget)
with torch.no_grad():
    z = model.model.base.sample((6000,), torch.Generator().manual_seed(0))
    panels = [("noise", z)]
    for piece, start, _ in reversed(model.model.velocity.pieces()):
        z = model.model.replace(velocity=piece).decode(z)
        panels.append((f"behind the block at t = {start:g}", z))
    panels = [(name, model.preprocessor.inverse(points.double()).numpy()) for name, points in panels]
panels[-1] = ("samples", panels[-1][1])

figure, axes = plt.subplots(1, len(panels) + 1, figsize=(3.0 * (len(panels) + 1), 1.9))
axes[0].imshow(plt.imread(word), aspect="auto")
axes[0].set_title("the picture")
low, high = data.train.numpy().min(0), data.train.numpy().max(0)
margin = 0.15 * (high - low)
for axis, (name, points) in zip(axes[1:], panels, strict=True):
    axis.scatter(*points.T, s=0.7, linewidths=0, color="#2b3a55")
    axis.set(xlim=(low[0] - margin[0], high[0] + margin[0]), ylim=(low[1] - margin[1], high[1] + margin[1]), title=name)
for axis in axes:
    axis.set(xticks=[], yticks=[])
figure.tight_layout(pad=0.4)
figure.savefig(Path(__file__).with_suffix(".png"), dpi=90)
