"""The earlier place of `genflow.storage.checkpoint`."""

from genflow.storage.checkpoint import load, save

__all__ = ["load", "save"]
