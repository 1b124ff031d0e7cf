"""Files that are compressed: gzip, bzip2, xz and zip; and those that are of another kind than their ending says."""

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


_BEGINNINGS = {
    b"\x1f\x8b\x08": ".gz",
    b"\xfd7zXZ\0": ".xz",
    b"PK\x03\x04": ".zip",
    b"\x93NUMPY": ".npy",
    b"ARROW1\0\0": ".arrow",
    **{f"BZh{size}1AY&SY".encode(): ".bz2" for size in range(1, 10)},
}
"""What no text begins with, and the ending of such files."""


def unpack(path: Path, endings: tuple[str, ...], texts: tuple[str, ...] = ()) -> tuple[bytes, str, str]:
    """What a file holds, the ending that says of what kind it is, and a remark on what was guessed.

    Args:
        path: The file, compressed or not.
        endings: Those of tables. In a zip file the first file with one of them is taken.
        texts: Those of text. A file with one of them that is no text is what its first bytes say.

    Raises:
        InputError: It is damaged, or holds no table.
    """
    content, name, ending, remark = path.read_bytes(), path.stem, path.suffix.lower(), ""
    if ending in texts and (told := _told(content)):
        remark = f"{path.name} is no text, but a {told} file: it is read as such"
        name, ending = path.name, told
    if ending not in PACKED:
        return content, ending, remark
    try:
        if ending == ".zip":
            content, ending, which = _member(path, content, endings)
            return content, ending, "; ".join(filter(None, [remark, which]))
        return _UNPACK[ending](content), Path(name).suffix.lower() or ".csv", remark
    except (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: it can't be read as a {ending} file ({error})") from None


def _told(content: bytes) -> str:
    """The ending of what is no text, by its first bytes; '' if they say nothing."""
    found = next((ending for start, ending in _BEGINNINGS.items() if content.startswith(start)), "")
    if content[:4] == content[-4:] == b"PAR1" and len(content) > 8:
        return ".parquet"
    return ".xlsx" if found == ".zip" and b"xl/workbook.xml" in content else found


def _member(path: Path, content: bytes, endings: tuple[str, ...]) -> tuple[bytes, str, str]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
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
