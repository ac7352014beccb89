"""Official references: the registry, downloads, and the record of their origin.

A file must have the checksum of the registry where it states one. For other files, the checksum of the first
download is recorded in SOURCE.json, and every later download must match it.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tomllib
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal
from urllib.parse import urlsplit

from platformdirs import user_cache_path

from pipeline.core.did_you_mean import hint
from pipeline.core.errors import ConfigError, DataError
from pipeline.core.package import CHECKOUT, PACKAGE
from pipeline.formats.volumes.reference_folder import read_ontology
from pipeline.inputs.fetch.http import SILENT, USUAL, Patience, Progress, download
from pipeline.system.files import read_json_value
from pipeline.system.whole_files import beside, replacing, sweep

SOURCE = "SOURCE.json"
REGISTRIES = (
    PACKAGE / "references.toml",  # of an installed package
    CHECKOUT / "data" / "references.toml",  # of a checkout
)

Checked = Literal["registry", "first download"]


@dataclass(frozen=True)
class Collection:
    """Files of one origin that show one brain, with their terms of use.

    Attributes
    ----------
    name : str
        Name in the registry, and of the default folder.
    title : str
        Full title.
    citation : str
        How to cite it.
    terms : str
        Terms of use.
    """

    name: str
    title: str
    citation: str
    terms: str


@dataclass(frozen=True)
class SourceFile:
    """A file on a server.

    Attributes
    ----------
    name : str
        File name.
    url : str
        Its official address.
    sha256 : str or None
        Checksum; None where the registry states none.
    members : tuple of str
        Members to keep of an archive; empty for a plain file.
    """

    name: str
    url: str
    sha256: str | None = None
    members: tuple[str, ...] = ()

    @property
    def kept(self) -> tuple[str, ...]:
        """Names of the files that stay in the folder."""
        return self.members or (self.name,)


@dataclass(frozen=True)
class Reference:
    """A set of files that makes a reference folder, or adds to one.

    Attributes
    ----------
    name : str
        Name in the registry.
    about : str
        Description, one line.
    collection : Collection
        Origin and terms.
    files : tuple of SourceFile
        Its files.
    """

    name: str
    about: str
    collection: Collection
    files: tuple[SourceFile, ...]


@dataclass(frozen=True)
class Fetched:
    """A file that is in the folder now.

    Attributes
    ----------
    path : Path
        The file.
    url : str
        Where it came from.
    sha256 : str
        Its checksum.
    download_sha256 : str
        Checksum of the download: of the archive where the file came in one.
    checked : str
        What the checksum of the download was compared with: "registry" or "first download".
    was_there : bool
        Whether it was there before this fetch.
    """

    path: Path
    url: str
    sha256: str
    download_sha256: str
    checked: Checked
    was_there: bool = False


@cache
def registry() -> Mapping[str, Reference]:
    """Return every known reference by name."""
    found = next((path for path in REGISTRIES if path.is_file()), None)
    if found is None:
        raise DataError(f"{REGISTRIES[0]}: expected the registry of references, got no such file; reinstall")
    document = tomllib.loads(found.read_text(encoding="utf-8"))
    collections = {name: Collection(name=name, **row) for name, row in document["collections"].items()}
    files = {
        name: SourceFile(name, row["url"], row.get("sha256"), tuple(row.get("members", ())))
        for name, row in document["files"].items()
    }
    return {
        name: Reference(
            name, row["about"], collections[row["collection"]], tuple(files[n] for n in row["files"])
        )
        for name, row in document["references"].items()
    }


def find_reference(name: str) -> Reference:
    """Return a reference by name.

    Parameters
    ----------
    name : str
        Name in the registry.

    Returns
    -------
    Reference
        The reference.

    Raises
    ------
    ConfigError
        Where there is none of that name; the message suggests the nearest.
    """
    known = registry()
    if name not in known:
        raise ConfigError(f"reference {name}: not in the registry; {hint(name, known)}")
    return known[name]


def default_directory(reference: Reference) -> Path:
    """Return the default folder of a reference; references of one collection share it.

    Parameters
    ----------
    reference : Reference
        The reference.

    Returns
    -------
    Path
        A folder in the user's cache.
    """
    return user_cache_path("ish-pipeline") / reference.collection.name


def fetch(
    reference: Reference,
    directory: Path,
    base_url: str | None = None,
    progress: Progress = SILENT,
    listener: Callable[[str], None] = lambda url: None,
    patience: Patience = USUAL,
) -> list[Fetched]:
    """Fetch the files of a reference into a folder, each complete or not at all; existing files stay.

    Parameters
    ----------
    reference : Reference
        The reference.
    directory : Path
        Destination, which is created where there is none.
    base_url : str, optional
        A mirror, http://host[:port][/folder], in place of the official servers.
    progress : Progress
        Told how far each file is.
    listener : callable
        Receives each URL before it is requested.
    patience : Patience
        Retries and waiting times.

    Returns
    -------
    list of Fetched
        All files, including those that were there already.

    Raises
    ------
    ConfigError
        Where the folder cannot be written or the URL is not valid.
    DataError
        Where the server does not answer or sends other bytes than expected, or the folder holds another
        collection or changed files.
    """
    _check_base(base_url)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        sweep(directory)
    except OSError as error:
        raise ConfigError(
            f"--directory {directory}: expected a folder to write in, got: {error.strerror}"
        ) from None
    source = _source(directory, reference)
    found: list[Fetched] = []
    for file in reference.files:
        there = _there(directory, file, source["files"])
        if there is None:
            url = _url(file, base_url)
            listener(url)
            get = partial(download, url, patience=patience, progress=progress)
            there = _download(directory, file, url, source["files"], get)
        found += there
        _record(directory, source, there)
    return found


def source_of(directory: Path) -> dict[str, Any] | None:
    """Return the recorded origin of a folder's files.

    Parameters
    ----------
    directory : Path
        The folder.

    Returns
    -------
    dict or None
        Content of SOURCE.json; None where there is none.

    Raises
    ------
    DataError
        Where the record cannot be read.
    """
    path = directory / SOURCE
    if not os.path.lexists(path):
        return None
    try:
        document = read_json_value(path, "the origin of files")
    except DataError as error:
        raise DataError(f"{error}; remove it") from None
    files = document.get("files") if isinstance(document, dict) else None
    if not isinstance(files, dict) or not all(isinstance(entry, dict) for entry in files.values()):
        raise DataError(f"{path}: expected the origin of files, got something else; remove it")
    return dict(document)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_base(base_url: str | None) -> None:
    if base_url is not None and (urlsplit(base_url).scheme not in ("http", "https") or not _host(base_url)):
        raise ConfigError(f"--base-url {base_url}: expected http://host or https://host")


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def _url(file: SourceFile, base_url: str | None) -> str:
    return file.url if base_url is None else base_url.rstrip("/") + urlsplit(file.url).path


def _source(directory: Path, reference: Reference) -> dict[str, Any]:
    """Return the record to be written to SOURCE.json; DataError where the folder holds another collection."""
    collection = reference.collection
    fresh = {
        "collection": collection.name,
        "title": collection.title,
        "citation": collection.citation,
        "terms": collection.terms,
        "files": {},
    }
    there = source_of(directory)
    if there is None:
        return fresh
    if there.get("collection") != collection.name:
        raise DataError(
            f"{directory}: holds {there.get('collection')}, expected {collection.name} or nothing;"
            " choose another --directory"
        )
    return {**fresh, "files": there["files"]}


def _there(directory: Path, file: SourceFile, known: Mapping[str, Any]) -> list[Fetched] | None:
    """Return the files where all are there and unchanged; None where one is missing."""
    if not all((directory / name).exists() for name in file.kept):
        return None
    found = []
    for name in file.kept:
        path, recorded = directory / name, known.get(name, {})
        expected = recorded.get("sha256") or (None if file.members else file.sha256)
        if expected is None:
            raise DataError(f"{path}: is there, but not fetched; move it away or choose another --directory")
        if sha256_of(path) != expected:
            raise DataError(f"{path}: expected sha256 {expected}, got another; remove it to fetch it again")
        download, checked = recorded.get("download_sha256", expected), recorded.get("checked", "registry")
        found.append(
            Fetched(path, recorded.get("url", file.url), expected, download, checked, was_there=True)
        )
    return found


def _download(
    directory: Path,
    file: SourceFile,
    url: str,
    known: Mapping[str, Any],
    get: Callable[[BinaryIO], None],
) -> list[Fetched]:
    """Download a file to a temporary folder, check it, and move what is kept of it into place."""
    expected = file.sha256 or known.get(file.kept[0], {}).get("download_sha256")
    checked: Checked = "registry" if file.sha256 else "first download"
    with _workplace(directory) as work:
        path = work / file.name
        with path.open("w+b") as stream:
            get(stream)
        digest = sha256_of(path)
        if expected not in (None, digest):
            raise DataError(
                f"{url}: expected a file with sha256 {expected}, got another; nothing was kept: try again"
                " later"
            )
        _unpack(path, file, url)
        found = [
            Fetched(directory / name, url, sha256_of(work / name), digest, checked) for name in file.kept
        ]
        for item in found:
            if item.path.exists() and sha256_of(item.path) != item.sha256:
                raise DataError(
                    f"{item.path}: is there, but not fetched; move it away or choose another --directory"
                )
            os.replace(work / item.path.name, item.path)
    return found


@contextmanager
def _workplace(directory: Path) -> Iterator[Path]:
    work = beside(directory / "fetch")
    try:
        work.mkdir()
        yield work
    except OSError as error:
        raise DataError(
            f"{directory}: cannot be written: {error.strerror or error}; free space? rights?"
        ) from None
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _unpack(path: Path, file: SourceFile, url: str) -> None:
    """Check that a download is what it should be; write the members of an archive beside it."""
    with path.open("rb") as stream:
        start = stream.read(40)
    if path.suffix == ".nrrd" and not start.startswith(b"NRRD"):
        raise DataError(f"{url}: expected a NRRD volume, got {start!r}; nothing was kept: try again later")
    if path.suffix == ".json":
        try:
            read_ontology(path)
        except DataError as error:
            what = str(error).removeprefix(f"{path}: ")
            raise DataError(f"{url}: {what}; nothing was kept") from None
    if file.members:
        try:
            with zipfile.ZipFile(path) as archive:
                inside = {PurePosixPath(name).name: name for name in archive.namelist()}
                for name in file.members:
                    (path.parent / name).write_bytes(archive.read(inside[name]))
        except (zipfile.BadZipFile, KeyError) as error:
            raise DataError(
                f"{url}: expected a zip with {', '.join(file.members)}, got {error}; nothing was kept"
            ) from None


def _record(directory: Path, source: dict[str, Any], fetched: Sequence[Fetched]) -> None:
    """Record the origin of files as soon as they are there."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    for item in fetched:
        if not item.was_there or item.path.name not in source["files"]:
            source["files"][item.path.name] = {
                "url": item.url,
                "sha256": item.sha256,
                "download_sha256": item.download_sha256,
                "checked": item.checked,
                "fetched": now,
            }
    with replacing(directory / SOURCE) as fresh:
        fresh.write_text(json.dumps(source, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
