"""What a verb hands over to be published: volumes, displacements, and what reference.json says of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from pipeline.atlas_building.displacement import Displacement
from pipeline.core.errors import DataError
from pipeline.core.model import Float32, UInt32, frozen
from pipeline.core.ontology import Ontology

FrameKind = Literal["anchor", "own", "symmetric", "plates", "mean", "target"]


@dataclass(frozen=True)
class GivenOntology:
    """An ontology, and the bytes of its structure graph as given.

    Attributes
    ----------
    ontology : Ontology
        The structures.
    document : bytes
        Content of structure_graph_1.json.
    """

    ontology: Ontology
    document: bytes

    def labels(self, ids: Iterable[int]) -> list[str]:
        """Return structures as people name them.

        Parameters
        ----------
        ids : iterable of int
            Structure ids; 0 is left out.

        Returns
        -------
        list of str
            Acronyms, with the id where several structures have one; ids that the ontology lacks as they are.
        """
        known = self.ontology.by_id
        return [self.ontology.label(one) if one in known else str(one) for one in map(int, ids) if one]

    @classmethod
    def of(cls, ontology: Ontology) -> GivenOntology:
        """Return an ontology that no structure graph states, such as that of a BrainGlobe atlas.

        Parameters
        ----------
        ontology : Ontology
            The structures.

        Returns
        -------
        GivenOntology
            With a structure graph that reads as the same ontology.
        """
        message = [_node(ontology, root.id) for root in ontology.roots]
        document = {"success": True, "id": 0, "start_row": 0, "num_rows": len(message), "msg": message}
        return cls(ontology, json.dumps(document, indent=1).encode())


def _node(ontology: Ontology, structure_id: int) -> dict[str, Any]:
    one = ontology.by_id[structure_id]
    return {
        "id": one.id,
        "acronym": one.acronym,
        "name": one.name,
        "color_hex_triplet": one.color,
        "graph_order": one.graph_order,
        "parent_structure_id": one.parent_id,
        "children": [_node(ontology, child) for child in ontology.children.get(structure_id, ())],
    }


@dataclass(frozen=True)
class Frame:
    """The frame that the volumes of a reference lie in.

    Attributes
    ----------
    kind : str
        anchor, own, symmetric, plates, mean or target.
    of : str
        Whose frame it is: a path, or a sentence.
    """

    kind: FrameKind
    of: str


@dataclass(frozen=True)
class Picture:
    """A chart or picture of the page.

    Attributes
    ----------
    title, caption : str
        What it shows.
    pixels : (H, W) or (H, W, 3) uint8
        Grey or RGB.
    """

    title: str
    caption: str
    pixels: npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class BuiltReference:
    """A reference, or part of one, as a verb of `ish reference` made it.

    Attributes
    ----------
    verb : str
        Name of the verb.
    frame : Frame
        The frame of its volumes.
    spacing_um : float, um
        Voxel size of all its volumes.
    inputs : sequence of Path
        Files that were read; each is named in reference.json with its checksum.
    template : (P, I, R) float32 or None
        The grey image.
    annotation : (P, I, R) uint32 or None
        Structure ids, 0 outside.
    ontology : GivenOntology or None
        With an annotation.
    midline_um : float, um, or None
        R of the midline, where one is known.
    quality : mapping of str to value
        What the verb measured; numbers, text, or lists of them.
    cannot_know : sequence of str
        What cannot be known from the inputs, in sentences.
    volumes : mapping of str to (P, I, R) array
        Further volumes by stem: `coverage` becomes `coverage_<um>.nrrd`.
    displacements : mapping of str to Displacement
        By path without ending: `source_to_target`, `brains/NAME/source_to_target`.
    documents : mapping of str to value
        JSON documents by file name.
    tables : mapping of str to str
        Text files by file name.
    write_more : callable, optional
        Takes the fresh folder and writes further files into it.
    pictures : sequence of Picture
        Further pictures of the page.
    """

    verb: str
    frame: Frame
    spacing_um: float
    inputs: Sequence[Path]
    template: Float32 | None = None
    annotation: UInt32 | None = None
    ontology: GivenOntology | None = None
    midline_um: float | None = None
    quality: Mapping[str, Any] = field(default_factory=dict)
    cannot_know: Sequence[str] = ()
    volumes: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    displacements: Mapping[str, Displacement] = field(default_factory=dict)
    documents: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, str] = field(default_factory=dict)
    write_more: Callable[[Path], None] | None = None
    pictures: Sequence[Picture] = ()

    def __post_init__(self) -> None:
        for name, dtype in (("template", np.float32), ("annotation", np.uint32)):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, frozen(getattr(self, name), dtype))
        shapes = {name: volume.shape for name, volume in self.all_volumes().items()}
        if len(set(shapes.values())) != 1:
            raise DataError(f"{self.verb}: expected volumes of one shape, got {shapes}")
        if self.annotation is not None and self.ontology is None:
            raise DataError(f"{self.verb}: expected an ontology with the annotation, got none")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of every volume along P, I and R."""
        p, i, r = next(iter(self.all_volumes().values())).shape
        return p, i, r

    def all_volumes(self) -> dict[str, npt.NDArray[Any]]:
        """Return every volume by the stem of its file."""
        own = {"average_template": self.template, "annotation": self.annotation}
        return {name: volume for name, volume in own.items() if volume is not None} | dict(self.volumes)
