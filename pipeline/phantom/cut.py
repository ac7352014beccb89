"""Cut a reference brain into sections and lay them on slides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import ConfigError
from pipeline.core.model import (
    MIDLINE_UM,
    Alignment2d,
    Alignment3d,
    Float64,
    Plane,
    SectionAlignment,
    SectionDataSet,
    SectionImage,
    SeriesAlignment,
    UInt32,
)
from pipeline.core.reference_space import ReferenceSpace, reference_space_id
from pipeline.geometry import affine
from pipeline.phantom.geometry import SeriesGeometry

SCOUT_UM = 100.0  # spacing of the points that find the extent of the tissue in a plane
FIRST_NUMBER = 10  # section number whose z is fixed in the brain, whatever the first number of a series is
BRAIN_STREAM, SECTION_STREAM = 20, 21  # random streams; `render.py` has those below 20
# Rows P, I, R of the reference; columns x, y, z of the volume.
SAGITTAL_AXES = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
CORONAL_AXES = ((0.0, 0.0, -1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
SAGITTAL_ROOM_UM, CORONAL_ROOM_UM = 4700.0, 12400.0  # that sections may span along the cutting axis
FROM_MIDLINE_UM = 150.0  # of the last sagittal section
VOLUME_MIDDLE_UM = (7000.0, 4500.0)  # (x, y) of the brain's centre in the volume


@dataclass(frozen=True)
class Cut:
    """How a brain is cut and laid on slides.

    Attributes
    ----------
    thickness_um : float, um
        Thickness of the sections.
    spacing_um : float, um
        Distance between sections of the series, rounded to whole thicknesses.
    first_number : int
        Number of the first section; z is number x thickness in a volume that all series of a brain share.
    tilt_deg : float, degrees
        Bound of the random rotation of the whole brain about each axis.
    stretch : float
        Bound of the random scaling of the whole brain along each axis, as a fraction.
    turn_deg : float, degrees
        Bound of the random rotation of each section in its image.
    margin_um : float, um
        Approximate width of the glass around the tissue.
    brain_seed : int or None
        Seed of the brain's rotation and scaling, shared by interleaved series of one brain; None takes the
        seed of the series.
    """

    thickness_um: float = 25.0
    spacing_um: float = 200.0
    first_number: int = FIRST_NUMBER
    tilt_deg: float = 2.5
    stretch: float = 0.06
    turn_deg: float = 5.0
    margin_um: float = 500.0
    brain_seed: int | None = None


def sagittal_geometry(
    reference: ReferenceSpace,
    sections: int = 20,
    resolution_um: float = 8.0,
    seed: int = 0,
    cut: Cut | None = None,
) -> SeriesGeometry:
    """Cut the left hemisphere (R < 5700 um) into sagittal sections, numbered from lateral to medial.

    Volume axes (x, y, z) follow (P, I, R), as in Allen's sagittal series. The last section lies about
    150 um from the midline. Where `sections` at the wanted spacing do not fit, they are cut closer.

    Parameters
    ----------
    reference : ReferenceSpace
        The brain that is cut.
    sections : int
        Number of sections.
    resolution_um : float, um
        Pixel size of the images.
    seed : int
        Seed of the section poses; also sets the id of the data set, 900000 + seed.
    cut : Cut or None
        How it is cut; None takes the defaults.

    Returns
    -------
    SeriesGeometry
        Manifest and alignment of the series.

    Raises
    ------
    ConfigError
        Where `sections` is below 1, or a section lies outside the brain.
    """
    chosen = cut or Cut()
    step = _step(chosen, sections, SAGITTAL_ROOM_UM)
    reach = step * chosen.thickness_um * (sections - 1)
    centre = (6600.0, 4000.0, MIDLINE_UM - FROM_MIDLINE_UM - reach / 2)
    brain = _Brain(reference, "sagittal", _lay(SAGITTAL_AXES, centre, step * (sections - 1), chosen, seed))
    return brain.series(
        [chosen.first_number + step * k for k in range(sections)], resolution_um, chosen, seed
    )


def coronal_geometry(
    reference: ReferenceSpace,
    sections: int = 60,
    resolution_um: float = 17.0,
    seed: int = 0,
    cut: Cut | None = None,
) -> SeriesGeometry:
    """Cut the whole brain into coronal sections, numbered from caudal to rostral.

    Volume axes (x, y, z) follow (R, I, -P), as in Allen's coronal series. Where `sections` at the wanted
    spacing do not fit, they are cut closer.

    Parameters
    ----------
    reference : ReferenceSpace
        The brain that is cut.
    sections : int
        Number of sections.
    resolution_um : float, um
        Pixel size of the images.
    seed : int
        Seed of the section poses; also sets the id of the data set, 900000 + seed.
    cut : Cut or None
        How it is cut; None takes the defaults.

    Returns
    -------
    SeriesGeometry
        Manifest and alignment of the series.

    Raises
    ------
    ConfigError
        Where `sections` is below 1, or a section lies outside the brain.
    """
    chosen = cut or Cut()
    step = _step(chosen, sections, CORONAL_ROOM_UM)
    centre = (6600.0, 4000.0, MIDLINE_UM)
    brain = _Brain(reference, "coronal", _lay(CORONAL_AXES, centre, step * (sections - 1), chosen, seed))
    return brain.series(
        [chosen.first_number + step * k for k in range(sections)], resolution_um, chosen, seed
    )


def _step(cut: Cut, sections: int, room_um: float) -> int:
    """Return the step of the section numbers: the wanted spacing, or the largest that fits."""
    if sections < 1:
        raise ConfigError(f"phantom: expected at least one section, got {sections}")
    fits = int(room_um / sections / cut.thickness_um)
    return max(min(round(cut.spacing_um / cut.thickness_um), fits), 1)


def _lay(
    axes: tuple[tuple[float, ...], ...], centre_um: tuple[float, ...], numbers: int, cut: Cut, seed: int
) -> Float64:
    """Return the map from the volume to the reference, (3, 4): rotated and scaled about `centre_um`."""
    rng = np.random.default_rng([seed if cut.brain_seed is None else cut.brain_seed, BRAIN_STREAM])
    middle = np.array([*VOLUME_MIDDLE_UM, cut.thickness_um * (FIRST_NUMBER + numbers / 2)])
    linear = (
        _small_turn(rng, cut.tilt_deg) @ np.array(axes) @ np.diag(1 + cut.stretch * rng.uniform(-1, 1, 3))
    )
    return np.column_stack([linear, np.array(centre_um) - linear @ middle])


def _small_turn(rng: np.random.Generator, bound_deg: float) -> Float64:
    """Return a rotation by at most `bound_deg` about each axis, (3, 3)."""
    turn = np.eye(3)
    for axis, angle in enumerate(np.radians(rng.uniform(-bound_deg, bound_deg, 3))):
        first, second = (k for k in range(3) if k != axis)
        one = np.eye(3)
        one[first, first] = one[second, second] = np.cos(angle)
        one[first, second], one[second, first] = -np.sin(angle), np.sin(angle)
        turn = turn @ one
    return turn


@dataclass(frozen=True, eq=False)
class _Brain:
    """A brain on the block, with the map from its volume to the reference, (3, 4), um."""

    reference: ReferenceSpace
    plane: Plane
    volume_to_reference: Float64

    def series(self, numbers: list[int], resolution_um: float, cut: Cut, seed: int) -> SeriesGeometry:
        """Return the geometry of sections with these numbers."""
        rng = np.random.default_rng([seed, SECTION_STREAM])
        coronal = self.plane == "coronal"
        space = reference_space_id(self.plane)
        framed = [self._frame(number, resolution_um, cut, rng) for number in numbers]
        data_set = SectionDataSet(
            id=900000 + seed,
            plane_of_section=self.plane,
            section_thickness_um=cut.thickness_um,
            section_images=tuple(image for image, _ in framed),
            gene="Phantom",
            specimen=f"phantom-{seed if cut.brain_seed is None else cut.brain_seed}",
            reference_space_id=space,
            hemisphere="both" if coronal else "left",
            treatment="ISH",
            age="P56",
            section_order="caudal_to_rostral" if coronal else "lateral_to_medial",
            image_up="superior",
        )
        sections = tuple(SectionAlignment(matrix) for _, matrix in framed)
        return SeriesGeometry(
            data_set, SeriesAlignment(Alignment3d(space, self.volume_to_reference), sections)
        )

    def _frame(
        self, number: int, resolution_um: float, cut: Cut, rng: np.random.Generator
    ) -> tuple[SectionImage, Alignment2d]:
        """Lay one section on its slide: a rotated frame around its tissue, with glass on every side."""
        turn = affine.rigid2d(float(rng.uniform(-cut.turn_deg, cut.turn_deg)), (0.0, 0.0))
        margins = cut.margin_um * rng.uniform(0.7, 1.4, 4)
        tissue = self._tissue(number * cut.thickness_um)
        if len(tissue) == 0:
            raise ConfigError(f"phantom: section {number} lies outside the brain; ask for fewer sections")
        laid = affine.apply(affine.invert(turn), tissue)  # the tissue in the axes of the frame, um
        low, high = laid.min(axis=0) - margins[:2], laid.max(axis=0) + margins[2:]
        width, height = (int(n) for n in np.ceil((high - low) / resolution_um) + 1)
        to_laid = np.column_stack([resolution_um * np.eye(2), low])
        image = SectionImage(900000 + number, number, None, width, height, resolution_um)
        return image, Alignment2d(number, affine.compose(turn, to_laid))

    def _tissue(self, z_um: float) -> Float64:
        """Return the points of a plane that lie in the brain, (n, 2) um in the volume, every 100 um."""
        x, y = np.meshgrid(np.arange(-3000.0, 17000.0, SCOUT_UM), np.arange(-3000.0, 13000.0, SCOUT_UM))
        points = np.column_stack([x.ravel(), y.ravel(), np.full(x.size, z_um)])
        labels = labels_at(self.reference, affine.apply(self.volume_to_reference, points))
        return np.asarray(points[labels > 0, :2], np.float64)


def labels_at(reference: ReferenceSpace, points: Float64) -> UInt32:
    """Return the annotation at reference points, nearest voxel.

    Parameters
    ----------
    reference : ReferenceSpace
        The annotated brain.
    points : (..., 3) float64, um
        Positions (P, I, R).

    Returns
    -------
    (...) uint32
        Structure ids; 0 outside the brain or the box.
    """
    index = np.rint(points / reference.annotation_um).astype(np.int64)
    inside = ((index >= 0) & (index < reference.annotation.shape)).all(axis=-1)
    labels = np.zeros(index.shape[:-1], np.uint32)
    labels[inside] = reference.annotation[tuple(index[inside].T)]
    return labels
