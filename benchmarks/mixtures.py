"""Mixtures of Gaussians, whose density is known: how near every model comes in equal time, and that none passes it.

    python benchmarks/mixtures.py --out FILE [--dims 2 8 32] [--models NAME …] [--budget 100s] [--rows 1000]

The mean over test rows of log p(truth) - log p(model), in nats, with its paired standard error: below zero by more than
chance would be better than the truth, and a likelihood that is none. Budgets are of processor time, on one thread;
scoring may take as much again, and is of fewer rows where that is too little. Figures are appended to FILE, one line of
JSON each; those that stand there are not made again, so that a run may be broken off and gone on with. At the end all
that stand there are printed as a table.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from pathlib import Path
from typing import Any

import torch

import genflow as gf
from genflow.errors import InputError
from genflow.metrics.likelihood import paired_difference
from genflow.naming import registry
from genflow.naming.options import build
from genflow.numerics.tuning import tuned_process
from genflow.training import Budget, parse_seconds

PORTION = 50  # rows that are scored at once: fewer, where time is short


def score(fitted: Any, rows: torch.Tensor, seconds: float) -> torch.Tensor:
    """log p of the rows from the first on, as many as there is time for."""
    generator, begin, found = torch.Generator().manual_seed(0), time.process_time(), []
    for portion in rows.split(PORTION):
        found.append(fitted.log_prob(portion, generator=generator))
        if time.process_time() - begin > seconds:
            break
    return torch.cat(found)


def run(dim: int, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one model, or why there are none."""
    data = gf.data.load(f"gaussian-mixture-{dim}")
    rows = data.test[: options.rows].double()
    truth = data.true_log_prob(rows)
    torch.manual_seed(options.seed)
    model = build(registry.lookup("model", name), data.dim, {}, data.condition_dim, data.event_shape)
    limit = Budget(options.budget, clock=time.process_time)
    fitted = model.fit(data, budget=limit, seed=options.seed)
    figures = {"seconds": round(limit.seconds, 2), "steps": sum(entry.get("steps", 0) for entry in fitted.history)}
    if not fitted.has_log_prob:
        return {**figures, "why": "it has no log p"}
    begin = time.process_time()
    log_p = score(fitted, rows, options.budget)
    mean, error = paired_difference(truth[: len(log_p)], log_p)
    return {
        **figures,
        "above": mean,
        "error": error,
        "rows": len(log_p),
        "scoring": round(time.process_time() - begin, 2),
    }


def table(entries: list[dict[str, Any]]) -> str:
    """One line a model, the best of the first dimension first."""
    dims = sorted({entry["dim"] for entry in entries})
    cells: dict[str, dict[int, str]] = {}
    order: dict[str, float] = {}
    for entry in sorted(entries, key=lambda e: e["dim"]):
        text = entry.get("why") or f"{entry['above']:.4f} ± {entry['error']:.4f}"
        cells.setdefault(entry["model"], {})[entry["dim"]] = text
        order.setdefault(entry["model"], entry.get("above", float("inf")))
    lines = ["| model | " + " | ".join(f"d = {dim}" for dim in dims) + " |", "|---" * (len(dims) + 1) + "|"]
    for model in sorted(cells, key=order.__getitem__):
        lines.append(f"| {model} | " + " | ".join(cells[model].get(dim, "") for dim in dims) + " |")
    return "\n".join(lines)


@tuned_process()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--dims", type=int, nargs="+", default=[2, 8, 32])
    parser.add_argument("--models", nargs="+", default=None, help="all that are built in, by default")
    parser.add_argument("--budget", type=parse_seconds, default=100.0)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    known = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    done = {(entry["dim"], entry["model"]) for entry in known}
    for dim in options.dims:
        for name in options.models or registry.names("model"):
            if (dim, name) in done:
                continue
            try:
                found = run(dim, name, options)
            except (InputError, RuntimeError) as error:
                found = {"why": str(error).splitlines()[0]}
            known.append({"dim": dim, "model": name, "budget": options.budget, "seed": options.seed, **found})
            with options.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(known[-1]) + "\n")
            print(known[-1], flush=True)
    print(table(known))


if __name__ == "__main__":
    main()
