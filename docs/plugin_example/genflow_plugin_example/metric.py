"""A metric: a function of samples and test rows, in standardized units."""

from __future__ import annotations

import torch


def energy_distance(samples: torch.Tensor, test: torch.Tensor) -> float:
    """Twice the mean distance between samples and rows, less the mean distances within each."""
    between = torch.cdist(samples, test).mean()
    return (2 * between - torch.cdist(samples, samples).mean() - torch.cdist(test, test).mean()).item()
