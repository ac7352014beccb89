"""Registration: align a series of sections to the reference without a manual start.

    alignment = align_series(thumbnails, reference, AlignmentOptions(plane_of_section="coronal"))
    outcomes = align_specimen([Series.of(thumbnails, options, number=k) for k, thumbnails in ...], reference)
    specimen = reconstruct(thumbnails, alignment)

`thumbnails` are `SectionThumbnail`: block means of the section images at 25-60 um a pixel, as the files show
them, with the map from thumbnail to manifest pixels. Hints (`rotate_deg`, `flip`, `section_order`,
`image_up`) are given beside them and applied here. Every thumbnail comes back with an Alignment2d. Its
status is `fail` where the section is flagged, blank, or does not fit; its pose is then predicted from its
neighbours. `SeriesAlignment.measures` holds the figures of the series; `notes` hold what a reader must know
(what was inferred from the images, unusual scales, sections that could not be placed). A series that fits
nowhere is refused with AlignmentError. Series of one specimen are aligned together, see `specimen`.

Notes
-----
The steps are: tissue masks (`pipeline.sections.thumbnail_tissue`); orientation and initial placement by area
profile and pose search (`initial`); Gauss-Newton on blurred outlines for all section poses and the 3-D affine
together (`fit`); the same on a stain table that is estimated from the series itself (`model.stain_table`);
a small affine strain for each section; optionally a displacement field (`deformable`); verdicts (`quality`).
`ALIGNERS` offers this as `joint`, and as `template` the plain baseline: SimpleITK on the contrast of the
template.
"""

from pipeline.geometry.hand_placement import Correction
from pipeline.registration.align import ALIGNERS, Series, align_series
from pipeline.registration.deformable import DEFORMABLE
from pipeline.registration.missing_tissue import MissingTissue, PlacedThumbnail, find_missing
from pipeline.registration.options import AlignmentOptions
from pipeline.registration.reconstruction import SpecimenVolume, reconstruct
from pipeline.registration.refusals import check_background
from pipeline.registration.specimen import align_specimen
from pipeline.sections.thumbnail import SectionThumbnail

__all__ = [
    "ALIGNERS",
    "DEFORMABLE",
    "AlignmentOptions",
    "Correction",
    "MissingTissue",
    "PlacedThumbnail",
    "SectionThumbnail",
    "Series",
    "SpecimenVolume",
    "align_series",
    "align_specimen",
    "check_background",
    "find_missing",
    "reconstruct",
]
