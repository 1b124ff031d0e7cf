"""Loops in C for what training spends its time in, compiled on the machine that runs them, when they are first wanted.

Where there is no compiler, or `GENFLOW_KERNELS=0` is set, there are none of them, and the callers' own formulas do.
"""

from genflow.numerics.kernels.library import Library, two_layers

__all__ = ["Library", "two_layers"]
