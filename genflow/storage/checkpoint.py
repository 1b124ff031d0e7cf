"""Models as files: weights in safetensors, structure in JSON, written whole or not at all. No code is executed on load.

A folder holds two files. `model.json`:

    format      the number of the format
    genflow     the version that wrote it
    model       the model: its class and all of its arguments, typed or not; see `genflow.storage.components`
    checksums   SHA-256 of the structure and of the file of the weights

and `model.safetensors`, the `state_dict`. Format 1 had the arguments that were typed only, and no checksums; what it
left out means what it meant when it was written, see `genflow.storage.format1`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from os import PathLike
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from torch import Tensor, nn

from genflow.errors import InputError, SolverError
from genflow.storage import atomic, documents, tensors
from genflow.storage.bounds import Bounds, TooLong
from genflow.storage.components import check_names, construct, describe, is_own, names_in, trusted
from genflow.storage.format1 import complete

__all__ = ["FORMAT", "build", "load", "save", "write_model", "write_structure"]

FORMAT = 2
"""Number of the format; a newer one is refused, an older one stays readable."""

_STRUCTURE = "model.json"
_WEIGHTS = "model.safetensors"
_TIMES, _SPARE = 10, 16 << 20  # a model may ask for so many times the bytes of its weights, and so many more
_OPERATIONS = 10_000  # and 100 for each of its tensors, to be built; on a trial, so many times more


class _Checksums(TypedDict):
    model: str
    weights: str


class _Document(TypedDict):
    format: int
    model: Any
    genflow: NotRequired[str]
    checksums: NotRequired[_Checksums]


def save(model: nn.Module, path: str | PathLike[str]) -> None:
    """Writes a model to a new folder: `model.json` and `model.safetensors`.

    Args:
        model: A model made of components.
        path: The folder; it must not exist.

    Raises:
        InputError: The folder exists, or a part is not a component.
        WriteError: The disk is full; nothing is left.
    """
    structure = describe(model)
    with atomic.folder(path) as folder:
        write_model(model, folder, structure)


def write_model(model: nn.Module, folder: Path, structure: Any = None) -> None:
    """Writes a model into a folder that exists."""
    structure = describe(model) if structure is None else structure
    _write_structure(structure, folder, tensors.write(folder / _WEIGHTS, model.state_dict()))


def write_structure(model: nn.Module, folder: Path) -> None:
    """Writes the structure of a model anew beside its weights, which are there and stay: what is said of it changed."""
    _write_structure(describe(model), folder, tensors.checksum(folder / _WEIGHTS))


def _write_structure(structure: Any, folder: Path, weights: str) -> None:
    from genflow.version import __version__

    checksums = {"model": _digest(structure), "weights": weights}
    document = {"format": FORMAT, "genflow": __version__, "model": structure, "checksums": checksums}
    atomic.write(folder / _STRUCTURE, (json.dumps(document, indent=1) + "\n").encode())


def load(path: str | PathLike[str], trust: str | Sequence[str] = ()) -> Any:
    """Reads a model that `save` wrote.

    Only components of genflow itself and of installed entry points are built; a checkpoint can't make it import, let
    alone run, anything else. What it asks for is held against its weights before any memory is taken for it.

    Args:
        path: The folder.
        trust: A further component that may be imported, as `module:Name`, or `file.py:Name`, the module's file in any
            folder; or several.

    Raises:
        InputError: No checkpoint there, a damaged one, one of a newer format, or one that names a foreign class.
    """
    folder, trust = Path(path), trusted([trust] if isinstance(trust, str) else trust)
    if not (folder / _STRUCTURE).is_file():
        raise InputError(f"{folder}: no model there ({_STRUCTURE} is missing); name a folder that fit or save wrote")
    document = documents.read(folder / _STRUCTURE, _Document)
    number, structure = document["format"], document["model"]
    if not 1 <= number <= FORMAT:
        raise InputError(f"{folder}: format {number} came, this version reads 1 to {FORMAT}; install a newer genflow")
    if number > 1 and "checksums" not in document:
        raise InputError(f"{folder / _STRUCTURE}: damaged, checksums is missing")
    check_names(structure, trust, folder)
    if number > 1 and tensors.checksum(folder / _WEIGHTS) != document["checksums"]["weights"]:
        raise InputError(f"{folder / _WEIGHTS}: missing or damaged, its checksum is another; copy the folder again")
    weights, _ = tensors.read(folder / _WEIGHTS)
    _check_finite(weights, folder / _WEIGHTS)
    model = build(structure if number > 1 else complete(structure), weights, folder, trust)
    if number == 1 or _digest(structure) != document["checksums"]["model"]:
        _try(model, structure, folder, strictly=number > 1)
    return model.requires_grad_().eval()


def build(structure: Any, weights: dict[str, Tensor], source: Any, trust: Collection[str] = ()) -> Any:
    """A model of a structure and its weights. What it asks for is held against them before it is given.

    Args:
        structure: JSON of `describe`, whose names have been checked.
        weights: Its `state_dict`.
        source: The file, for errors.
        trust: What may be imported beside genflow's own and installed components.

    Raises:
        InputError: They do not belong together, or the structure is none that can be built.
    """
    size = sum(tensor.nbytes for tensor in weights.values())
    limit = Bounds(_TIMES * size + _SPARE, _OPERATIONS + 100 * len(weights))
    # Classes from elsewhere are trusted, with what they make of their arguments.
    with limit if all(map(is_own, names_in(structure))) else nullcontext():
        model = construct(structure, trust, source)
    if not isinstance(model, nn.Module):
        raise InputError(f"{source}: damaged, a {type(model).__name__} stands where the model should")
    wanted = model.state_dict()
    for name in dict.fromkeys([*wanted, *weights]):
        shapes = [tuple(held[name].shape) if name in held else None for held in (wanted, weights)]
        kinds = [name in held and held[name].is_floating_point() for held in (wanted, weights)]
        if shapes[0] != shapes[1] or kinds[0] != kinds[1]:
            raise InputError(
                f"{source}: weights and structure do not belong together ({name} has the shape {shapes[1]}, "
                f"{shapes[0]} is wanted)".replace("None", "none")
            )
    # assign: buffers and parameters take the dtype that was saved.
    model.load_state_dict(weights, assign=True)
    return model


def _check_finite(weights: dict[str, Tensor], source: Path) -> None:
    for name, tensor in weights.items():
        if tensor.is_floating_point() and not (finite := tensor.isfinite()).all():
            raise InputError(
                f"{source}: {int((~finite).sum())} of the {tensor.numel()} numbers of {name} are not finite: "
                "the training failed, or the file is damaged"
            )


def _try(model: Any, structure: Any, source: Path, strictly: bool) -> None:
    """A sample and its density, where nothing says that the structure is what was written: it was edited, or is old.

    An old one that takes long, or that the solver gives up on, may be as it always was.
    """
    if not all(map(is_own, names_in(structure))) or not hasattr(model, "sample"):
        return
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            given = _some_condition(model)
            with Bounds(_TIMES * size + _SPARE, 30 * _OPERATIONS, each=True):
                x = model.sample((1,), **given)
                log_p = model.log_prob(x, **given) if getattr(model, "has_log_prob", True) else x
        except Exception as error:
            if not strictly and isinstance(error, SolverError | TooLong):
                return
            reason = " ".join(str(error).split())
            raise InputError(f"{source}: damaged, the model can't be used ({type(error).__name__}: {reason})") from None
    if not x.isfinite().all() or log_p.isnan().any():
        raise InputError(f"{source}: damaged, the model gives samples or densities that are not finite")


def _some_condition(model: Any) -> dict[str, Any]:
    """Some condition that a model can be asked under, by the name of the argument; nothing for a model without."""
    if (encoding := getattr(model, "encoding", None)) is not None:
        return {"condition": [encoding.example()]}
    dims = [getattr(part, "condition_dim", 0) for part in model.modules()]
    return {"condition": torch.zeros(max(dims))} if any(dims) else {}


def _digest(structure: Any) -> str:
    return hashlib.sha256(json.dumps(structure, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
