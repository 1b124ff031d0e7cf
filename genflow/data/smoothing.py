r"""Probabilities of values of which few rows, or none, were seen.

.. math:: p_k = (1 - \lambda) \frac{c_k}{n} + \lambda \sum_l \frac{c_l}{n} K_b(k - l)

The counts :math:`c_k` are mixed with themselves blurred: by a normal kernel of a width of :math:`b` values where values
have neighbours, evenly over all where they have none, or where that is better. Share and width are those under which
every row is most likely, seen from the others (leave-one-out):

.. math:: \sum_k c_k \log \Bigl( (1 - \lambda) \frac{c_k - 1}{n - 1} +
    \lambda \, \frac{n (K_b * c / n)_k - K_b(0)}{n - 1} \Bigr)

References:
    Silverman, Density Estimation (1986), section 3.4.4: likelihood cross-validation
"""

from __future__ import annotations

import numpy as np

__all__ = ["smooth"]

_SHARES = (1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 0.6, 1.0)
_WIDTHS = (0.7, 1.5, 3.0, 6.0, 12.0, 25.0, 50.0, 100.0)
_LEAST = 1e-300


def smooth(counts: np.ndarray, ordered: bool) -> tuple[np.ndarray, float]:
    """Probabilities of values, all of them positive, and the width of the kernel, in values; 0 for none.

    Args:
        counts: How many rows have each value, `(k,)`; of ordered ones those between them that no row has, too.
        ordered: Whether neighbours are alike.

    Example:
        >>> counts = np.array([100, 0, 98, 102])
        >>> smooth(counts, False)[0].round(3).tolist()
        [0.333, 0.001, 0.326, 0.34]
        >>> bell = np.array([1, 0, 3, 2, 6, 3, 4, 1, 0, 1])
        >>> smooth(bell, True)[1] > 0
        True
    """
    counts = np.asarray(counts, dtype=np.float64)
    n, size = counts.sum(), len(counts)
    even = np.full(size, 1.0 / size)
    if n < 2 or size == 1:
        return even, 0.0
    seen = counts > 0
    alone = (counts[seen] - 1) / (n - 1)

    def likelihood(share: float, blurred: np.ndarray, own: float) -> float:
        others = (n * blurred[seen] - own) / (n - 1)
        return float(counts[seen] @ np.log(np.maximum((1 - share) * alone + share * others, _LEAST)))

    # (the blurred shares, what of them a row has from itself, the width)
    candidates = [(even, 0.0, 0.0)]
    if ordered:
        for width in _WIDTHS:
            if width < size / 3:
                blurred, own = _blur(counts / n, width)
                candidates.append((blurred, own, width))
    # An even share of one row in all keeps values possible that no kernel reaches.
    _, share, (blurred, _, width) = max(
        ((likelihood(share, blurred, own), share, (blurred, own, width))
         for blurred, own, width in candidates for share in _SHARES),
        key=lambda found: found[0],
    )  # fmt: skip
    p = (1 - share) * counts / n + share * blurred
    p = (n * p + even) / (n + 1)
    return p / p.sum(), width


def _blur(shares: np.ndarray, width: float) -> tuple[np.ndarray, float]:
    """Shares under a normal kernel that is reflected at both ends, and the kernel's value at zero."""
    reach = min(int(np.ceil(4 * width)), len(shares) - 1)
    steps = np.arange(-reach, reach + 1)
    kernel = np.exp(-0.5 * (steps / width) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(shares, reach, mode="symmetric")
    return np.convolve(padded, kernel, mode="valid"), float(kernel[reach])
