"""The structure tables of several runs as one: experiments x structures, with names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import DataError, MissingResultError, PipelineError
from pipeline.core.model import BOTH, LEFT, RIGHT, Float64, Status, Structure
from pipeline.core.ontology import Ontology
from pipeline.formats.tables.anndata import AnnotatedTable
from pipeline.formats.tables.tables import read_table
from pipeline.formats.volumes.brainglobe import is_brainglobe, is_brainglobe_3, read_structures
from pipeline.formats.volumes.reference_folder import ONTOLOGY, read_ontology
from pipeline.inputs.alignments import run_reference
from pipeline.inputs.references import GRID_LABELS_UM, open_reference
from pipeline.quantification.section_sums import SECTION_COLUMNS
from pipeline.store.run import RunFolder

SIDES = {"": BOTH, "_left": LEFT, "_right": RIGHT}  # suffix of a layer by hemisphere
MEASURES = {  # name of a layer by column of the table
    "energy": "expression_energy",
    "density": "expression_density",
    "intensity": "expression_intensity",
    "coverage": "coverage",
    **{name: name for name in SECTION_COLUMNS},  # runs of earlier versions have none of these
}
# Fields of a data set that describe an experiment, as text.
TEXTS = ("gene", "specimen", "plane_of_section", "hemisphere", "treatment", "probe_orientation", "age")
UNUSED = (Status.FAIL.value, Status.MISSING.value)  # statuses of sections that do not count in the grid


@dataclass(frozen=True, eq=False)
class StructureTable:
    """The StructureUnionize tables of several runs as one.

    Attributes
    ----------
    data_sets : tuple of mapping
        Contents of `section_data_set.json` of each run.
    columns : mapping of str to list
        Values by Allen's field name, one row per run, structure and hemisphere.
    structures : mapping of int to Structure
        Every structure that a row refers to, by id.
    """

    data_sets: tuple[Mapping[str, Any], ...]
    columns: Mapping[str, list[Any]]
    structures: Mapping[int, Structure]


def join_tables(
    runs: Sequence[RunFolder], reference: Path | None = None
) -> tuple[StructureTable, tuple[str, ...]]:
    """Join the tables of several runs.

    Parameters
    ----------
    runs : sequence of RunFolder
        The runs.
    reference : Path or None
        Folder whose ontology names the structures; None takes the reference of each run.

    Returns
    -------
    table : StructureTable
        The joined table.
    left_out : tuple of str
        One line for each run that has no table.

    Raises
    ------
    MissingResultError
        Where no run has a table.
    DataError
        Where structure names cannot be read, or contradict each other between runs.
    """
    data_sets: list[Mapping[str, Any]] = []
    columns: dict[str, list[Any]] = {}
    structures: dict[int, Structure] = {}
    left_out: list[str] = []
    for run in runs:
        try:
            data_set, rows = _own_table(run)
        except MissingResultError as error:
            left_out.append(f"{run.path.name} is left out: {error}")
            continue
        _add_structures(structures, run, set(rows["structure_id"]), reference)
        data_sets.append(data_set)
        _extend(columns, rows)
    if not data_sets:
        raise MissingResultError(left_out[0])
    return StructureTable(tuple(data_sets), columns, structures), tuple(left_out)


def _extend(columns: dict[str, list[Any]], rows: Mapping[str, list[Any]]) -> None:
    """Add the rows of a run; where either lacks a column that the other has, its cells are empty."""
    before = len(columns.get("structure_id", ()))
    for name in [*columns, *(n for n in rows if n not in columns)]:
        more = rows.get(name) or [None] * len(rows["structure_id"])
        columns[name] = [*columns.get(name, [None] * before), *more]


def named(table: StructureTable) -> dict[str, list[Any]]:
    """Return the columns with gene, acronym and name beside the ids.

    Parameters
    ----------
    table : StructureTable
        The joined table.

    Returns
    -------
    dict of str to list
        Values by column.
    """
    genes = {int(d["id"]): d["gene"] or "" for d in table.data_sets}
    structures = [table.structures[i] for i in table.columns["structure_id"]]
    return {
        "section_data_set_id": table.columns["section_data_set_id"],
        "gene": [genes[i] for i in table.columns["section_data_set_id"]],
        "structure_id": table.columns["structure_id"],
        "structure_acronym": [s.acronym for s in structures],
        "structure_name": [s.name for s in structures],
        "hemisphere_id": table.columns["hemisphere_id"],
        **{name: values for name, values in table.columns.items() if not name.endswith("_id")},
    }


def annotated(table: StructureTable) -> AnnotatedTable:
    """Return a table of experiments x structures with one layer per measure and side.

    A structure without a pixel has no energy, density or intensity (NaN) and a coverage of 0.

    Parameters
    ----------
    table : StructureTable
        The joined table.

    Returns
    -------
    AnnotatedTable
        Energy, density, intensity, coverage and, of runs that have them, the section columns, (experiments,
        structures) float64, of both hemispheres, left and right; structures in graph order.
    """
    structures = sorted(table.structures.values(), key=lambda s: (s.graph_order, s.id))
    acronyms = Counter(s.acronym for s in structures)
    experiments = [int(d["id"]) for d in table.data_sets]
    return AnnotatedTable(
        row_names=[str(i) for i in experiments],
        rows=_experiments(table.data_sets),
        column_names=[s.acronym if acronyms[s.acronym] == 1 else f"{s.acronym}-{s.id}" for s in structures],
        columns={
            "structure_id": [s.id for s in structures],
            "acronym": [s.acronym for s in structures],
            "name": [s.name for s in structures],
            "color": [f"#{s.color}" for s in structures],
            "parent_structure_id": [s.parent_id or 0 for s in structures],
            "graph_order": [s.graph_order for s in structures],
        },
        layers={
            measure + side: _layer(table, column, hemisphere, experiments, [s.id for s in structures])
            for side, hemisphere in SIDES.items()
            for measure, column in MEASURES.items()
            if column in table.columns
        },
        main="energy",
        about={"ish_pipeline": version("ish-pipeline"), "X": "expression energy, both hemispheres"},
    )


def _experiments(data_sets: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the description of each experiment, by column."""
    images = [d["section_images"] for d in data_sets]
    return {
        **{name: [str(d[name] or "") for d in data_sets] for name in TEXTS},
        "section_thickness_um": [float(d["section_thickness_um"]) for d in data_sets],
        "reference_space_id": [int(d["reference_space_id"]) for d in data_sets],
        "sections": [len(each) for each in images],
        "sections_used": [sum(i["status"] not in UNUSED for i in each) for each in images],
    }


