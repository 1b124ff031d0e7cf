"""Peak memory of training JKO-iFlow: 12 blocks against 2.

    python benchmarks/memory.py [dim ...]

Each training runs in a fresh interpreter with one thread, through every stage: local matching, proximal steps, joint
likelihood. Two figures for each number of blocks: the largest resident set of the whole process, and by how much it
exceeds that of the process before the training began (the interpreter, torch and the data are left out: the strict
figure). The goal is a ratio of at most 1.1 in the first.
"""

from __future__ import annotations

import subprocess
import sys

TRAINING = """
import resource, sys, torch, genflow as gf
from genflow.training import Budget, Stage, TrainingData, train

torch.set_num_threads(1)
dim, blocks = int(sys.argv[1]), int(sys.argv[2])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def rows(n):
    return torch.randn(n, dim, generator=torch.Generator().manual_seed(n)).sinh()

data = TrainingData(rows(8000), rows(1000))
settings = dict(growth=1.2, tolerance=0.0)
gf.models.CNF(dim, width=8)  # everything is imported
train(gf.models.CNF(dim, width=8, batch_size=8), TrainingData(rows(8), rows(8)), Budget(iterations=4))
before = peak()
model = gf.models.JKOiFlow(dim, blocks, **settings)
history = train(model, data, Budget(iterations=4 * blocks))
assert len(model.velocity) == blocks, f"the chain ended after {len(model.velocity)} blocks"
assert history[-1]["kind"] == "joint likelihood"
print(peak(), before)
"""


def peaks(dim: int, blocks: int) -> tuple[float, float]:
    """The largest resident set of the process and its growth by the training, in MB."""
    command = [sys.executable, "-c", TRAINING, str(dim), str(blocks)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    whole, before = map(float, result.stdout.split())
    return whole, whole - before


def main() -> None:
    dims = [int(text) for text in sys.argv[1:]] or [2, 43]
    print(f"{'d':>4} {'blocks':>7} {'process, MB':>12} {'training alone, MB':>19}")
    for dim in dims:
        few, many = peaks(dim, 2), peaks(dim, 12)
        for blocks, (whole, growth) in ((2, few), (12, many)):
            print(f"{dim:>4} {blocks:>7} {whole:>12.0f} {growth:>19.0f}")
        print(f"{dim:>4} {'ratio':>7} {many[0] / few[0]:>12.3f} {many[1] / few[1]:>19.3f}")


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
    else:
        main()
