"""The atlases cut from a reference: which plates each has, their ids, and where their pixels lie.

A plate is one plane of the annotation, enlarged by a whole power of two. Plate pixel (x, y) shows voxel
(x // zoom, y // zoom) of the plane; pixel centres lie at whole numbers, as voxel centres do.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.core.errors import DataError
from pipeline.core.model import UInt32
from pipeline.core.reference_space import ReferenceSpace
from pipeline.service.http.answers import RequestError

FIRST_ID = 2_100_000_000  # AtlasImage ids begin here; SectionImage ids stay below
IDS = 1_000_000  # of one atlas
PATHS = 10_000  # graphic object ids of one plate
LEAST_UM = 3.0  # a plate is enlarged by 2 as long as its pixels stay this large
TILE_PX = 256  # the coarsest tier of an image fits into this
# (axis of the normal, axis down, axis right) of (P, I, R)
AXES = {"coronal": (0, 1, 2), "sagittal": (2, 1, 0), "horizontal": (1, 0, 2)}


@dataclass(frozen=True)
class Atlas:
    """A series of plates.

    Attributes
    ----------
    id : int
        The original's id of the atlas.
    slot : int
        Place of its images among the ids, from 0.
    name : str
        The original's name.
    plane : str
        "coronal" or "sagittal".
    every_um : float, um
        Distance between plates; 0: every plane of the annotation.
    half : bool
        Whether the plates end at the midline.
    """

    id: int
    slot: int
    name: str
    plane: str
    every_um: float
    half: bool = False

    @property
    def data_set_id(self) -> int:
        """Id of the AtlasDataSet that holds the images."""
        return FIRST_ID + IDS * self.slot + IDS - 1


ATLASES: Mapping[int, Atlas] = {
    atlas.id: atlas
    for atlas in (
        Atlas(1, 0, "Mouse, P56, Coronal", "coronal", 100.0),
        Atlas(2, 1, "Mouse, P56, Sagittal", "sagittal", 200.0, half=True),
        Atlas(602630314, 2, "Mouse, Adult, 3D Coronal", "coronal", 0.0),
    )
}


@dataclass(frozen=True)
class AtlasImage:
    """One plate.

    Attributes
    ----------
    id : int
        `FIRST_ID` + 1,000,000 x slot of the atlas + plane of the annotation.
    atlas_id : int
        Atlas that it belongs to.
    plane : str
        "coronal", "sagittal" or "horizontal".
    section_number : int
        Plane of the annotation along the normal; x `thickness_um` it is the position.
    thickness_um : float, um
        Voxel size of the annotation.
    width, height : int, px
        Size.
    zoom : int
        Plate pixels per voxel along an axis.
    """

    id: int
    atlas_id: int
    plane: str
    section_number: int
    thickness_um: float
    width: int
    height: int
    zoom: int

    @property
    def position_um(self) -> float:
        """Position along the normal, um."""
        return self.section_number * self.thickness_um

    @property
    def resolution_um(self) -> float:
        """Pixel size, um."""
        return self.thickness_um / self.zoom

    @property
    def tier_count(self) -> int:
        """Number of tiers, halved until the image fits into 256 px."""
        return tier_count(self.width, self.height)

    @property
    def first_path_id(self) -> int:
        """Id of the group of its drawing; its paths have the ids that follow."""
        slot, number = divmod(self.id - FIRST_ID, IDS)
        return PATHS * (PATHS * (slot + 1) + number) if self.id >= FIRST_ID else 0


def tier_count(width: int, height: int) -> int:
    """Return how many tiers an image has in the original's count.

    Parameters
    ----------
    width, height : int, px
        Size of the full image.

    Returns
    -------
    int
        1 for an image that fits into 256 px, one more for every halving that another needs.

    Examples
    --------
    >>> tier_count(11921, 7552), tier_count(256, 100)
    (7, 1)
    """
    return max(math.ceil(math.log2(max(width, height) / TILE_PX)), 0) + 1


def atlas_images(reference: ReferenceSpace, atlas_id: int) -> tuple[AtlasImage, ...]:
    """Return the plates of an atlas, in the order of their positions.

    Parameters
    ----------
    reference : ReferenceSpace
        The reference that plates are cut from.
    atlas_id : int
        Id of an atlas.

    Returns
    -------
    tuple of AtlasImage
        For the mouse at 25 um: 132 coronal plates every 100 um, 29 sagittal ones every 200 um from the left
        side to the midline, or all 528 coronal planes. Plates without any structure are among them.

    Raises
    ------
    RequestError
        With 404 where there is no such atlas.
    """
    atlas = _atlas(atlas_id)
    step, planes = _steps(reference, atlas)
    return tuple(_plate(reference, atlas, number) for number in range(0, planes, step))


def atlas_image(reference: ReferenceSpace, atlas_image_id: int) -> AtlasImage:
    """Return a plate.

    Parameters
    ----------
    reference : ReferenceSpace
        The reference that plates are cut from.
    atlas_image_id : int
        Id of the plate.

    Returns
    -------
    AtlasImage
        The plate.

    Raises
    ------
    RequestError
        With 404 where there is no such plate; the message names some.
    """
    for atlas in ATLASES.values():
        number = atlas_image_id - FIRST_ID - IDS * atlas.slot
        step, planes = _steps(reference, atlas)
        if 0 <= number < planes and number % step == 0:
            return _plate(reference, atlas, number)
    first = [FIRST_ID + IDS * atlas.slot for atlas in ATLASES.values()]
    raise RequestError(
        f"AtlasImage {atlas_image_id}: not served here; the plates begin at"
        f" {', '.join(f'{id_} (atlas {atlas})' for id_, atlas in zip(first, ATLASES, strict=True))};"
        " model::AtlasImage lists them",
        status=404,
    )


def is_atlas_image_id(image_id: int) -> bool:
    """Tell whether an id lies in the range of AtlasImages.

    Parameters
    ----------
    image_id : int
        Id of an image.

    Returns
    -------
    bool
        True from `FIRST_ID` on.
    """
    return image_id >= FIRST_ID


def plates_of(reference: ReferenceSpace, plane: str, every_um: float) -> tuple[AtlasImage, ...]:
    """Return plates that belong to no atlas, for files.

    Parameters
    ----------
    reference : ReferenceSpace
        The reference.
    plane : str
        "coronal", "sagittal" or "horizontal".
    every_um : float, um
        Distance between plates, rounded to whole planes of the annotation; 0: every plane.

    Returns
    -------
    tuple of AtlasImage
        All plates with any structure; their ids are 0.

    Raises
    ------
    DataError
        Where the plane is not known.
    """
    if plane not in AXES:
        raise DataError(f"plates: expected a plane of {', '.join(AXES)}, got {plane!r}")
    step = max(round(every_um / reference.annotation_um), 1)
    there = annotated_planes(reference, plane)
    return tuple(
        _image(reference, plane, int(number), 0, 0) for number in range(0, len(there), step) if there[number]
    )


def plane_image(reference: ReferenceSpace, plane: str, number: int) -> AtlasImage:
    """Return one plane of the annotation as a plate of no atlas.

    Parameters
    ----------
    reference : ReferenceSpace
        The reference.
    plane : str
        "coronal", "sagittal" or "horizontal".
    number : int
        Plane along the normal.

    Returns
    -------
    AtlasImage
        Its id is 0.
    """
    return _image(reference, plane, number, 0, 0)


def plate_labels(reference: ReferenceSpace, image: AtlasImage) -> UInt32:
    """Return the plane of the annotation that a plate shows.

    Parameters
    ----------
    reference : ReferenceSpace
        The reference.
    image : AtlasImage
        The plate.

    Returns
    -------
    (H, W) uint32
        Structure ids, 0 outside; rows run inferior (horizontal plates: posterior), columns right (sagittal
        plates: posterior).
    """
    normal, down, right = AXES[image.plane]
    plane = np.moveaxis(reference.annotation, normal, 0)[image.section_number]  # np.take copies the volume
    return np.ascontiguousarray(plane if down < right else plane.T)


def plate_to_reference(
    reference: ReferenceSpace, atlas_image_id: int, x: float, y: float
) -> tuple[float, float, float]:
    """Map a pixel of a plate to the reference space.

    Parameters
    ----------
    reference : ReferenceSpace
        The reference.
    atlas_image_id : int
        Id of the plate.
    x, y : float, px
        Pixel of the full image; centres at whole numbers.

    Returns
    -------
    (float, float, float), um
        (P, I, R).

    Raises
    ------
    RequestError
        With 404 where there is no such plate.
    """
    image = atlas_image(reference, atlas_image_id)
    normal, down, right = AXES[image.plane]
    point = [0.0, 0.0, 0.0]
    point[normal] = image.position_um
    point[down] = ((y + 0.5) / image.zoom - 0.5) * image.thickness_um
    point[right] = ((x + 0.5) / image.zoom - 0.5) * image.thickness_um
    return point[0], point[1], point[2]


def nearest_plate(
    reference: ReferenceSpace, atlas_id: int, point_um: Sequence[float] | npt.NDArray[np.float64]
) -> tuple[int, int, float, float]:
    """Map a reference point to the nearest plate of an atlas.

    Parameters
    ----------
    reference : ReferenceSpace
        The reference.
    atlas_id : int
        Id of the atlas.
    point_um : (3,) float, um
        (P, I, R). An atlas of one half takes a point of the other half at its mirror image.

    Returns
    -------
    atlas_image_id, section_number : int
        The plate; the first or last where the point lies beyond.
    x, y : float, px
        Pixel of the full image; may lie outside it.

    Raises
    ------
    RequestError
        With 404 where there is no such atlas.
    """
    atlas = _atlas(atlas_id)
    step, planes = _steps(reference, atlas)
    normal, down, right = AXES[atlas.plane]
    voxel = [float(v) / reference.annotation_um for v in point_um]
    along = voxel[normal]
    if atlas.half:
        along = min(along, reference.annotation.shape[normal] - along)
    number = min(max(math.floor(along / step + 0.5), 0), (planes - 1) // step) * step
    image = _plate(reference, atlas, number)
    x, y = ((voxel[axis] + 0.5) * image.zoom - 0.5 for axis in (right, down))
    return image.id, number, x, y


def annotated_planes(reference: ReferenceSpace, plane: str) -> npt.NDArray[np.bool_]:
    """Return which planes of the annotation show any structure.

    Parameters
    ----------
    reference : ReferenceSpace
        The reference.
    plane : str
        "coronal", "sagittal" or "horizontal".

    Returns
    -------
    (n,) bool
        One for each plane along the normal.
    """
    _, down, right = AXES[plane]
    return np.asarray(reference.annotation.any(axis=(down, right)))


def _atlas(atlas_id: int) -> Atlas:
    if atlas_id not in ATLASES:
        raise RequestError(
            f"Atlas {atlas_id}: not served here; atlases are"
            f" {', '.join(f'{a.id} ({a.name})' for a in ATLASES.values())}",
            status=404,
        )
    return ATLASES[atlas_id]


def _steps(reference: ReferenceSpace, atlas: Atlas) -> tuple[int, int]:
    """Return how many planes lie between plates, and how many planes the atlas spans."""
    planes = reference.annotation.shape[AXES[atlas.plane][0]]
    step = max(round(atlas.every_um / reference.annotation_um), 1)
    return step, planes // 2 + 1 if atlas.half else planes


def _plate(reference: ReferenceSpace, atlas: Atlas, number: int) -> AtlasImage:
    return _image(reference, atlas.plane, number, atlas.id, FIRST_ID + IDS * atlas.slot + number)


def _image(reference: ReferenceSpace, plane: str, number: int, atlas_id: int, id_: int) -> AtlasImage:
    um = reference.annotation_um
    zoom = 2 ** max(math.floor(math.log2(um / LEAST_UM)), 0)
    _, down, right = AXES[plane]
    shape = reference.annotation.shape
    return AtlasImage(id_, atlas_id, plane, number, um, shape[right] * zoom, shape[down] * zoom, zoom)
