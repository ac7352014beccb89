"""The images and masks of a server: found, opened once, and made ready once however many ask."""

from __future__ import annotations

import asyncio
import hashlib
import os
import stat
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from pipeline.core.errors import DataError
from pipeline.service.content.catalogue import Catalogue, ServedSection
from pipeline.service.http.answers import RequestError
from pipeline.service.http.pool import Pool
from pipeline.service.images.mask_pixels import open_mask
from pipeline.service.images.open_images import OpenImage, OpenMask, open_image
from pipeline.service.images.pyramid import BUDGET_BYTES, PyramidFolder, pyramid_key
from pipeline.service.images.sources import Pixels
from pipeline.store.ome_images import DOCUMENTS

Opened = OpenImage | OpenMask
MASK = ":mask"  # ends the name of a section's mask
MOST_OPEN = 200  # images; each holds up to two files open, of the 1,024 that systems allow a process
MOST_BYTES = 256 * 1024**2  # overviews, and pyramids that no folder holds
TOUCH_S = 600.0  # between two notes that a pyramid is used


@dataclass(frozen=True)
class Identity:
    """What changes whenever a file does.

    Attributes
    ----------
    stamp : tuple of int
        Inode, size and time of change of every file that counts.
    modified_s : float, s
        Latest time of change since 1970.
    """

    stamp: tuple[int, ...]
    modified_s: float

    @property
    def digest(self) -> str:
        """The stamp in 20 hexadecimal digits."""
        return hashlib.sha256(repr(self.stamp).encode()).hexdigest()[:20]


@dataclass(frozen=True, eq=False)
class Subject:
    """An image or mask that a request names, as it lies on disk now.

    Attributes
    ----------
    section : ServedSection
        The section.
    is_mask : bool
        Whether its mask is meant.
    path : Path
        File or folder.
    identity : Identity
        Changes with the file.
    """

    section: ServedSection
    is_mask: bool
    path: Path
    identity: Identity

    @property
    def key(self) -> tuple[object, ...]:
        """What an open image depends on."""
        image = self.section.image
        return self.path, self.identity.stamp, image.bits, image.width_px, image.height_px, self.is_mask


