"""Files of data sets that people download themselves: found in a folder, held against pinned checksums.

A pin is a line of a file `SHA256SUMS` beside the data, as `sha256sum data.npy > SHA256SUMS` writes it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from genflow.errors import InputError

__all__ = ["PINS", "Checked", "verify", "find_file"]

PINS = "SHA256SUMS"
"""The file that pins stand in."""


@dataclass(frozen=True)
class Checked:
    """A file whose checksum was computed.

    Attributes:
        path: The file.
        digest: Its SHA-256, 64 hexadecimal digits.
        pinned: Where this value is on record: a file, `the configuration`, or nowhere.
    """

    path: Path
    digest: str
    pinned: str = ""

    @property
    def remark(self) -> str:
        """What a reader should know of it."""
        if self.pinned:
            return f"{self.path.name}: SHA-256 {self.digest}, as pinned in {self.pinned}"
        return f"{self.path.name}: SHA-256 {self.digest}; none is on record, a line in {PINS} beside it would pin it"


def find_file(
    name: str, folder: str | PathLike[str] | None, files: Sequence[str], source: str, places: Sequence[str] = ("",)
) -> Path:
    """The first file that is there.

    Args:
        name: The data set.
        folder: What the user named, or `None`.
        files: Names that would do, the best first; messages name the first two.
        source: Where they come from, in words.
        places: Folders in it that are looked in.

    Raises:
        InputError: What is missing, what the folder must hold, and where it comes from.
    """
    holds = " or ".join(files[:2])
    if folder is None:
        raise InputError(f"folder: {name} is not built in; name a folder that holds {holds}, from {source}")
    home = Path(folder)
    if not home.is_dir():
        raise InputError(f"folder: {home} is no folder; {name} wants one that holds {holds}, from {source}")
    for file in files:
        for place in places:
            if (home / place / file).is_file():
                return home / place / file
    raise InputError(f"folder: {home} has no {holds}; {name} wants one of them, from {source}")


def verify(path: Path, known: Mapping[str, str] | None = None) -> Checked:
    """A file's checksum, held against the one on record.

    Args:
        path: The file.
        known: Checksums on record by the file's name; `SHA256SUMS` beside the file comes first.

    Raises:
        InputError: Another checksum is on record, or the record can't be read.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    pins = path.parent / PINS
    for origin, values in ((str(pins), _pins(pins)), ("the configuration", dict(known or {}))):
        if (wanted := values.get(path.name)) is None:
            continue
        if wanted.lower() != digest:
            raise InputError(f"{path}: SHA-256 {digest} came, {origin} has {wanted}; download the file again")
        return Checked(path, digest, origin)
    return Checked(path, digest)


def _pins(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    pins = {}
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        match = re.fullmatch(r"([0-9a-fA-F]{64}) [ *](.+)", line.rstrip())
        if match:
            pins[match[2].removeprefix("./")] = match[1]
        elif line.strip():
            raise InputError(
                f"{path}: line {number} is no checksum; 64 hexadecimal digits, two blanks, a name would do"
            )
    return pins
