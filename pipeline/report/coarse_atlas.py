"""The reference reduced to about a dozen coarse structures: which one lies at a point, and its colour."""

from __future__ import annotations

import colorsys
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from pipeline.core.model import Float64, Int64, Structure, UInt8
from pipeline.core.ontology import Ontology
from pipeline.core.reference_space import ReferenceSpace

ALLEN_COARSE = (
    "Isocortex", "OLF", "HPF", "CTXsp", "STR", "PAL", "TH", "HY", "MB", "P", "MY", "CB", "fiber tracts", "VS",
)  # fmt: skip
LEAST_OF_ALLEN = 8  # an ontology with so many of these acronyms counts as Allen's
MOST = 16  # coarse structures of any other ontology
OUTSIDE, UNNAMED = 0, 1
FIRST = 2  # codes of the coarse structures start here
GREY = "AAAAAA"  # for a colour that is not six hex digits
DARKEST_LINE = 0.40  # greatest HLS lightness of a line, so that it shows on bright tissue


@dataclass(frozen=True, eq=False)
class CoarseAtlas:
    """A reference space reduced to its coarse structures.

    Codes are 0 outside, 1 annotated but in none of the coarse structures, 2 + n in `structures[n]`.

    Attributes
    ----------
    reference : ReferenceSpace
        The reference.
    structures : tuple of Structure
        The coarse structures.
    """

    reference: ReferenceSpace
    structures: tuple[Structure, ...]

    @cached_property
    def _codes(self) -> tuple[Int64, UInt8]:
        """Sorted label ids of the ontology, and the code of each."""
        ontology = self.reference.ontology
        code_of = {s.id: UNNAMED for s in ontology.structures}
        for number, structure in enumerate(self.structures):
            code_of.update(dict.fromkeys(ontology.descendants(structure.id), FIRST + number))
        ids = np.array(sorted(code_of), np.int64)
        return ids, np.array([code_of[int(i)] for i in ids], np.uint8)

    def codes_of(self, labels: npt.NDArray[np.uint32]) -> UInt8:
        """Return the coarse codes of structure ids.

        Parameters
        ----------
        labels : uint32 array of any shape
            Structure ids, 0 outside; ids that the ontology lacks count as unnamed (1).

        Returns
        -------
        uint8 array of the same shape
            Coarse codes.
        """
        ids, codes = self._codes
        at = np.minimum(np.searchsorted(ids, labels), len(ids) - 1)
        found = np.where(ids[at] == labels, codes[at], UNNAMED)
        return np.where(labels == 0, OUTSIDE, found).astype(np.uint8)

    def at(self, points_um: Float64) -> UInt8:
        """Return the coarse code at reference points, nearest voxel.

        Parameters
        ----------
        points_um : (..., 3) float64, um
            Positions (P, I, R).

        Returns
        -------
        (...) uint8
            Coarse codes; 0 outside the box.
        """
        annotation = self.reference.annotation
        inside, index = np.ones(points_um.shape[:-1], np.bool_), []
        for axis, length in enumerate(annotation.shape):
            at = np.rint(points_um[..., axis] / self.reference.annotation_um)
            inside &= (at >= 0) & (at < length)
            index.append(at.clip(0, length - 1).astype(np.intp))
        return self.codes_of(np.where(inside, annotation[tuple(index)], np.uint32(0)))


def coarse_atlas(reference: ReferenceSpace) -> CoarseAtlas:
    """Choose the coarse structures of a reference.

    Parameters
    ----------
    reference : ReferenceSpace
        The reference.

    Returns
    -------
    CoarseAtlas
        The reference with its coarse structures.
    """
    return CoarseAtlas(reference, coarse_structures(reference.ontology))


def coarse_structures(ontology: Ontology) -> tuple[Structure, ...]:
    """Return about a dozen structures that together hold the brain.

    They are a fixed list for Allen's ontology. For any other they are the deepest level of the tree with at
    most 16 branches, where branches that end earlier are included.

    Parameters
    ----------
    ontology : Ontology
        The structure tree.

    Returns
    -------
    tuple of Structure
        The coarse structures.
    """
    named = [ontology.by_acronym.get(acronym, ()) for acronym in ALLEN_COARSE]
    known = [structures[0] for structures in named if len(structures) == 1]
    if len(known) >= LEAST_OF_ALLEN:
        return tuple(known)
    level: Sequence[int] = [root.id for root in ontology.roots]
    while True:
        deeper = [child for s in level for child in (ontology.children[s] or (s,))]
        if len(deeper) > MOST or deeper == level:
            return tuple(ontology.by_id[s] for s in level)
        level = deeper


def safe_colour(colour: str) -> str:
    """Return a colour of the ontology, or grey where it is not six hex digits.

    Parameters
    ----------
    colour : str
        Colour as the ontology gives it.

    Returns
    -------
    str
        Six hex digits, safe to write into a style sheet.

    Examples
    --------
    >>> safe_colour("70ff71"), safe_colour("red;}</style>")
    ('70ff71', 'AAAAAA')
    """
    return colour if re.fullmatch(r"[0-9A-Fa-f]{6}", colour) else GREY


def line_colour(colour: str) -> str:
    """Return the colour for a thin line on a bright image: the same hue, dark enough to be seen.

    Parameters
    ----------
    colour : str
        Colour as the ontology gives it.

    Returns
    -------
    str
        Six hex digits.

    Examples
    --------
    >>> line_colour("70FF71")
    '00cc01'
    """
    red, green, blue = (int(safe_colour(colour)[n : n + 2], 16) / 255 for n in (0, 2, 4))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    dark = colorsys.hls_to_rgb(hue, min(lightness, DARKEST_LINE), saturation)
    return "".join(f"{round(255 * v):02x}" for v in dark)