class ImageStore:
    """Open images and masks; its methods are called on the event loop.

    Parameters
    ----------
    cache : Path
        Folder of the server's cache; pyramids lie in `pyramids` there.
    pool : Pool
        Threads for opening, decoding and building.
    budget_bytes : int
        Bytes that pyramids may take in the folder.
    """

    def __init__(self, cache: Path, pool: Pool, budget_bytes: int = BUDGET_BYTES) -> None:
        self.pool = pool
        self._folder = PyramidFolder(cache / "pyramids", budget_bytes)
        self._open: OrderedDict[tuple[object, ...], Opened] = OrderedDict()
        self._running: dict[object, asyncio.Future[None]] = {}
        self._building: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()

    def opened_now(self, subject: Subject) -> Opened | None:
        """Return an image that is open already.

        Parameters
        ----------
        subject : Subject
            What to look for.

        Returns
        -------
        OpenImage, OpenMask or None
            None where it has to be opened.

        Raises
        ------
        DataError
            Where it turned out to be damaged.
        """
        opened = self._open.get(subject.key)
        if opened is not None:
            self._open.move_to_end(subject.key)
            if opened.failed is not None:
                raise opened.failed
        return opened

    async def opened(self, subject: Subject) -> Opened:
        """Return an image, opened where it is not yet.

        Parameters
        ----------
        subject : Subject
            What to open.

        Returns
        -------
        OpenImage or OpenMask
            The open image.

        Raises
        ------
        DataError
            Where it is damaged.
        RequestError
            Where the server is busy.
        """
        found = self.opened_now(subject)
        if found is None:
            await self._once(("open", subject.key), lambda: self._opening(subject))
            found = self._open[subject.key]
        return found

    async def pixels(self, subject: Subject, opened: Opened, step: float) -> Pixels:
        """Return what serves a reduction of an image, made where it is not ready.

        Parameters
        ----------
        subject : Subject
            What is asked.
        opened : OpenImage or OpenMask
            The same, open.
        step : float
            Pixels of the frame for each output pixel.

        Returns
        -------
        Pixels
            Levels that suffice.

        Raises
        ------
        DataError
            Where it is damaged.
        RequestError
            Where the server is busy.
        """
        view = opened.view(step)
        while view is None and isinstance(opened, OpenImage):
            await self._once(("make", subject.key), lambda: self._making(subject, opened, step))
            view = opened.view(step)
        self._touch(subject, opened)
        return view  # type: ignore[return-value]  # a mask always has one

    def _touch(self, subject: Subject, opened: Opened) -> None:
        now = time.monotonic()
        if isinstance(opened, OpenImage) and opened.pyramid is not None and now > opened.touched_s + TOUCH_S:
            opened.touched_s = now
            self._folder.touch(_pyramid_key(subject))

    async def _once(self, key: object, start: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Await work that is under way for another request already, or begin it."""
        running = self._running.get(key)
        if running is None or running.get_loop() is not asyncio.get_running_loop():
            # In no request's context: the work goes on when the client that began it has gone.
            running = asyncio.get_running_loop().create_task(start(), context=Context())
            self._running[key] = running
            running.add_done_callback(lambda done: self._ended(key, done))
        await asyncio.shield(running)  # a client that goes away stops nobody else's work

    def _ended(self, key: object, done: asyncio.Future[None]) -> None:
        if self._running.get(key) is done:
            del self._running[key]
        if not done.cancelled():
            done.exception()  # each request that waits raises it; with none left, it is no news

    async def _opening(self, subject: Subject) -> None:
        self._open[subject.key] = await self.pool.run(self._open_subject, subject)
        while len(self._open) > MOST_OPEN:
            self._open.popitem(last=False)

    def _open_subject(self, subject: Subject) -> Opened:
        image = subject.section.image
        if subject.is_mask:
            return OpenMask(open_mask(subject.path, image))
        opened = open_image(replace(image, path=subject.path))
        opened.find(self._folder, _pyramid_key(subject))
        return opened

    async def _making(self, subject: Subject, opened: OpenImage, step: float) -> None:
        """Make an overview or a pyramid, one at a time, so that a thread is left for what is ready."""
        lock = self._building.setdefault(asyncio.get_running_loop(), asyncio.Lock())
        async with lock:
            try:
                put = await self.pool.run(opened.make, step, self._folder, _pyramid_key(subject))
            except RequestError:
                raise
            except DataError as error:
                opened.failed = error
                raise
            put()
        self._release_memory(opened)

    def _release_memory(self, newest: OpenImage) -> None:
        """Let go of what was used longest ago until the rest fits."""
        total = sum(opened.nbytes for opened in self._open.values())
        for opened in list(self._open.values()):
            if total <= MOST_BYTES:
                return
            if isinstance(opened, OpenImage) and opened is not newest:
                total -= opened.nbytes
                opened.overview = None
                if opened.anonymous_bytes:
                    opened.pyramid, opened.anonymous_bytes = None, 0


@contextmanager
def refusing(subject: Subject) -> Iterator[None]:
    """Turn the error about a damaged image into a refusal that no repetition will help.

    A damaged mask stays an error of the run: it may be written at this moment.

    Parameters
    ----------
    subject : Subject
        The image or mask that is read.

    Yields
    ------
    None
        While it is read.

    Raises
    ------
    RequestError
        With 400 where the image is damaged.
    """
    try:
        yield
    except DataError as error:
        if subject.is_mask:
            raise
        raise RequestError(f"SectionImage {subject.section.id}: {error}") from None


def find_subject(catalogue: Catalogue, name: str) -> Subject:
    """Return the image or mask of a name.

    Parameters
    ----------
    catalogue : Catalogue
        What is served.
    name : str
        Id of a SectionImage, or that with `:mask`.

    Returns
    -------
    Subject
        File and identity.

    Raises
    ------
    RequestError
        With 404 where there is no such section, image or mask, or the file is gone.
    """
    number, is_mask = name.removesuffix(MASK), name.endswith(MASK)
    if not (number.isascii() and number.isdigit() and len(number) < 20):
        raise RequestError(
            f"expected the id of a SectionImage, alone or with {MASK}, got {name[:60]!r}", status=404
        )
    return subject_of(catalogue.section(int(number)), is_mask=is_mask)


def subject_of(section: ServedSection, *, is_mask: bool) -> Subject:
    """Return the image or mask of a section.

    Parameters
    ----------
    section : ServedSection
        The section.
    is_mask : bool
        Whether its mask is meant.

    Returns
    -------
    Subject
        File and identity.

    Raises
    ------
    RequestError
        With 404 where the section has none, or the file is gone.
    """
    path = section.mask if is_mask else section.image.path
    if path is None:
        what = "no expression mask" if is_mask else "no image"
        raise RequestError(
            f"SectionImage {section.id}: section {section.image.section_number} of {section.experiment_id}"
            f" has {what}",
            status=404,
        )
    identity = identify(path)
    if identity is None:
        raise RequestError(
            f"SectionImage {section.id}: expected {path.name} in {path.parent}, where the run read it, got no"
            " such file; were the images moved? Put it back, or run again with its new place",
            status=404,
        )
    return Subject(section, is_mask, path, identity)


def identify(path: Path) -> Identity | None:
    """Return what changes whenever an image does.

    Parameters
    ----------
    path : Path
        File, or folder of an OME-Zarr image: there its documents and those of its first level count.

    Returns
    -------
    Identity or None
        None where there is no such file, or it cannot be reached.
    """
    try:
        found = [path.stat()]
    except (OSError, ValueError):
        return None
    if stat.S_ISDIR(found[0].st_mode):
        for inner in (path, path / "0"):
            for name in DOCUMENTS:
                found += _status(inner / name)
        found += _status(path / "0" / "c" / "0" / "0")
    stamp = tuple(n for one in found for n in (one.st_ino, one.st_size, one.st_mtime_ns))
    return Identity(stamp, max(one.st_mtime for one in found))


def _status(path: Path) -> list[os.stat_result]:
    try:
        return [path.stat()]
    except OSError:
        return []


def _pyramid_key(subject: Subject) -> str:
    # The size of the frame is left out: the pyramid is made of stored pixels.
    return pyramid_key(str(subject.path), subject.identity.stamp, subject.section.image.bits)