def _layer(
    table: StructureTable, column: str, hemisphere: int, experiments: list[int], structures: list[int]
) -> Float64:
    """Return one measure of one side, (experiments, structures) float64."""
    none = 0.0 if column in ("coverage", "n_sections") else np.nan
    layer = np.full((len(experiments), len(structures)), none)
    here = np.asarray(table.columns["hemisphere_id"]) == hemisphere
    row = {number: at for at, number in enumerate(experiments)}
    place = {number: at for at, number in enumerate(structures)}
    rows = [row[n] for n, used in zip(table.columns["section_data_set_id"], here, strict=True) if used]
    places = [place[n] for n, used in zip(table.columns["structure_id"], here, strict=True) if used]
    layer[rows, places] = np.asarray(table.columns[column], np.float64)[here]
    return layer


def _own_table(run: RunFolder) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """Return the data set and the structure table of a run; MissingResultError where there is no table."""
    receipt = run.read_receipt("unionize")
    if receipt is None or not receipt.ok:
        raise MissingResultError(f"{run.path}: its last run made no structure table; see `ish status`")
    path = run.require("structure_unionize.parquet")
    return run.read_document("section_data_set.json"), read_table(path)


def _add_structures(
    structures: dict[int, Structure], run: RunFolder, ids: set[int], reference: Path | None
) -> None:
    """Add the structures of a run; DataError where its ontology lacks them or contradicts another run's."""
    ontology = _ontology(run, reference)
    lacking = sorted(ids - ontology.by_id.keys())
    if lacking:
        raise DataError(
            f"{run.path}: structure {lacking[0]} is not in the ontology at hand; give --reference, the folder"
            " that the run used"
        )
    for number in ids:
        structure = ontology.by_id[number]
        if structures.setdefault(number, structure) != structure:
            raise DataError(
                f"{run.path}: structure {number} is {structure.acronym} here, but"
                f" {structures[number].acronym} in another run: export runs of one reference together"
            )


def _ontology(run: RunFolder, reference: Path | None) -> Ontology:
    """Read the ontology that names the structures of a run; DataError where it is unknown or unreadable."""
    directory = reference or run_reference(run.path)
    if directory is None:
        return open_reference(None, GRID_LABELS_UM).ontology
    try:
        if is_brainglobe(directory) or is_brainglobe_3(directory):
            return read_structures(directory)
        return read_ontology(directory / ONTOLOGY)
    except (PipelineError, OSError, ValueError) as error:
        raise DataError(
            f"{run.path}: its structures have no names: {error}; --reference says where they are now"
        ) from None
