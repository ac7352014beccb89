"""Drawings and pictures of plates and of sections, kept in memory."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial

from pipeline.core.model import UInt8
from pipeline.core.reference_space import ReferenceSpace
from pipeline.geometry.sync import SyncGeometry
from pipeline.service.content.catalogue import Catalogue
from pipeline.service.http.parameters import whole
from pipeline.service.kept import Kept
from pipeline.service.plates.atlases import AtlasImage, atlas_image, is_atlas_image_id, plate_labels
from pipeline.service.plates.cracks import Rings, cut
from pipeline.service.plates.drawing import Sheet, drawn_labels, svg
from pipeline.service.plates.pictures import MOST_DOWNSAMPLE, View, coloured, grey, jpeg, view_of
from pipeline.service.plates.sections import placed, section_labels, section_rings, section_size
from pipeline.service.plates.smooth import smooth
from pipeline.service.served import Serving

KEPT_BYTES = 96_000_000  # of rings and of finished drawings, each
QUALITY = 90


@dataclass(frozen=True, eq=False)
class Drawn:
    """What a drawing or picture is made of.

    Attributes
    ----------
    rings : Rings
        Outlines in pixels of a label image.
    unit_px : float, px
        Pixels of the full image per pixel of the label image.
    size_px : (int, int), px
        Width and height of the full image.
    first_path_id : int
        Id of the drawing's group.
    """

    rings: Rings
    unit_px: float
    size_px: tuple[int, int]
    first_path_id: int = 0


class Drawings:
    """Drawings and pictures of plates and of sections, kept in memory.

    Parameters
    ----------
    serving : Serving
        What is served.
    """

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._rings: Kept[Drawn] = Kept(KEPT_BYTES, lambda drawn: drawn.rings.points.nbytes + 1000)
        self._answers: Kept[bytes] = Kept(KEPT_BYTES, len)

    def key(self, catalogue: Catalogue, image_id: int) -> Hashable:
        """Return what the drawing of an image depends on.

        Parameters
        ----------
        catalogue : Catalogue
            The experiments at this moment.
        image_id : int
            Id of an AtlasImage or SectionImage.

        Returns
        -------
        hashable
            Changes whenever the drawing may.

        Raises
        ------
        RequestError
            With 404 where a SectionImage is not served.
        """
        if is_atlas_image_id(image_id):
            return image_id
        section = catalogue.section(image_id)
        return image_id, catalogue.experiment(section.experiment_id).stamp

    def known_svg(self, catalogue: Catalogue, image_id: int, downsample: int) -> bytes | None:
        """Return a drawing that was made before.

        Parameters
        ----------
        catalogue : Catalogue
            The experiments at this moment.
        image_id : int
            Id of an AtlasImage or SectionImage.
        downsample : int
            How often the image is halved.

        Returns
        -------
        bytes or None
            SVG; None where it has to be made.
        """
        return self._answers.find((self.key(catalogue, image_id), downsample))

    def svg(self, catalogue: Catalogue, image_id: int, downsample: int) -> bytes:
        """Return the drawing of a plate, or of a section through its placement.

        Parameters
        ----------
        catalogue : Catalogue
            The experiments at this moment.
        image_id : int
            Id of an AtlasImage or SectionImage.
        downsample : int
            How often the image is halved; coordinates are pixels of that tier.

        Returns
        -------
        bytes
            SVG.

        Raises
        ------
        RequestError
            With 404 where there is no such image, or the section has no placement.
        """
        key = (self.key(catalogue, image_id), downsample)
        return self._answers.get(key, partial(self._draw, catalogue, image_id, downsample))

    def picture(
        self, catalogue: Catalogue, image_id: int, parameters: Mapping[str, str], annotation: bool
    ) -> bytes:
        """Return a plate as a picture.

        Parameters
        ----------
        catalogue : Catalogue
            The experiments at this moment.
        image_id : int
            Id of an AtlasImage, or of a SectionImage with a placement, of which the structures are shown.
        parameters : mapping of str to str
            downsample, left, top, width, height and quality.
        annotation : bool
            Structures in their colours; else the template, where the reference has one.

        Returns
        -------
        bytes
            JPEG.

        Raises
        ------
        RequestError
            With 404 where there is no such image; where a number cannot be understood.
        """
        reference = self._serving.reference
        quality = whole(parameters, "quality", 0, 100)
        pixels = self._pixels(reference, catalogue, image_id, parameters, annotation)
        return jpeg(pixels, QUALITY if quality is None else quality)

    def _pixels(
        self,
        reference: ReferenceSpace,
        catalogue: Catalogue,
        image_id: int,
        parameters: Mapping[str, str],
        annotation: bool,
    ) -> UInt8:
        if is_atlas_image_id(image_id) and not annotation and reference.template is not None:
            image = atlas_image(reference, image_id)
            return grey(reference, image, _view((image.width, image.height), parameters))
        drawn = self.drawn(catalogue, image_id)
        return coloured(drawn.rings, reference.ontology, drawn.unit_px, _view(drawn.size_px, parameters))

    def drawn(self, catalogue: Catalogue, image_id: int) -> Drawn:
        """Return the outlines of a plate or section.

        Parameters
        ----------
        catalogue : Catalogue
            The experiments at this moment.
        image_id : int
            Id of an AtlasImage or SectionImage.

        Returns
        -------
        Drawn
            Rings and their scale.

        Raises
        ------
        RequestError
            With 404 where there is no such image, or the section has no placement.
        """
        reference = self._serving.reference
        if is_atlas_image_id(image_id):
            image = atlas_image(reference, image_id)
            return self._rings.get(image_id, partial(drawn_plate, reference, image))
        section = catalogue.section(image_id)
        geometry = placed(catalogue.experiment(section.experiment_id), section)
        make = partial(
            drawn_section, reference, geometry, section.image.section_number, section_size(section)
        )
        return self._rings.get(self.key(catalogue, image_id), make)

    def _draw(self, catalogue: Catalogue, image_id: int, downsample: int) -> bytes:
        drawn, factor = self.drawn(catalogue, image_id), 2**downsample
        width, height = drawn.size_px
        sheet = Sheet(width / factor, height / factor, drawn.unit_px / factor, drawn.first_path_id)
        return svg(drawn.rings, self._serving.reference.ontology, sheet)


@lru_cache(maxsize=4)
def drawings_of(serving: Serving) -> Drawings:
    """Return the drawings of a server; all its endpoints share them.

    Parameters
    ----------
    serving : Serving
        What is served.

    Returns
    -------
    Drawings
        Always the same for one server.
    """
    return Drawings(serving)


def drawn_plate(reference: ReferenceSpace, image: AtlasImage) -> Drawn:
    """Return the rounded outlines of a plate.

    Parameters
    ----------
    reference : ReferenceSpace
        The reference.
    image : AtlasImage
        The plate.

    Returns
    -------
    Drawn
        Rings in voxels of the plane.
    """
    labels = drawn_labels(plate_labels(reference, image), reference.ontology)
    size = (image.width, image.height)
    return Drawn(smooth(cut(labels)), float(image.zoom), size, image.first_path_id)


def drawn_section(
    reference: ReferenceSpace, geometry: SyncGeometry, section_number: int, size_px: tuple[int, int]
) -> Drawn:
    """Return the rounded outlines of structures on a section.

    Parameters
    ----------
    reference : ReferenceSpace
        Annotation and ontology.
    geometry : SyncGeometry
        Placement of the series, deformations included.
    section_number : int
        Number of a section that has an alignment.
    size_px : (int, int), px
        Width and height of the manifest's frame.

    Returns
    -------
    Drawn
        Rings in pixels of the sampled label image.
    """
    labels = section_labels(reference, geometry, section_number, size_px)
    return Drawn(section_rings(labels), labels.spacing_px, size_px)


def _view(size_px: tuple[int, int], parameters: Mapping[str, str]) -> View:
    downsample = whole(parameters, "downsample", 0, MOST_DOWNSAMPLE) or 0
    left, top = (whole(parameters, name, 0, 10**7) or 0 for name in ("left", "top"))
    width, height = (whole(parameters, name, 1, 10**7) for name in ("width", "height"))
    return view_of(size_px, downsample, (left, top), (width, height))
