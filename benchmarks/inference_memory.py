"""Peak memory of a plain script that scores a large table, or draws one, with each model.

    python benchmarks/inference_memory.py [--rows 100000] [--columns 12] [--models NAME …]

Every figure is of a process of its own that imports genflow, fits the model for a moment, and calls `log_prob`, or
`sample`, once, with gradients on as a script has them. Beside it stands what the process held before the call.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

MODELS = ("jko-iflow", "jko-iflow-published", "cnf", "flow-matching", "score-sde", "nsf", "maf")

SCRIPT = """
import resource, sys, time
import torch
import genflow as gf
from genflow.naming import registry

name, call, rows, columns = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
torch.set_num_threads(1)
data = gf.data.load(f"gaussian-mixture-{columns}", rows=5000)
model = registry.lookup("model", name)(columns).fit(data, iterations=20)
x = torch.randn(rows, columns, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, began = peak(), time.perf_counter()
result = model.log_prob(x) if call == "log_prob" else model.sample(rows)
print(f"{before:.0f} {peak():.0f} {time.perf_counter() - began:.1f} {result.requires_grad}")
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--columns", type=int, default=12)
    parser.add_argument("--models", nargs="+", default=list(MODELS))
    parser.add_argument("--calls", nargs="+", default=["log_prob", "sample"])
    options = parser.parse_args()
    print(f"{options.rows} rows of {options.columns} columns, one thread")
    print(f"{'model':<22}{'call':<10}{'before':>10}{'peak':>10}{'seconds':>10}  graph")
    for model in options.models:
        for call in options.calls:
            words = [sys.executable, "-c", SCRIPT, model, call, str(options.rows), str(options.columns)]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            before, peak, seconds, graph = done.stdout.split()
            print(f"{model:<22}{call:<10}{before + ' MB':>10}{peak + ' MB':>10}{seconds:>10}  {graph}", flush=True)


if __name__ == "__main__":
    main()
