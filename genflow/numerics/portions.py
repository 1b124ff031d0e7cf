"""Many rows in portions, so that what is computed on the way takes a bounded memory, whatever the model.

How much a row takes is measured, not guessed: the first few rows are computed under a meter that counts the bytes of
all tensors alive, and the others in portions of as many rows as the bound allows.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, TypeVar

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["Meter", "Portions"]

Result = TypeVar("Result")

_BYTES = 256 << 20  # of what is computed for a portion, at its peak
_MEASURED = 32  # rows that are computed under the meter
_MOST = 8192  # rows at once: with more, the working set only leaves the cache
_REPEATED = 500  # operations without a new peak, behind which a solver's steps only repeat themselves


class Meter(TorchDispatchMode):
    """Counts the bytes of the tensors that are made while it is on, and alive, until their peak is behind.

    Attributes:
        alive: Bytes now; no longer counted where many operations in a row have led to no new peak.
        peak: The most that they have been.

    Example:
        >>> import torch
        >>> with Meter() as meter:
        ...     total = (torch.ones(1000) + 1).sum()
        >>> meter.peak >= 2 * 4000  # the ones, and the twos
        True
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler for that: 70 MB, two seconds

    def __init__(self) -> None:
        super().__init__()
        self.alive, self.peak = 0, 0
        self._known: dict[int, weakref.ref[Any]] = {}
        self._since = 0  # operations since the last peak

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **kwargs) if kwargs else func(*args)
        if self._since < _REPEATED:
            self._since += 1
            for leaf in (result,) if isinstance(result, Tensor) else tree_leaves(result):
                if isinstance(leaf, Tensor):
                    self._count(leaf.untyped_storage())
        return result

    def _count(self, storage: Any) -> None:
        key = storage._cdata
        if key in self._known:
            return
        size = storage.nbytes()

        def free(_: Any) -> None:
            del self._known[key]
            self.alive -= size

        self._known[key] = weakref.ref(storage, free)
        self.alive += size
        if self.alive > self.peak:
            self.peak, self._since = self.alive, 0


class Portions:
    """Runs an operation on rows a portion at a time; what it has measured of an operation it remembers.

    Args:
        limit: Bytes that are computed for a portion, at their peak.

    Example:
        >>> import torch
        >>> x = torch.arange(100.0)
        >>> doubled = Portions(limit=1).run("double", len(x), lambda start, stop: 2 * x[start:stop])
        >>> len(doubled), torch.equal(torch.cat(doubled), 2 * x)
        (69, True)
    """

    def __init__(self, limit: int = _BYTES):
        self.limit = limit
        self._bytes: dict[Any, float] = {}  # that a row takes

    def run(
        self, operation: Any, count: int, compute: Callable[[int, int], Result], few: int = _MEASURED
    ) -> list[Result]:
        """The results of `compute(start, stop)` for adjoining portions of `count` rows, at least one.

        Args:
            operation: What the operation goes by: portions of one that was measured before are not measured again.
            count: The number of rows.
            compute: The operation on the rows from `start` to before `stop`.
            few: So many rows go at once in any case: the meter would cost more than it saves.
        """
        if count <= max(few, _MEASURED):
            return [compute(0, count)]
        done, results = 0, []
        if operation not in self._bytes:
            with Meter() as meter:
                results.append(compute(0, _MEASURED))
            self._bytes[operation], done = meter.peak / _MEASURED, _MEASURED
        portion = max(1, min(_MOST, int(self.limit / max(1.0, self._bytes[operation]))))
        number = -(-(count - done) // portion)
        for k in range(number):  # of nearly the same size
            start, stop = (done + (count - done) * i // number for i in (k, k + 1))
            results.append(compute(start, stop))
        return results
