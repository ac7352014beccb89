"""One section image or mask that is open: what of it is ready, and how the rest is made.

Three things can lie ready. Tiles of the file itself, where it is an upright TIFF of JPEG tiles; they serve
down to a quarter of the coarsest level of the file. An overview in memory, decoded at an eighth of the size,
for everything coarser; a small image is in memory as a whole. A pyramid for what neither has.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from pipeline.core.blocks import block_mean
from pipeline.core.errors import DataError
from pipeline.core.model import SectionImage, UInt8
from pipeline.inputs.pixels import frame_factor, load_info, load_pixels, load_reduced
from pipeline.service.images.mask_pixels import TILE_PX as MASK_TILE_PX
from pipeline.service.images.mask_pixels import MaskPixels
from pipeline.service.images.pyramid import PyramidFolder, in_memory
from pipeline.service.images.sources import TILE_PX, ArrayPixels, Layers, Pixels, Size
from pipeline.service.images.tile_files import TiledFile, open_tiles

WHOLE_PX = 2**20  # stored pixels up to which an image is held in memory as a whole
OVERVIEW = 8  # reduction of the overview of a larger one: the smallest that JPEG decodes directly
FAR = 4  # times the scale of the coarsest level of a file up to which its tiles are reduced at each request
TILES_PX = (128, 1024)  # sides of stored tiles that are handed out


@dataclass(eq=False)
class OpenMask:
    """A mask that is open; all of its levels are stored.

    Attributes
    ----------
    pixels : MaskPixels
        The mask.
    """

    pixels: MaskPixels
    tile: Size = (MASK_TILE_PX, MASK_TILE_PX)
    failed: DataError | None = None
    nbytes: int = 0

    @property
    def size(self) -> Size:
        """Width and height of the frame, px."""
        return self.pixels.size

    def view(self, step: float) -> Pixels:
        """Return the mask; it serves every reduction.

        Parameters
        ----------
        step : float
            Pixels of the frame for each output pixel.

        Returns
        -------
        Pixels
            The mask.
        """
        return self.pixels


@dataclass(eq=False)
class OpenImage:
    """A section image that is open.

    Attributes
    ----------
    image : SectionImage
        The section.
    size, stored : (int, int), px
        Width and height of the frame and of the file.
    factor : int
        Pixels of the frame along each side of a stored pixel.
    native : TiledFile or None
        Tiles of the file itself.
    pyramid, overview : Pixels or None
        What was made so far.
    failed : DataError or None
        Why the file cannot be decoded, so that it is not tried again.
    anonymous_bytes : int
        Size of a pyramid that no folder holds.
    """

    image: SectionImage
    size: Size
    stored: Size
    factor: int
    native: TiledFile | None
    pyramid: Pixels | None = None
    overview: ArrayPixels | None = None
    failed: DataError | None = None
    anonymous_bytes: int = 0
    touched_s: float = field(default_factory=time.monotonic)

    @property
    def nbytes(self) -> int:
        """Memory that is held, bytes."""
        return self.anonymous_bytes + (self.overview.nbytes if self.overview else 0)

    @property
    def tile(self) -> Size:
        """Width and height of its tiles."""
        if self.native is None:
            return TILE_PX, TILE_PX
        return self.native.levels[0].tile_width, self.native.levels[0].tile_height

    @property
    def coarsest(self) -> int:
        """Scale of the coarsest level that the file itself has."""
        return self.native.levels[-1].scale if self.native else self.factor

    @property
    def overview_scale(self) -> int:
        """Scale of the overview, made or not."""
        small = self.stored[0] * self.stored[1] <= WHOLE_PX
        return self.factor if small else OVERVIEW * self.coarsest

    def view(self, step: float) -> Pixels | None:
        """Return what serves a reduction well, where it lies ready.

        Parameters
        ----------
        step : float
            Pixels of the frame for each output pixel.

        Returns
        -------
        Pixels or None
            The pyramid, the tiles of the file, or the overview; None where it has to be made.
        """
        if self.pyramid is not None:
            return self.pyramid
        if self.native is not None and self._near(step):
            return self.native
        return self.overview if self.overview is not None and self._in_overview(step) else None

    def make(self, step: float, folder: PyramidFolder, key: str) -> Callable[[], None]:
        """Make what serves a reduction; to be called where waiting is allowed.

        Parameters
        ----------
        step : float
            Pixels of the frame for each output pixel.
        folder : PyramidFolder
            Where pyramids lie.
        key : str
            Name of the pyramid of this image.

        Returns
        -------
        callable
            Puts it in place; to be called where no request is answered meanwhile.

        Raises
        ------
        DataError
            Where the file is damaged.
        """
        if self._in_overview(step):
            reduced = load_reduced(self.image, self.overview_scale // self.factor)
            overview = ArrayPixels(reduced, self.size, self.overview_scale)
            return lambda: setattr(self, "overview", overview)
        pyramid, anonymous = self._pyramid(folder, key)

        def put() -> None:
            self.pyramid, self.anonymous_bytes, self.overview = pyramid, anonymous, None

        return put

    def find(self, folder: PyramidFolder, key: str) -> None:
        """Take the pyramid of an earlier time, where there is one.

        Parameters
        ----------
        folder : PyramidFolder
            Where pyramids lie.
        key : str
            Name of the pyramid of this image.
        """
        stream = folder.find(key)
        if stream is not None:
            with stream:
                self.pyramid = self._opened(stream)
            if self.pyramid is None:
                folder.forget(key)

    def _near(self, step: float) -> bool:
        """Tell whether the tiles of the file serve a reduction: a few of them make one of an answer."""
        coarse = self.native.levels[-1] if self.native else None
        shallow = coarse is not None and max(coarse.width, coarse.height) > FAR * TILE_PX
        return step < FAR * self.coarsest or not shallow

    def _in_overview(self, step: float) -> bool:
        return step >= self.overview_scale * (1 - 1e-9) or self.overview_scale == self.factor

    def _pyramid(self, folder: PyramidFolder, key: str) -> tuple[Pixels, int]:
        """Return the pyramid, and the bytes that it takes where no folder holds it."""
        for _ in range(2):
            with folder.make(key, self._load, self.tile) as stream:
                found, status = self._opened(stream), os.fstat(stream.fileno())
            if found is not None:
                return found, 0 if status.st_nlink else status.st_size
            folder.forget(key)  # torn, as by a power cut: the second is made anew
        with in_memory(self._load(), self.tile) as stream:
            found, status = self._opened(stream), os.fstat(stream.fileno())
        if found is None:
            raise DataError(f"{self.image.path}: expected an image, got one that cannot be reduced")
        return found, status.st_size

    def _opened(self, stream: IO[bytes]) -> Pixels | None:
        """Return an open pyramid with the levels of the file itself above it; None where it is damaged."""
        scale = self.factor if self.native is None else 2 * self.coarsest
        try:
            pyramid = open_tiles(Path(f"pyramid of {self.image.path}"), stream, self.size, scale)
            if pyramid is None:
                return None
            pyramid.check_whole()
        except DataError:
            return None
        if self.native is None:
            return pyramid
        above: list[tuple[Pixels, int]] = [(self.native, i) for i in range(len(self.native.levels))]
        return Layers(self.size, [*above, *((pyramid, i) for i in range(len(pyramid.levels)))])

    def _load(self) -> UInt8:
        """Return the pixels of the finest level of the pyramid."""
        if self.native is None:
            return load_pixels(self.image)
        last = len(self.native.levels) - 1
        level = self.native.levels[last]
        return block_mean(self.native.read(last, slice(0, level.height), slice(0, level.width)), 2)


def open_image(image: SectionImage) -> OpenImage:
    """Open a section image: read its header and, of a tiled TIFF, where its tiles lie.

    Parameters
    ----------
    image : SectionImage
        The section; where its size is not known, the frame is that of the file.

    Returns
    -------
    OpenImage
        Nothing of it is decoded.

    Raises
    ------
    DataError
        Where the file is damaged, or its size is not the section's, halved some times.
    """
    info = load_info(image)
    stored = info.width_px, info.height_px
    known = bool(image.width_px and image.height_px)
    factor = frame_factor(image, info) if known else 1
    size = (image.width_px, image.height_px) if known else stored
    native = None
    if info.format == "TIFF" and image.path is not None:
        native = _native(image.path, size, factor)
        if native is not None and not _handy(native):
            native = None
    return OpenImage(image, size, stored, factor, native)


def _native(path: Path, size: Size, factor: int) -> TiledFile | None:
    try:
        with path.open("rb") as stream:
            return open_tiles(path, stream, size, factor)
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror or error}") from error


def _handy(file: TiledFile) -> bool:
    """Tell whether tiles have a size that viewers can ask for, the same at all levels."""
    sizes = {(level.tile_width, level.tile_height) for level in file.levels}
    return len(sizes) == 1 and all(TILES_PX[0] <= side <= TILES_PX[1] for size in sizes for side in size)
