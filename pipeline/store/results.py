"""Results of a run as labelled arrays: expression masks and the 200 um grid, read when they are computed.

Scripts read runs through this module and stages do not, so that a change here recomputes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError, MissingResultError
from pipeline.core.model import Float32, Grid, UInt8
from pipeline.store.arrays import AGAIN, DOCUMENT, read_array, read_document
from pipeline.store.bundle import read_attributes
from pipeline.store.masks import level_axes_um, read_level
from pipeline.store.run import NO_DATA, RunFolder
from pipeline.system.lazy import LazyModule
from pipeline.system.seals import Seals, first_damaged

if TYPE_CHECKING:
    import dask.array as da
    import xarray as xr
else:
    da = LazyModule("dask.array")
    xr = LazyModule("xarray")

Blocks = tuple[tuple[int, ...], ...]  # lengths of the blocks along each axis

BLOCK_PX = 2048  # side of a block of a mask: 4 MB in memory, and a whole number of stored chunks
GRID = "grid.zarr"
AXES = {  # of the grid: dimension, and what its coordinates say
    "p": "position along P, anterior to posterior",
    "i": "position along I, superior to inferior",
    "r": "position along R, left to right",
}
DARKNESS = "grey level, 0 to 255, larger = darker"
PIXELS, SUMMED = "px of the manifest's frame", "grey level x px"
QUANTITIES = {  # arrays of the grid, and what is said of each
    "density": {"long_name": "expressing pixels over all pixels", "units": "1"},
    "intensity": {"long_name": "mean darkness of expressing pixels", "units": DARKNESS},
    "energy": {"long_name": "density x intensity", "units": DARKNESS},
    "sum_pixels": {"long_name": "pixels", "units": PIXELS},
    "sum_expressing_pixels": {"long_name": "expressing pixels", "units": PIXELS},
    "sum_expressing_pixel_intensity": {"long_name": "darkness of expressing pixels, summed", "units": SUMMED},
    "sum_pixel_intensity": {"long_name": "darkness of all pixels, summed", "units": SUMMED},
}


@dataclass(frozen=True)
class RunResults(RunFolder):
    """Folder of one run, with its masks and its grid as lazily read arrays.

    What an array holds is read when it is computed, each block by itself, and is held against the digests
    that the run wrote down. A file that was lost or changed is an error then, never zeros.

    Attributes
    ----------
    path : Path
        The folder.
    """

    def expression(self, section_number: int, level: int = 0) -> xr.DataArray:
        """Return the expression mask of a section without reading its pixels.

        Parameters
        ----------
        section_number : int
            Section.
        level : int
            Level of the pyramid; 0 is the finest, each next one takes the maximum of 2 x 2 pixels.

        Returns
        -------
        (y, x) DataArray of uint8
            Over a dask array: darkness 1-255 where a pixel expresses, else 0. The coordinates `y_um` and
            `x_um` are pixel centres in um, from the centre of the section's first full-resolution pixel on.
            Attributes: `units`, `section_number`, `level`, `pixel_size_um` of this level, and, once the run
            is summarised, `section_data_set_id`, `gene`, `reference_space_id`, `reference` and
            `manifest_pixel_um`. A position divided by the last is a pixel of the manifest's frame, as
            `image_to_reference` takes it. What is not known is left out.

        Raises
        ------
        MissingResultError
            Where there is no such mask or level.
        DataError
            Where its metadata is damaged; when computed, where its pixels are.
        """
        name = f"expression.zarr/{section_number}"
        pixel_um, y_um, x_um = level_axes_um(self._whole(name, DOCUMENT), level)
        stored = self._stored(f"{name}/{level}")
        blocks = tuple(_blocks(len(axis)) for axis in (y_um, x_um))
        about = {
            "long_name": "expression mask",
            "units": "grey level, 0 = not expressing",
            "section_number": section_number,
            "level": level,
            "pixel_size_um": pixel_um,
            **self._about(),
            **self._about_section(section_number),
        }
        unit = {"units": "um", "long_name": "pixel centres from that of the first full-resolution pixel"}
        mask = xr.DataArray(
            _lazy(_read_mask, stored, blocks, np.uint8),
            dims=("y", "x"),
            coords={"y_um": ("y", y_um, unit), "x_um": ("x", x_um, unit)},
            name="expression",
            attrs=about,
        )
        return mask.set_xindex("y_um").set_xindex("x_um")  # for .sel(x_um=...)

    def grid(self) -> xr.Dataset:
        """Return the 200 um grid of the run without reading its voxels.

        Returns
        -------
        (p, i, r) Dataset of float32
            Over dask arrays: `density`, `intensity`, `energy` and the four sums, NaN where there is no data,
            and `covered`, true where there is. The coordinates `p`, `i`, `r` are um of the reference space.
            Attributes: `voxel_size_um`, and, once the run is summarised, `section_data_set_id`, `gene`,
            `reference_space_id` and `reference`. What is not known is left out.

        Raises
        ------
        MissingResultError
            Where there is no grid.
        DataError
            Where its metadata is damaged; when computed, where its voxels are.
        """
        lattice = _lattice(self._whole(GRID, DOCUMENT))
        blocks = tuple((n,) for n in lattice.shape)
        voxels = {
            name: (
                tuple(AXES),
                _lazy(_read_voxels, self._stored(f"{GRID}/{name}"), blocks, np.float32),
                about,
            )
            for name, about in QUANTITIES.items()
        }
        covered = tuple(AXES), ~da.isnan(voxels["sum_pixels"][1]), {"long_name": "voxels with data"}
        axes = zip(AXES.items(), lattice.axes_um(), strict=True)
        return xr.Dataset(
            {**voxels, "covered": covered},
            coords={dim: (dim, um, {"units": "um", "long_name": words}) for (dim, words), um in axes},
            attrs={"voxel_size_um": lattice.spacing_um, **self._about()},
        )

    def _stored(self, name: str) -> StoredArray:
        return StoredArray(RunFolder(self.path), name, self.seals(name))

    def _about(self) -> dict[str, Any]:
        """Return which experiment and reference the results are of, as far as the run knows them."""
        described, reference = self._documents
        known = {
            "section_data_set_id": described.get("id"),
            "gene": described.get("gene"),
            "reference_space_id": described.get("reference_space_id"),
            "reference": reference.get("name"),
        }
        return {name: value for name, value in known.items() if value is not None}

    def _about_section(self, section_number: int) -> dict[str, Any]:
        images = self._documents[0].get("section_images", ())
        found = [one["resolution_um"] for one in images if one["section_number"] == section_number]
        return {"manifest_pixel_um": found[0]} if found else {}

    @cached_property
    def _documents(self) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        """Data set and reference of the run; empty where the last run has not summarised it.

        Kept, since the first has some megabytes of JSON for many sections.
        """
        try:
            described = self.read_document("section_data_set.json")
            return described, self.read_document("provenance.json").get("reference") or {}
        except MissingResultError:
            return {}, {}


@dataclass(frozen=True)
class StoredArray:
    """An array in a run folder, and the digests of its files when it was opened.

    Attributes
    ----------
    run : RunFolder
        The run.
    name : str
        Path inside the run folder.
    seals : mapping of [int, str]
        Size and digest of each of its files; empty where the run keeps none.
    """

    run: RunFolder
    name: str
    seals: Seals

    def whole(self) -> Path:
        """Return the path of the array after checking that its files are those that were opened.

        Returns
        -------
        Path
            The path.

        Raises
        ------
        MissingResultError, DataError
            Where a file is lost or changed, as `RunFolder.require`, or where the run made it anew.
        """
        if not all(_is_sealed(self.run.path, file, known) for file, known in self.seals.items()):
            found = self.run.require(self.name)
            raise DataError(f"{found}: was made anew since it was opened; open the run again")
        return self.run.file(self.name)


def _is_sealed(folder: Path, file: str, known: Sequence[int | str]) -> bool:
    """Tell whether a file is as sealed, by its digest where it was not looked at in its present state."""
    try:
        stat = (folder / file).stat()
    except OSError:
        return False
    return _is_sealed_now(folder, file, tuple(known), (stat.st_ino, stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=4096)
def _is_sealed_now(folder: Path, file: str, known: tuple[int | str, ...], state: tuple[int, ...]) -> bool:
    """Take the digest of a file once for all blocks; `state` is what tells that the file has changed."""
    return not first_damaged(folder, {file: known})


def _lazy(
    read: Callable[..., npt.NDArray[Any]],
    stored: StoredArray,
    blocks: tuple[tuple[int, ...], ...],
    dtype: Any,
) -> Any:
    """Return a dask array of the given blocks; each is read from `stored` when it is computed."""
    nothing = np.empty((0,) * len(blocks), dtype)
    return da.map_blocks(read, stored, chunks=blocks, dtype=dtype, meta=nothing)


def _read_mask(stored: StoredArray, block_info: Any) -> UInt8:
    rows, columns = (slice(*ends) for ends in block_info[None]["array-location"])
    place = stored.whole()
    return read_level(place.parent, int(place.name), (rows, columns))


def _read_voxels(stored: StoredArray) -> Float32:
    voxels = read_array(stored.whole())[0]
    return np.where(voxels == NO_DATA, np.float32(np.nan), voxels)


def _blocks(length: int) -> tuple[int, ...]:
    """Return how an axis is cut into blocks.

    >>> _blocks(4100), _blocks(2048)
    ((2048, 2048, 4), (2048,))
    """
    return tuple(min(BLOCK_PX, length - start) for start in range(0, length, BLOCK_PX))


def _lattice(folder: Path) -> Grid:
    """Return where the voxels of a stored grid lie; DataError where it does not say, or lacks an array."""
    attributes = read_attributes(folder)
    lost = [name for name in QUANTITIES if not (folder / name / DOCUMENT).exists()]
    if lost:
        raise DataError(f"{folder}: expected the array {lost[0]}, got none; {AGAIN}")
    documents = [read_document(folder / name) for name in QUANTITIES]
    try:
        ((p, i, r),) = {tuple(each["shape"]) for each in documents}
        return Grid((p, i, r), float(attributes["spacing_um"]), tuple(attributes["origin_um"]))
    except (LookupError, TypeError, ValueError):
        raise DataError(
            f"{folder}: expected arrays of one shape (P, I, R) with spacing_um and origin_um; {AGAIN}"
        ) from None
