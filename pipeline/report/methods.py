"""The methods text of a page: processing steps, parameters, versions and references to cite."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.core.reference_space import ReferenceSpace
from pipeline.report.contents import RunContents

LEIN = (
    "Lein E. S. et al. (2007) Genome-wide atlas of gene expression in the adult mouse brain. Nature 445,"
    " 168-176. doi:10.1038/nature05453"
)
NG = (
    "Ng L. et al. (2007) Neuroinformatics for genome-wide 3-D gene expression mapping in the mouse brain."
    " IEEE/ACM Transactions on Computational Biology and Bioinformatics 4, 382-393."
    " doi:10.1109/tcbb.2007.1035"
)
WANG = (
    "Wang Q. et al. (2020) The Allen Mouse Brain Common Coordinate Framework: a 3D reference atlas. Cell 181,"
    " 936-953. doi:10.1016/j.cell.2020.04.007"
)
DETECTORS = {  # texts of known detectors; others are named only
    "adaptive": (
        "Expressing pixels were found by a threshold in optical density over the section's own glass, which"
        " follows the local background and, for wide bands of stain, the level of unexpressing tissue; both"
        " in units of the tissue's texture, pooled over the series. Objects smaller than a cell were removed"
    ),
    "given": "The images are masks of expression, whose values were taken as intensity",
}
ALIGNERS = {  # texts of known aligners; others are named only
    "given": "The alignment of every section, and of the series to the reference, was taken as given",
    "joint": (
        "Sections and the series as a whole were aligned jointly to the reference resliced at each section's"
        " plane: first on blurred tissue outlines, then on a table of stain per structure that the series"
        " itself provides, each section keeping a small strain of its own"
    ),
    "template": "Sections and series were aligned to the template's contrast with SimpleITK",
}
ALLEN_IDS = {997: "root", 315: "Isocortex"}  # ids and acronyms that identify Allen's ontology


@dataclass(frozen=True)
class Methods:
    """Paragraphs, citations, versions and the configuration as JSON."""

    paragraphs: tuple[str, ...]
    citations: tuple[str, ...]
    versions: tuple[tuple[str, str], ...]
    configuration: str
    digest: str


def methods(contents: RunContents, reference: ReferenceSpace | None) -> Methods:
    """Write the methods of a run from its own provenance.

    Parameters
    ----------
    contents : RunContents
        The run.
    reference : ReferenceSpace or None
        Reference of the run; None leaves its name and citations out.

    Returns
    -------
    Methods
        Text, citations and versions.
    """
    provenance = contents.provenance
    configuration: Mapping[str, Any] = provenance.get("configuration") or {}
    texts = [_series(contents)]
    if configuration:
        texts += [
            _algorithm(DETECTORS, configuration["detection"], "detector"),
            _algorithm(ALIGNERS, configuration["alignment"], "aligner"),
            _gridding(configuration["gridding"], contents),
            _unionize(configuration["unionize"], reference),
        ]
    citations = [LEIN, NG]
    if reference is not None and _is_real_allen(contents, reference):
        citations.append(WANG)
    if reference is not None and reference.citation:
        citations.append(reference.citation)
    versions = {"ish-pipeline": provenance.get("pipeline"), "Python": provenance.get("python")}
    versions |= provenance.get("packages") or {}
    return Methods(
        tuple(texts),
        tuple(dict.fromkeys(citations)),
        tuple((name, str(value)) for name, value in versions.items() if value),
        json.dumps(configuration, indent=2) if configuration else "",
        str(provenance.get("digest", "")),
    )


def _series(contents: RunContents) -> str:
    """Return the paragraph on the sections, their thickness and the definition of intensity."""
    about = contents.data_set
    version = contents.provenance.get("pipeline")
    if not about:
        return "The run ended before it wrote its description; see Steps for what is known."
    count, plane = len(contents.sections), about["plane_of_section"]
    sections = f"{plane} section was" if count == 1 else f"{plane} sections were"
    return (
        f"{count} {sections} taken, each {about['section_thickness_um']:g} µm thick, through ish-pipeline"
        f" {version or ''}, an open re-creation of the informatics pipeline of the Allen Mouse Brain Atlas"
        " (Lein et al. 2007, Ng et al. 2007). Intensity is darkness, 255 - (0.299 R + 0.587 G + 0.114 B),"
        " without white balance."
    )


def _algorithm(known: Mapping[str, str], chosen: Mapping[str, Any], kind: str) -> str:
    """Return the paragraph on a detector or aligner, with its parameters."""
    name, parameters = str(chosen["name"]), chosen.get("configuration") or {}
    listed = ", ".join(f"{key} = {value}" for key, value in parameters.items()) or "default parameters"
    if name not in known:
        return f"The {kind} “{name}” was used ({listed})."
    return f"{known[name]} ({kind} “{name}”, {listed})."


def _gridding(parameters: Mapping[str, Any], contents: RunContents) -> str:
    """Return the paragraph on the 200 um grid."""
    receipt = contents.receipts.get("grid")
    count = receipt.facts.get("sections") if receipt else None
    summed = "1 section was summed" if count == 1 else f"{count or 'The'} sections were summed"
    return (
        f"{summed} over cells of 200 µm (pixels, expressing pixels, their intensity),"
        f" smoothed in plane (Gaussian, σ = {parameters['smoothing_um']:g} µm) and along the cutting axis"
        f" (σ = {parameters['z_smoothing_um']:g} µm), and gathered on the 200 µm grid of the reference."
        " Ratios come last: density = expressing pixels / pixels, intensity = summed intensity / expressing"
        " pixels, energy = density × intensity. Voxels without a section nearby hold no value; none is"
        " filled in."
    )


def _unionize(parameters: Mapping[str, Any], reference: ReferenceSpace | None) -> str:
    """Return the paragraph on the structure table."""
    labels = "the served grid annotation" if parameters["grid_annotation"] == "served" else "the annotation"
    name = f" of the reference “{reference.name}”" if reference is not None else ""
    return (
        f"Structures were summed over {labels}{name} at 200 µm: a structure holds its own voxels and those of"
        " all structures inside it, in the left and right hemisphere and in both; coverage is the share of"
        " these voxels that have data."
    )


def _is_real_allen(contents: RunContents, reference: ReferenceSpace) -> bool:
    """Return whether the reference is Allen's, by ontology and folder: the phantom has the ontology only."""
    named = all(
        i in reference.ontology.by_id and reference.ontology.by_id[i].acronym == a
        for i, a in ALLEN_IDS.items()
    )
    return named and bool(contents.provenance.get("reference_directory"))
