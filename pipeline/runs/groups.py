"""Comparison of groups of animals: from a design file to tables and a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.core.did_you_mean import hint
from pipeline.core.errors import ConfigError, DataError, PipelineError
from pipeline.core.ontology import Ontology
from pipeline.core.reference_space import ReferenceSpace
from pipeline.formats.tables.tables import read_cells
from pipeline.groups import comparison as statistics
from pipeline.groups import structures as sets
from pipeline.groups.centring import LEAST_COMMON, offsets
from pipeline.groups.model import Model, build_model
from pipeline.inputs.alignments import run_reference
from pipeline.inputs.references import GRID_LABELS_UM, open_reference
from pipeline.report.group_comparison import GroupComparison
from pipeline.runs.group_design import Design, read_design
from pipeline.runs.group_tables import (
    HEMISPHERES,
    Measured,
    Table,
    choose_measure,
    covered_side,
    measured,
    mixed,
    read_tables,
)
from pipeline.system.files import shown
from pipeline.system.lazy import LazyModule

if TYPE_CHECKING:
    from pipeline.report import groups as pages
else:
    pages = LazyModule("pipeline.report.groups")

EARLIER = "groups-earlier.csv"
SUMMARY, LEAVES = "summary", "leaves"
MOST_NAMED = 5  # structures or animals that a note lists
GRID_MM3 = (0.2) ** 3  # volume of a voxel of the grid

Note = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What a comparison of groups is asked for.

    Attributes
    ----------
    group : str
        Column of the design that holds the groups.
    covariates : tuple of str
        Columns of covariates, each alone or as NAME:number or NAME:category.
    pair : str or None
        "first,second": the groups to compare, and their order; needed where there are more than two.
    structures : str
        "summary", "leaves", or a CSV file with structure_id.
    measure : str or None
        Column of the structure tables; None: section_energy, else expression_energy.
    hemisphere : str or None
        "both", "left", "right", or "sides": left and right as rows of their own; None: the side of the
        series where some have one hemisphere only, else "both".
    centre : bool
        Put all animals on one scale first.
    allow_mixed : bool
        Compare runs of different references, detectors or genes all the same.
    reference : Path or None
        Reference folder that names structures; None: that of the runs.
    """

    group: str
    covariates: tuple[str, ...] = ()
    pair: str | None = None
    structures: str = SUMMARY
    measure: str | None = None
    hemisphere: str | None = None
    centre: bool = True
    allow_mixed: bool = False
    reference: Path | None = None


def compare_groups(path: Path, options: Options, note: Note = lambda line: None) -> GroupComparison:
    """Compare two groups of animals.

    Parameters
    ----------
    path : Path
        Design: a CSV file with the columns run, animal, the group's and those of the covariates.
    options : Options
        What to compare.
    note : callable
        Called with notes on choices and on what is left out, one line each.

    Returns
    -------
    GroupComparison
        Everything that the tables and the page show.

    Raises
    ------
    ConfigError
        Where the design does not tell groups and covariates apart, runs are mixed, or a measure is lacking.
    DataError
        Where a run or its table is missing or damaged, or no structure can be tested.
    """
    notes: list[str] = []

    def say(line: str) -> None:
        notes.append(line)
        note(line)

    design = read_design(path, options.group, options.covariates)
    model = _model(design, options, say)
    tables, measure = _tables(design, options, say)
    space = _reference(tables, options, say)
    ontology = space.ontology if space else None
    root = ontology.roots[0].id if ontology else None
    found = measured(tables, measure, HEMISPHERES[_hemisphere(tables, options, say)], root)
    _tell_errors(found, tables, measure, say)
    tested, left_out = _chosen(found, space, options, say)
    series = _series(found, tables, design, tested, space)
    result = _compared(series, model, tables, options.centre)
    result = replace(result, left_out=(*result.left_out, *left_out))
    _tell_coverage(result, found, tables, ontology, say)
    return GroupComparison(
        design=str(path),
        group=options.group,
        covariates=model.columns[len(model.groups) :],
        groups=model.groups,
        animals=design.animals,
        member=model.member,
        series=tuple((t.row.animal, t.row.said) for t in tables),
        measure=measure,
        structures=options.structures,
        centred=options.centre,
        keys=tuple(found.keys[row] for row in result.rows),
        all_keys=found.keys,
        result=result,
        ontology=ontology,
        reference=space.name if space else "",
        notes=tuple(notes),
    )


def _tables(design: Design, options: Options, say: Note) -> tuple[list[Table], str]:
    """Return the tables of a design, and the measure to compare."""
    if options.hemisphere not in (None, *HEMISPHERES):
        raise ConfigError(f"--hemisphere {options.hemisphere}: {hint(options.hemisphere, HEMISPHERES)}")
    tables = read_tables(design)
    measure, told = choose_measure(tables, options.measure)
    _check_mixed(tables, measure, options.allow_mixed, say)
    if told:
        say(told)
    return tables, measure


