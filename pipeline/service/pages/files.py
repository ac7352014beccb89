"""The files of the pages: read once, hashed, packed once."""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

STATIC = Path(__file__).parent / "static"
MEDIA = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
OF_OTHERS = "vendor"  # folder of files that are sent byte for byte
MARGINS = re.compile(rb"^[ \t]+(?://.*)?|^//.*", re.MULTILINE)  # indents, and lines that are comments


@dataclass(frozen=True, eq=False)
class PageFile:
    """One file of the pages.

    Attributes
    ----------
    content, packed : bytes
        The file, and the same as gzip.
    media : str
        Media type.
    tag : str
        ETag.
    """

    content: bytes
    packed: bytes
    media: str
    tag: str


def read_files(folder: Path = STATIC) -> Mapping[str, PageFile]:
    """Read all files of the pages.

    Parameters
    ----------
    folder : Path
        Their folder.

    Returns
    -------
    mapping of str to PageFile
        By path below the folder, with slashes. Files of other types than `MEDIA` are left out. Own modules
        and styles lose indents and lines of comment; their lines keep their numbers.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix in MEDIA and path.is_file())
    names = [path.relative_to(folder) for path in paths]
    return {
        name.as_posix(): _read(path, slim=OF_OTHERS not in name.parts and path.suffix in (".js", ".css"))
        for name, path in zip(names, paths, strict=True)
    }


def digest_of(files: Mapping[str, PageFile]) -> str:
    """Return a word that changes whenever any of the files does; it is part of their addresses.

    Parameters
    ----------
    files : mapping of str to PageFile
        As of `read_files`.

    Returns
    -------
    str
        12 hexadecimal digits.
    """
    text = "\n".join(f"{name} {one.tag}" for name, one in files.items())
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _read(path: Path, *, slim: bool) -> PageFile:
    content = path.read_bytes()
    if slim:
        content = MARGINS.sub(b"", content)
    tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
    return PageFile(content, gzip.compress(content, 9, mtime=0), MEDIA[path.suffix], tag)
