"""The two worlds that clients are shown: series of the phantom, and the real reference and data sets."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from built import built_atlases
from facts import Arrays, Experiment, Facts, deformed_points, facts_of_structures, facts_of_sync
from prepare import HERE, SERIES, run_series, write_sets

from pipeline import ReferenceSpace, load_config, run
from pipeline.formats.manifests.allen_xml import NAME as DATA_SET_XML
from pipeline.geometry.structure_centres import structure_centres
from pipeline.inputs.references import open_reference
from pipeline.service.content.numbering import Numbers

SAGITTAL = HERE / "configs" / "sagittal.yaml"
VOLUMES_UM = {"phantom": (50, 100), "atlas": (25, 100)}  # at which clients ask for the annotation


@dataclass(frozen=True)
class World:
    """What a server serves, and what clients have to find there.

    Attributes
    ----------
    kind : str
        "phantom" or "atlas".
    folders : tuple of Path
        What is served.
    options : tuple of str
        Further words of `ish serve`.
    facts : dict of str to Any
        What the project's own code read.
    arrays : dict of str to array
        Arrays that belong to them.
    """

    kind: str
    folders: tuple[Path, ...]
    options: tuple[str, ...]
    facts: Facts
    arrays: Arrays


def phantom(work: Path) -> World:
    """Return three runs of the phantom beside 2,100 served data sets.

    Parameters
    ----------
    work : Path
        Folder for them.

    Returns
    -------
    World
        The world.
    """
    folders = run_series(work)
    listed = write_sets(work / "sets")
    numbers = Numbers(work / "numbers.sqlite")
    runs = {
        role: Experiment(
            work / role / "series", folder, None if SERIES[role].form.manifest == "xml" else numbers
        )
        for role, folder in folders.items()
    }
    for one in runs.values():
        listed[one.data_set.id] = one.data_set.gene or "", one.data_set.plane_of_section
    reference = open_reference(None, None)
    facts = _facts("phantom", runs, reference)
    facts |= _listed(listed)
    arrays = {f"{role}/{name}": a for role, one in runs.items() for name, a in one.arrays().items()}
    facts["atlases"], own = built_atlases(work)
    arrays |= own
    arrays |= {f"deformed/{name}": array for name, array in deformed_points(runs["deformed"]).items()}
    options = ("--cors", "*")  # for pages of another address
    return World("phantom", (work / "runs", work / "sets"), options, facts, arrays | _volumes(reference))


def _listed(listed: Mapping[int, tuple[str, str]]) -> Facts:
    """Return ids, genes and planes of all experiments, by ascending id."""
    ids = sorted(listed)
    return {"ids": ids, "genes": [listed[n][0] for n in ids], "planes": [listed[n][1] for n in ids]}


def _facts(kind: str, runs: Mapping[str, Experiment], reference: ReferenceSpace) -> Facts:
    return {
        "experiments": {role: one.facts() for role, one in runs.items()},
        "sync": facts_of_sync(runs, structure_centres(reference)),
        "volumes_um": VOLUMES_UM[kind],
        "templates_um": [um for um in VOLUMES_UM[kind] if um >= reference.template_um],
        "template_um": reference.template_um,
        **facts_of_structures(reference),
    }


def _volumes(reference: ReferenceSpace) -> Arrays:
    assert reference.template is not None
    return {
        "annotation": reference.annotation,
        "template": reference.template,
        "grid_annotation": reference.grid_labels(served=reference.grid_annotation is not None),
    }


def atlas(work: Path) -> World | None:
    """Return the real reference, its data sets, and a run of the one section image that there is.

    Parameters
    ----------
    work : Path
        Folder for the run.

    Returns
    -------
    World or None
        The world; None where ISH_DATA does not name a folder.
    """
    if not os.environ.get("ISH_DATA"):
        return None
    data = Path(os.environ["ISH_DATA"])
    series = {path.name.partition("_")[0]: path for path in sorted((data / "ish").iterdir())}
    series["prox1"] = _with_gene(series["prox1"], work / "prox1", "Prox1")
    config = load_config(SAGITTAL, [f"reference.directory={data / 'reference'}", "alignment.name=given"])
    (result,) = run(config, [series["prox1"]], work / "real")
    if result.run is None or result.errors:
        raise RuntimeError(f"prox1: {'; '.join(result.errors)}")
    runs = {
        role: Experiment(path, result.run.path if role == "prox1" else None, None)
        for role, path in series.items()
    }
    reference = open_reference(data / "reference", None)
    facts = _facts("atlas", runs, reference)
    listed = {e.data_set.id: (e.data_set.gene or "", e.data_set.plane_of_section) for e in runs.values()}
    arrays = {f"{role}/{name}": a for role, one in runs.items() for name, a in one.arrays().items()}
    return World(
        "atlas",
        (work / "real", data / "ish"),
        ("--reference", str(data / "reference")),
        facts | _listed(listed),
        arrays | _volumes(reference),
    )


def _with_gene(series: Path, folder: Path, gene: str) -> Path:
    """Return a series whose document states its gene, which what the grid service sends does not."""
    folder.mkdir(exist_ok=True)
    document = ElementTree.parse(series / DATA_SET_XML)
    genes = ElementTree.SubElement(document.getroot(), "genes")
    ElementTree.SubElement(ElementTree.SubElement(genes, "gene"), "acronym").text = gene
    document.write(folder / DATA_SET_XML)
    for path in series.glob("*.jpg"):
        (folder / path.name).unlink(missing_ok=True)
        (folder / path.name).symlink_to(path)
    return folder
