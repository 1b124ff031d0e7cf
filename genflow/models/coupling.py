"""The earlier place of `genflow.paths.couplings`."""

from genflow.paths.couplings import COUPLINGS, coupling

__all__ = ["COUPLINGS", "coupling"]
