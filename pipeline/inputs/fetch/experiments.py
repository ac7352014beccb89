"""Experiments of the Allen Institute through its public API: data_set.xml, section images, served grids.

A file is complete or absent. Files that are there stay, so that an interrupted fetch resumes where it was.
SOURCE.json records URL and checksum of each file, with the terms and the citation of the collection.
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from pipeline.core.errors import ConfigError, DataError
from pipeline.core.model import SectionImage
from pipeline.formats.images.files import probe
from pipeline.formats.manifests import allen_xml
from pipeline.inputs.fetch.http import Patience, download
from pipeline.inputs.fetch.references import SOURCE, sha256_of, source_of
from pipeline.inputs.pixels import frame_factor
from pipeline.system.whole_files import beside, replacing, sweep

BASE_URL = "https://api.brain-map.org"
GRIDS = ("energy", "density", "intensity")  # volumes of the grid service
DEEPEST = 8  # halvings of an image that may be asked for
TITLE = "Allen Mouse Brain Atlas, experiment"
CITATION = (
    "Lein E.S. et al. (2007) Genome-wide atlas of gene expression in the adult mouse brain. Nature 445,"
    " 168-176. doi:10.1038/nature05453; Allen Mouse Brain Atlas, mouse.brain-map.org/experiment/show/{id}"
)
TERMS = (
    "© Allen Institute for Brain Science. Free for non-commercial research with citation; terms of use:"
    " https://alleninstitute.org/terms-of-use/"
)


@dataclass(frozen=True)
class Wanted:
    """What to fetch of an experiment, and from where.

    Attributes
    ----------
    downsample : int
        How many times images are halved by the service.
    grids : tuple of str
        Grids to fetch, of `GRIDS`.
    images : bool
        Whether to fetch section images.
    sections : frozenset of int or None
        Section numbers; None: all.
    base_url : str
        Address of the service.
    connections : int
        Number of simultaneous image downloads.
    patience : Patience
        Retries and waiting times.
    """

    downsample: int = 0
    grids: tuple[str, ...] = ("energy",)
    images: bool = True
    sections: frozenset[int] | None = None
    base_url: str = BASE_URL
    connections: int = 2
    patience: Patience = field(default_factory=Patience)


@dataclass(frozen=True)
class FetchedFile:
    """A file of an experiment that is in its folder now.

    Attributes
    ----------
    path : Path
        The file.
    url : str
        Where it came from.
    sha256 : str
        Its checksum.
    was_there : bool
        Whether it was there before this fetch.
    """

    path: Path
    url: str
    sha256: str
    was_there: bool


def fetch_experiment(
    identifier: int, folder: Path, wanted: Wanted, say: Callable[[str], None] = lambda line: None
) -> list[FetchedFile]:
    """Fetch an experiment into a folder that `ish run` accepts as a series.

    Parameters
    ----------
    identifier : int
        Id of the experiment (its SectionDataSet).
    folder : Path
        Destination, which is created where there is none.
    wanted : Wanted
        What to fetch.
    say : callable
        Receives a line for each download.

    Returns
    -------
    list of FetchedFile
        All files, including those that were there already.

    Raises
    ------
    ConfigError
        Where a URL, grid, level or section is not valid, or the folder holds something else.
    DataError
        Where the server does not answer, does not know the experiment, or sends something unexpected. Files
        that came before stay, and are not fetched again.
    """
    _check(wanted)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder)
    except OSError as error:
        raise ConfigError(f"{folder}: expected a folder to write in, got: {error.strerror}") from None
    keeper = _Keeper(identifier, folder, say)
    files = _fetch_grids(keeper, wanted)
    if wanted.images:
        images = _images_of(identifier, folder, wanted)
        with ThreadPoolExecutor(wanted.connections) as pool:
            files += list(pool.map(lambda image: _fetch_image(keeper, image, wanted), images))
    return files


def _check(wanted: Wanted) -> None:
    address = urlsplit(wanted.base_url)
    if address.scheme not in ("http", "https") or not address.hostname:
        raise ConfigError(f"--base-url {wanted.base_url}: expected http://host or https://host")
    unknown = sorted(set(wanted.grids) - set(GRIDS))
    if unknown:
        raise ConfigError(f"--grids: expected some of {', '.join(GRIDS)}, got {unknown[0]!r}")
    if not 0 <= wanted.downsample <= DEEPEST:
        raise ConfigError(f"--downsample {wanted.downsample}: expected 0 to {DEEPEST} halvings")


class _Keeper:
    """Keeps the record of a folder's files: which are there, and where each came from."""

    def __init__(self, identifier: int, folder: Path, say: Callable[[str], None]) -> None:
        self.identifier, self.folder, self.say, self._lock = identifier, folder, say, Lock()
        there = source_of(folder) or {}
        if there and there.get("experiment") != identifier:
            raise ConfigError(f"{folder}: holds another collection; choose another --directory")
        self.document: dict[str, Any] = {
            "experiment": identifier,
            "title": f"{TITLE} {identifier}",
            "citation": CITATION.format(id=identifier),
            "terms": TERMS,
            "files": dict(there.get("files", {})),
        }

    def there(self, name: str, url: str) -> FetchedFile | None:
        """Return a file that came from this URL and is unchanged; None where it must be fetched."""
        known, path = self.document["files"].get(name), self.folder / name
        if path.exists() and not known:
            raise ConfigError(
                f"{path}: is there, but not fetched; move it away or choose another --directory"
            )
        if not known or not path.is_file():
            return None
        if sha256_of(path) != known.get("sha256"):
            self.say(f"{path}: is not what was fetched; {self._put_aside(path)}fetching it again")
            return None
        return FetchedFile(path, url, known["sha256"], was_there=True) if known.get("url") == url else None

    def _put_aside(self, path: Path) -> str:
        """Rename a file that somebody may have changed; an empty one is not worth keeping."""
        if not path.stat().st_size:
            return ""
        kept = path.with_name(f"{path.name}.changed")
        if kept.exists():
            raise ConfigError(f"{kept}: is there already; move it and {path.name} away to fetch that again")
        os.replace(path, kept)
        return f"keeping it as {kept.name}, "

    def keep(self, name: str, url: str, write: Callable[[Path], object]) -> FetchedFile:
        """Write a file and, once it is complete, record its origin."""
        path = self.folder / name
        with replacing(path) as fresh:
            write(fresh)
        digest = sha256_of(path)
        with self._lock:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self.document["files"][name] = {"url": url, "sha256": digest, "fetched": now}
            with replacing(self.folder / SOURCE) as fresh:
                fresh.write_text(
                    json.dumps(self.document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
                )
        return FetchedFile(path, url, digest, was_there=False)


def _fetch_grids(keeper: _Keeper, wanted: Wanted) -> list[FetchedFile]:
    """Fetch data_set.xml and grids; without `include`, the service sends both data_set.xml and energy."""
    base = f"{wanted.base_url.rstrip('/')}/grid_data/download/{keeper.identifier}"
    energy = tuple(f"energy.{end}" for end in ("mhd", "raw")) if "energy" in wanted.grids else ()
    files = _members(keeper, base, (allen_xml.NAME, *energy), wanted)
    others = [name for name in wanted.grids if name != "energy"]
    if others:
        names = tuple(f"{name}.{end}" for name in others for end in ("mhd", "raw"))
        files += _members(keeper, f"{base}?include={','.join(others)}", names, wanted)
    return files


def _members(keeper: _Keeper, url: str, names: Sequence[str], wanted: Wanted) -> list[FetchedFile]:
    """Fetch an archive and keep some of its members."""
    there = [keeper.there(name, url) for name in names]
    if all(there):
        return [file for file in there if file]
    keeper.say(f"fetching {url}")
    packed = io.BytesIO()
    download(url, packed, wanted.patience)
    try:
        with zipfile.ZipFile(packed) as archive:
            inside = {name.rpartition("/")[2]: name for name in archive.namelist()}
            found = {name: archive.read(inside[name]) for name in names}
    except (zipfile.BadZipFile, KeyError) as error:
        raise DataError(
            f"{url}: expected a zip with {', '.join(names)}, got {_glimpse(packed, error)}; is"
            f" {keeper.identifier} a mouse ISH experiment?"
        ) from None
    if allen_xml.NAME in found:
        _check_identity(keeper, url, found[allen_xml.NAME])
    return [keeper.keep(name, url, lambda path, n=name: path.write_bytes(found[n])) for name in names]  # type: ignore[misc]


def _glimpse(packed: io.BytesIO, error: Exception) -> str:
    return f"one without {error}" if isinstance(error, KeyError) else repr(packed.getvalue()[:60])


def _check_identity(keeper: _Keeper, url: str, content: bytes) -> None:
    """Raise DataError where a data_set.xml describes another experiment."""
    probe_path = beside(keeper.folder / allen_xml.NAME)
    try:
        probe_path.write_bytes(content)
        found = allen_xml.read_data_set_xml(probe_path).data_set.id
    except DataError as error:
        raise DataError(f"{url}: {str(error).removeprefix(f'{probe_path}: ')}") from None
    finally:
        probe_path.unlink(missing_ok=True)
    if found != keeper.identifier:
        raise DataError(f"{url}: expected experiment {keeper.identifier}, got {found}")


def _images_of(identifier: int, folder: Path, wanted: Wanted) -> list[SectionImage]:
    images = allen_xml.read_data_set_xml(folder / allen_xml.NAME).data_set.section_images
    if wanted.sections is None:
        return list(images)
    absent = sorted(wanted.sections - {image.section_number for image in images})
    if absent:
        numbers = ", ".join(str(image.section_number) for image in images)
        raise ConfigError(f"--section {absent[0]}: experiment {identifier} has sections {numbers}")
    return [image for image in images if image.section_number in wanted.sections]


def _fetch_image(keeper: _Keeper, image: SectionImage, wanted: Wanted) -> FetchedFile:
    url = f"{wanted.base_url.rstrip('/')}/api/v2/image_download/{image.id}?downsample={wanted.downsample}"
    name = f"{keeper.identifier}_s{image.section_number:04d}.jpg"
    there = keeper.there(name, url)
    if there is not None:
        return there
    keeper.say(f"fetching section {image.section_number}: {url}")

    def write(path: Path) -> None:
        with path.open("w+b") as file:
            download(url, file, wanted.patience)
            _check_ends(file, url)
        factor = frame_factor(image, probe(path))
        if factor != 2**wanted.downsample:
            raise DataError(
                f"{url}: expected the image halved {wanted.downsample} times, got 1/{factor} of its size"
            )

    return keeper.keep(name, url, write)


def _check_ends(file: BinaryIO, url: str) -> None:
    """Raise DataError where a file does not begin and end as a whole JPEG does."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    start = file.read(60)
    if not start.startswith(b"\xff\xd8"):  # start-of-image marker of JPEG
        raise DataError(f"{url}: expected a JPEG, got {start!r}")
    file.seek(max(0, size - 64))
    if b"\xff\xd9" not in file.read():  # end-of-image marker; padding may follow
        raise DataError(f"{url}: expected a whole JPEG, got one that breaks off after {size} bytes")


def experiment_source(folder: Path) -> Mapping[str, Any]:
    """Return terms and citation of the experiment in a folder.

    Parameters
    ----------
    folder : Path
        Folder of the experiment.

    Returns
    -------
    mapping
        Content of SOURCE.json; empty where there is none.
    """
    return source_of(folder) or {}
