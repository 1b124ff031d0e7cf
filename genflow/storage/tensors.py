"""Tensors in a file, in the format of safetensors, with checksums."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from genflow.errors import InputError

__all__ = ["checksum", "digest", "read", "write"]


def write(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> str:
    """Writes tensors into a file, and returns its checksum.

    Args:
        path: The file; see `genflow.storage.atomic` for one that appears whole.
        tensors: Tensors by name.
        metadata: Texts that go with them.
    """
    from safetensors.torch import save

    # clone: tensors that share their memory have to part.
    data = save({name: tensor.detach().contiguous().clone() for name, tensor in tensors.items()}, dict(metadata or {}))
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def read(
    path: Path, failure: str = "missing or damaged ({}); copy it again"
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file, and the texts that go with them.

    Args:
        path: The file.
        failure: What an error says of it, with a gap for the reason.

    Raises:
        InputError: Missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            # clone: into memory that torch has aligned. Elsewhere kernels split their work, and round, differently.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118, no mapping
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: {failure.format(reason)}") from None


def checksum(path: Path) -> str:
    """SHA-256 of a file.

    Raises:
        InputError: It is missing.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: missing or damaged ({error.strerror}); copy it again") from None


def digest(tensors: Mapping[str, Tensor], text: str) -> str:
    """SHA-256 of tensors with their names, types and shapes, and of a text."""
    total = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        total.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        total.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return total.hexdigest()
