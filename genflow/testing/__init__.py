"""Contract checks: one line that tells the author of a component whether it keeps the promises of its interface.

Each check runs a component of yours on problems with a known answer and raises a `BrokenPromise`, an `AssertionError`
whose one line names the promise; it returns nothing if all are kept. In a test:

    from genflow.testing import check_divergence

    def test_contract():
        check_divergence(MyEstimator(n=2))

Everything runs on the CPU, from fixed seeds, in seconds.
"""

from __future__ import annotations

from genflow.testing.divergence import check_divergence
from genflow.testing.integrator import check_integrator
from genflow.testing.model import check_model
from genflow.testing.promises import BrokenPromise
from genflow.testing.scheduler import check_scheduler
from genflow.testing.velocity import check_velocity
from genflow.testing.wrapper import check_wrapper

__all__ = [
    "BrokenPromise",
    "check_divergence",
    "check_integrator",
    "check_model",
    "check_scheduler",
    "check_velocity",
    "check_wrapper",
]
