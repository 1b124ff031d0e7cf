"""Files that are compressed: gzip, bzip2, xz and zip."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from pathlib import Path

from genflow.errors import InputError

__all__ = ["PACKED", "unpack"]

PACKED = (".gz", ".bz2", ".xz", ".zip")
"""Endings of compressed files."""
_UNPACK = {".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}


def unpack(path: Path, endings: tuple[str, ...]) -> tuple[bytes, str, str]:
    """What a file holds, the ending that says of what kind it is, and a remark on which of several it is.

    Args:
        path: The file, compressed or not.
        endings: Those of tables. In a zip file the first file with one of them is taken.

    Raises:
        InputError: It is damaged, or holds no table.
    """
    ending = path.suffix.lower()
    if ending not in PACKED:
        return path.read_bytes(), ending, ""
    try:
        if ending == ".zip":
            return _member(path, endings)
        return _UNPACK[ending](path.read_bytes()), Path(path.stem).suffix.lower() or ".csv", ""
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: it can't be read as a {ending} file ({error})") from None


def _member(path: Path, endings: tuple[str, ...]) -> tuple[bytes, str, str]:
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir() and "__MACOSX" not in info.filename]
        tables = [name for name in names if Path(name).suffix.lower() in endings]
        if not tables and len(names) == 1:
            tables = names
        if not tables:
            raise InputError(f"{path}: no table is in it, but {', '.join(names[:4]) or 'nothing'}")
        remark = f"{tables[0]} of {len(tables)} tables in {path.name} is read" if len(tables) > 1 else ""
        try:
            content = archive.read(tables[0])
        except RuntimeError as error:  # a password
            raise InputError(f"{path}: {tables[0]} can't be read ({error})") from None
        return content, Path(tables[0]).suffix.lower() or ".csv", remark
