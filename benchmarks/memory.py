"""Peak memory and time of training JKO-iFlow with 2, 8 and 32 blocks.

    python benchmarks/memory.py [dim ...]

Each training runs in a fresh interpreter with one thread, through every stage: local matching, proximal steps, joint
likelihood, with as many steps in each stage whatever the number of blocks. Blocks are narrow and batches large, so that
what a solve keeps for its backward pass outweighs the weights and what the optimizer remembers of them, which grow with
the number of blocks in any training of all weights at once.

Memory: the largest resident set of the process, and by how much the training raised it (the interpreter, torch and the
data left out: the strict figure). The goal is a ratio of at most 1.05 from 2 to 32 blocks in the first.

Time: processor seconds by the number of blocks, of the whole training, of its proximal stages (with rows pushed from
block to block), and of an optimizer step of the joint stage with the validation that follows it. The columns are level
where time is linear in the blocks; the joint stage of more than four computes a solve twice, so as not to keep it.
"""

from __future__ import annotations

import json
import subprocess
import sys

TRAINING = """
import json, resource, sys, time, torch, genflow as gf
from genflow.numerics.tuning import tuned
from genflow.training import Budget, TrainingData, train

torch.set_num_threads(1)
dim, blocks = int(sys.argv[1]), int(sys.argv[2])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def rows(n):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(n)).sinh()

data = TrainingData(rows(4000), rows(200))
train(gf.models.CNF(dim, width=8, batch_size=8), TrainingData(rows(8), rows(8)), Budget(iterations=4))  # all imported
before, clock = peak(), time.process_time()
ends = {}  # processor time at the end of each kind of stage

def progress(event):
    ends[event["stage"].rstrip(" 0123456789")] = time.process_time() - clock

# 2 steps of local matching and 2 of the proximal loss for each block, 3 of the joint likelihood
steps = 4 * blocks + 3
shares = dict(matching=2 * blocks / steps, joint=3 / steps)
model = gf.models.JKOiFlow(dim, blocks, first=0.1, growth=1.0, width=32, batch_size=1024, tolerance=0.0, **shares)
with tuned():
    history = train(model, data, Budget(iterations=steps), progress=progress)
assert len(model.velocity) == blocks, f"the chain ended after {len(model.velocity)} blocks"
assert [entry["kind"] for entry in history].count("joint likelihood") == 1

print(json.dumps({
    "whole": peak(), "training": peak() - before, "seconds": ends["joint likelihood"] / blocks,
    "block": (ends["block"] - ends["local matching"]) / blocks,
    "joint": (ends["joint likelihood"] - ends["block"]) / 3 / blocks,
}))
"""

BLOCKS = (2, 8, 32)


def measured(dim: int, blocks: int) -> dict[str, float]:
    """Peaks in MB and seconds by the block of one training."""
    command = [sys.executable, "-c", TRAINING, str(dim), str(blocks)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(result.stdout)
    return figures


def main() -> None:
    dims = [int(text) for text in sys.argv[1:]] or [2, 43]
    heads = ("process, MB", "training, MB", "cpu s/block", "proximal, s/block", "joint, s/step/block")
    print(f"{'d':>4} {'blocks':>7}", *(f"{head:>{len(head)}}" for head in heads), sep="  ")
    for dim in dims:
        found = {blocks: measured(dim, blocks) for blocks in BLOCKS}
        for blocks, figures in found.items():
            print(f"{dim:>4} {blocks:>7}", *_row(figures, heads, (".0f", ".0f", ".3f", ".3f", ".3f")), sep="  ")
        few, many = found[BLOCKS[0]], found[BLOCKS[-1]]
        ratios = {name: many[name] / few[name] for name in few}
        print(f"{dim:>4} {'ratio':>7}", *_row(ratios, heads, (".3f",) * len(heads)), sep="  ")


def _row(figures: dict[str, float], heads: tuple[str, ...], formats: tuple[str, ...]) -> list[str]:
    return [f"{value:>{len(head)}{form}}" for value, head, form in zip(figures.values(), heads, formats, strict=True)]


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
    else:
        main()