def _hemisphere(tables: Sequence[Table], options: Options, say: Note) -> str:
    if options.hemisphere is not None:
        return options.hemisphere
    side = covered_side(tables)
    if side != "both":
        say(f"series of one hemisphere: {side} sides are compared; --hemisphere chooses otherwise")
    return side


def write_comparison(folder: Path, found: GroupComparison) -> list[Path]:
    """Write the tables and the page of a comparison of groups.

    Parameters
    ----------
    folder : Path
        Folder for the files; made where it does not exist.
    found : GroupComparison
        The comparison.

    Returns
    -------
    list of Path
        The files: `groups.csv`, `animals.csv`, `left_out.csv`, `report.html`.
    """
    return pages.write_group_comparison(folder, found)


def set_aside(folder: Path) -> Path | None:
    """Rename the table of an earlier comparison, so that nobody takes it for one that was refused.

    Parameters
    ----------
    folder : Path
        Folder of comparisons.

    Returns
    -------
    Path or None
        Where it lies now, `groups-earlier.csv`; None where there was none.
    """
    table = folder / pages.GROUPS
    return table.replace(folder / EARLIER) if table.exists() else None


def _model(design: Design, options: Options, say: Note) -> Model:
    """Return the linear model over the animals of the design."""
    labels = [design.group_of(animal) for animal in design.animals]
    covariates = {}
    for name in design.covariates:
        values = design.covariate(name)
        if len(set(np.asarray(values).tolist())) < 2:
            say(f"covariate {name}: all animals have {shown(values[0])}; it is left out")
            continue
        kind = "numbers" if isinstance(values, np.ndarray) else "categories"
        say(f"covariate {name}: taken as {kind}; {name}:number or {name}:category says otherwise")
        covariates[name] = values
    return build_model(labels, _pair(design, options), covariates, options.group)


def _pair(design: Design, options: Options) -> tuple[str, str]:
    """Return the groups to compare, the subtracted one first."""
    groups = design.groups
    if options.pair is not None:
        named = [part.strip() for part in options.pair.split(",")]
        unknown = next((n for n in named if n not in groups), None)
        if unknown is not None:
            raise ConfigError(f"--groups {options.pair}: no group {shown(unknown)}; {hint(unknown, groups)}")
        if len(named) != 2 or named[0] == named[1]:
            raise ConfigError(f"--groups {options.pair}: expected two groups as FIRST,SECOND")
        return named[0], named[1]
    if len(groups) != 2:
        raise ConfigError(
            f"{design.path}: expected two groups in column {options.group}, got {len(groups)}:"
            f" {', '.join(groups[:MOST_NAMED])}{' …' if len(groups) > MOST_NAMED else ''}; name two with"
            " --groups FIRST,SECOND (the effect is second minus first)"
        )
    return groups[0], groups[1]


def _check_mixed(tables: Sequence[Table], measure: str, allowed: bool, say: Note) -> None:
    found = mixed(tables, measure)
    if found and not allowed:
        raise ConfigError(f"{found[0]}; their numbers may not be compared; --allow-mixed does all the same")
    for line in found:
        say(f"{line}; compared all the same (--allow-mixed)")
    bare = [t for t in tables if not t.provenance]
    if bare:
        say(
            f"{len(bare)} of {len(tables)} tables ({_listed([t.name for t in bare])}) have no provenance.json"
            " beside them: that they have one reference, detector and gene could not be checked"
        )


def _reference(tables: Sequence[Table], options: Options, say: Note) -> ReferenceSpace | None:
    """Return the reference that names structures; None where no run states a readable one."""
    if options.reference is not None:
        return open_reference(options.reference, GRID_LABELS_UM)
    reason = "no run states its reference"
    for table in tables:
        if table.provenance:
            try:
                return open_reference(run_reference(table.row.table.parent), GRID_LABELS_UM)
            except PipelineError as error:
                reason = f"the reference of {table.name} cannot be read ({error})"
    say(f"{reason}: structures have no names, and some may lie inside others; give --reference")
    return None


def _tell_errors(found: Measured, tables: Sequence[Table], measure: str, say: Note) -> None:
    if found.weighted == 0:
        say(f"no table has {measure}_lower and {measure}_upper: all animals weigh alike")
    elif found.weighted < len(tables):
        lacking = [t.name for t in tables if f"{measure}_lower" not in t.columns]
        say(
            f"{_listed(lacking)}: no {measure}_lower and {measure}_upper; taken to err as others typically do"
        )
    _tell_copies(found, tables, say)


def _tell_copies(found: Measured, tables: Sequence[Table], say: Note) -> None:
    """Warn of series that hold the same numbers: a copied run would count twice."""
    seen: dict[bytes, Table] = {}
    for n, table in enumerate(tables):
        earlier = seen.setdefault(found.energies[:, n].tobytes(), table)
        if earlier is not table:
            say(f"{earlier.name} and {table.name} hold the same numbers; is one a copy of the other?")


