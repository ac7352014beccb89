"""Registration: a series of sections finds its place in the reference, from nothing.

    alignment = align_series(thumbnails, reference, AlignmentOptions(plane_of_section="coronal"))
    outcomes = align_specimen([Series.of(thumbnails, options, number=k) for k, thumbnails in ...], reference)
    specimen = reconstruct(thumbnails, alignment)

`thumbnails` are `SectionThumbnail`: block means of the section images at 25-60 um a pixel, as the files show
them, with the map from thumbnail to manifest pixels; hints (`rotate_deg`, `flip`, `section_order`,
`image_up`) are given beside them and used here. Every thumbnail given comes back with an Alignment2d: status
`fail` where it is flagged, blank, or does not fit; its place is then its neighbours' guess.
`SeriesAlignment.measures` holds the series' figures, `notes` what a reader must know (what was taken from
the images, unusual scales, sections that could not be placed). A series that fits nowhere is refused with
AlignmentError. Series of one specimen are aligned together, see `specimen`.

The way: tissue masks (`tissue`), area profile and pose search (`pose`), Gauss-Newton on blurred outlines for
all sections and the 3-D affine (`joint`, `solver`), the same on a stain table that the series itself gives
the annotation (`stain`), each section's own small strain, verdicts (`quality`). `ALIGNERS` holds this as
`joint`, and `template`: SimpleITK on the template's contrast, the plain baseline.
"""

from pipeline.registration.align import ALIGNERS, Series, align_series
from pipeline.registration.deformable import DEFORMABLE
from pipeline.registration.model.hand_placed import Correction
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
    "SectionThumbnail",
    "Series",
    "SpecimenVolume",
    "align_series",
    "align_specimen",
    "check_background",
    "reconstruct",
]