def _chosen(
    found: Measured, space: ReferenceSpace | None, options: Options, say: Note
) -> tuple[np.ndarray, list[tuple[int, int, int, str]]]:
    """Return which rows are tested, and those that were asked for but are not."""
    present = dict.fromkeys(s for s, _ in found.keys)
    outer: set[int] = set()
    if options.structures in (SUMMARY, LEAVES):
        ids = _default_set(found, space, options.structures)
    else:
        listed = _listed_ids(Path(options.structures), space.ontology if space else None)
        pairs = sets.nested(space.ontology, listed) if space else []
        outer = {o for _, o in pairs}
        if pairs:
            say(
                f"{options.structures}: {len(outer)} structures hold others of the list"
                f" ({_listed([_name(space.ontology, o) for o in sorted(outer)])}) and are left out"
                if space
                else ""
            )
        lacking = [i for i in listed if i not in present]
        if lacking:
            names = [_name(space.ontology if space else None, i) for i in lacking]
            say(f"{options.structures}: no run has data of {_listed(names)}")
        ids = tuple(i for i in listed if i in present)
        if not ids:
            raise DataError(f"{options.structures}: no structure of the list has data in any run")
    wanted = np.array([s in set(ids) - outer for s, _ in found.keys])
    left = [
        (n, 0, 0, "holds another structure of the list") for n, (s, _) in enumerate(found.keys) if s in outer
    ]
    return wanted, left


def _default_set(found: Measured, space: ReferenceSpace | None, which: str) -> tuple[int, ...]:
    """Return the summary structures or leaves with data; all structures where no ontology is known."""
    present = dict.fromkeys(s for s, _ in found.keys)
    if space is None:
        return tuple(present)
    if which == LEAVES:
        return sets.leaves(space.ontology, present)
    return tuple(i for i in sets.summary(space.ontology, _volumes(space)) if i in present)


def _volumes(space: ReferenceSpace) -> dict[int, float]:
    """Return the volume of every structure with all inside it, mm3."""
    labels, counts = np.unique(space.grid_labels(served=False), return_counts=True)
    volumes: dict[int, float] = {}
    for label, count in zip(labels.tolist(), counts.tolist(), strict=True):
        if label in space.ontology.by_id:
            for above in space.ontology.path(label):
                volumes[above] = volumes.get(above, 0.0) + count * GRID_MM3
    return volumes


def _listed_ids(path: Path, ontology: Ontology | None) -> list[int]:
    """Return the structures of a user's list, each once."""
    if not path.exists():
        raise ConfigError(f"--structures {path}: expected summary, leaves, or a CSV file with structure_id")
    header, lines = read_cells(path)
    if "structure_id" not in header:
        raise DataError(f"{path}: expected a column structure_id, got {shown(','.join(header))}")
    at, found = header.index("structure_id"), []
    for line, cells in lines:
        cell = cells[at]
        if cell.isdecimal():
            found.append(int(cell))
        elif ontology is not None:
            found.append(ontology.find(cell).id)
        else:
            raise DataError(
                f"{path}: line {line}: expected a whole number as structure_id, got {shown(cell)}"
            )
    return list(dict.fromkeys(found))


def _series(
    found: Measured, tables: Sequence[Table], design: Design, tested: np.ndarray, space: ReferenceSpace | None
) -> statistics.Series:
    """Return the arrays of the comparison; the larger of the tested and the summary set is the scale."""
    usual = set(_default_set(found, space, SUMMARY))
    scaling = np.array([s in usual for s, _ in found.keys])
    if tested.sum() >= scaling.sum():
        scaling = tested
    animal = np.array([design.animals.index(t.row.animal) for t in tables], np.int64)
    return statistics.Series(found.values, found.errors, animal, tested, scaling)


def _compared(
    series: statistics.Series, model: Model, tables: Sequence[Table], centre: bool
) -> statistics.Compared:
    if centre:
        try:
            offsets(series.values[series.scaling])
        except DataError as error:
            raise DataError(
                f"{tables[error.args[1]].name}: too few covered structures to be put on one scale with the"
                " other animals; leave it out, or give --no-centring"
            ) from None
    return statistics.compare_groups(series, model, centre=centre)


def _tell_coverage(
    result: statistics.Compared,
    found: Measured,
    tables: Sequence[Table],
    ontology: Ontology | None,
    say: Note,
) -> None:
    """Name structures that too few animals cover, and animals that cover few structures."""
    thin = [_name(ontology, found.keys[row][0]) for row, _, _, why in result.left_out if "animals" in why]
    if thin:
        say(f"not tested, too few animals cover them: {_listed(thin)}")
    share = np.isfinite(found.values[result.rows]).mean(axis=0)
    few = [f"{t.name} {s:.0%}" for t, s in zip(tables, share, strict=True) if s < 0.5]
    if few:
        say(f"covers less than half of the tested structures: {_listed(few)}")
    if len(result.rows) < LEAST_COMMON:
        say(f"fewer than {LEAST_COMMON} structures are tested; their scatter is the summary structures'")


def _name(ontology: Ontology | None, structure_id: int) -> str:
    known = ontology is not None and structure_id in ontology.by_id
    return ontology.label(structure_id) if known and ontology is not None else str(structure_id)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more
