"""Terms of the error of every row of a structure table, from the grid and the section cells of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.model import (
    BOTH,
    Alignment3d,
    Bool,
    ExpressionSums,
    Float64,
    Grid,
    Int64,
    UInt8,
    UInt32,
    ratio,
)
from pipeline.core.ontology import Ontology
from pipeline.quantification.label_volume import LabelVolume
from pipeline.quantification.section_sums import PlacedCells, slabs_um
from pipeline.quantification.table_rows import TableRows, both_sides
from pipeline.quantification.uncertainty.detector_share import sensitivities
from pipeline.quantification.uncertainty.displacements import Displacements
from pipeline.quantification.uncertainty.redrawn import redraw_grid, redraw_sections
from pipeline.quantification.uncertainty.terms import (
    Terms,
    backdrop_of,
    chance_term,
    detector_terms,
    least_of,
    placement_terms,
    section_gain,
    section_terms,
)
from pipeline.quantification.unionize import LabelIndex

MEASURES = ("expression_energy", "expression_density", "section_energy", "section_density")
BLUR_UM = 400.0  # width that the smoothing of the grid adds to a structure
PIXELS, MARKED, BRIGHT = range(3)


@dataclass(frozen=True, eq=False)
class MeasuredSeries:
    """What the terms of a series are made of.

    Attributes
    ----------
    sections : tuple of PlacedCells
        The sections of the grid, ascending along z.
    alignment3d : Alignment3d
        Volume to reference space.
    spacing_um : float, um
        Spacing of the manifest's sections.
    z_smoothing_um : float, um
        Smoothing of the grid along the cutting axis.
    sums : ExpressionSums of (P, I, R)
        The grid; 0 where there is no data.
    covered : (P, I, R) bool
        Where it has data.
    labels : (P, I, R) uint32
        Its labels.
    grid : Grid
        Its lattice.
    hemisphere : (R,) uint8
        Hemisphere of its planes.
    volume : LabelVolume
        Labels that sections are looked up in.
    ontology : Ontology
        The structures.
    sensitivity : sequence of mapping
        What detection found for each section, see `detector_share`.
    """

    sections: tuple[PlacedCells, ...]
    alignment3d: Alignment3d
    spacing_um: float
    z_smoothing_um: float
    sums: ExpressionSums
    covered: Bool
    labels: UInt32
    grid: Grid
    hemisphere: UInt8
    volume: LabelVolume
    ontology: Ontology
    sensitivity: Sequence[Mapping[str, Sequence[float]]]


@dataclass(frozen=True, eq=False)
class SeriesTerms:
    """Terms of every measure, and what all measures share.

    Attributes
    ----------
    measures : dict of str to Terms
        By name of the column.
    voxels : (rows,) float64
        Size of each structure, in voxels of 200 um of the section labels.
    fluid : (rows,) bool
        Ventricles.
    gain : float
        Spread of the gain of sections, as the series shows it.
    pixel_um : float, um
        Median size of the stored pixels.
    detector_known : bool
        Whether the detector's own sensitivity was measured.
    """

    measures: dict[str, Terms]
    voxels: Float64
    fluid: Bool
    gain: float
    pixel_um: float
    detector_known: bool


def series_terms(
    series: MeasuredSeries, structure_id: Int64, hemisphere_id: Int64, values: Mapping[str, Float64]
) -> SeriesTerms:
    """Compute the terms for the rows of a structure table.

    Parameters
    ----------
    series : MeasuredSeries
        The series.
    structure_id, hemisphere_id : (rows,) int64
        Rows of the table; 1 left, 2 right, 3 both.
    values : mapping of str to (rows,) float64
        Columns of the table, among them `MEASURES` and the four sums.

    Returns
    -------
    SeriesTerms
        Terms of every measure.
    """
    errors = [s.alignment.measures.get("estimated_error_um") for s in series.sections]
    moves = Displacements.of([s.z_um for s in series.sections], errors)
    slabs = slabs_um([s.z_um for s in series.sections], series.spacing_um)
    placed, moved, by_density = redraw_sections(
        series.sections, slabs, series.volume, series.alignment3d, moves
    )
    rows = _Rows(series.volume.index, structure_id, hemisphere_id)
    by_section = rows.of(np.moveaxis(placed, 0, 1))  # (rows, sections, 3)
    shares = rows.of(by_density)
    shares = np.nan_to_num(ratio(shares, shares.sum(axis=1, keepdims=True)))
    voxels = _voxels(rows, series.volume)
    known = sensitivities(series.sensitivity)
    gain = section_gain(*_apart(by_section, structure_id, hemisphere_id, series.ontology))
    root = series.ontology.roots[0].id
    brain = np.flatnonzero((structure_id == root) & (hemisphere_id == BOTH))
    backdrop = backdrop_of(values, int(brain[0]) if len(brain) else None)
    common = _Common(by_section, shares, voxels, known, gain, series.spacing_um, backdrop)
    section_moved = rows.of(np.moveaxis(moved, 0, 1))
    grid_placed, grid_moved = _grid(series, moves, structure_id, hemisphere_id)
    measures = {}
    for name in MEASURES:
        of_grid, density = name.startswith("expression"), name.endswith("density")
        top = MARKED if density else BRIGHT
        now, then = (grid_placed, grid_moved) if of_grid else (by_section.sum(axis=1), section_moved)
        level = float(np.asarray(values[name], np.float64)[brain[0]]) if len(brain) else np.nan
        least = least_of(level, density=density)
        spread = placement_terms(
            ratio(then[..., top], then[..., PIXELS]).T, ratio(now[..., top], now[..., PIXELS]), least
        )
        measures[name] = _terms(np.asarray(values[name], np.float64), least, spread, common, top, of_grid)
    pixel = float(np.median([s.cells.factor * s.cells.resolution_um for s in series.sections]))
    fluid = np.isin(structure_id, list(series.ontology.fluid))
    return SeriesTerms(measures, voxels, fluid, gain, pixel, bool(known))


@dataclass(frozen=True, eq=False)
class _Common:
    """What the terms of all measures share."""

    by_section: Float64
    shares: Float64
    voxels: Float64
    sensitivities: dict[str, Float64]
    gain: float
    spacing_um: float
    backdrop: Float64


def _terms(
    value: Float64, least: float, spread: tuple[Float64, Float64], common: _Common, top: int, of_grid: bool
) -> Terms:
    """Return the terms of one measure."""
    level = np.nan_to_num(ratio(np.maximum(np.nan_to_num(value), 0), np.nan_to_num(value) + least))
    pixels, bright = common.by_section[..., PIXELS], common.by_section[..., top]
    sampling, succession, shares = section_terms(pixels, bright, least)
    seen = common.by_section[..., MARKED].sum(axis=1) / np.median(np.maximum(common.spacing_um, 1.0))
    side = 200.0 * np.cbrt(np.maximum(common.voxels, 0.125))
    if of_grid:
        seen = seen * ((side + BLUR_UM) / side) ** 3
    signed = detector_terms(common.shares, common.sensitivities, level)
    parts = [
        spread[0], sampling, succession, common.gain * shares, chance_term(seen, level),
        np.abs(signed[:, 0]), np.abs(signed[:, 1]), 200.0 / side,
    ]  # fmt: skip
    return Terms(value, least, np.stack(parts, axis=1), spread[1], signed, common.backdrop)


class _Rows:
    """Sums by code, taken to the rows of a table."""

    def __init__(self, index: LabelIndex, structure_id: Int64, hemisphere_id: Int64) -> None:
        self.index, self.rows = index, TableRows(index, structure_id, hemisphere_id)

    def of(self, sums: Float64) -> Float64:
        """Return sums (codes, ...) of the rows, (rows, ...); 0 for structures that are not there."""
        by_label = sums.reshape(len(self.index.label_ids), 2, *sums.shape[1:])
        totals = self.index.propagate(np.ascontiguousarray(by_label))
        return np.asarray(self.rows.take(both_sides(totals), 0.0))


def _voxels(rows: _Rows, volume: LabelVolume) -> Float64:
    """Return the size of structures in voxels of 200 um."""
    return rows.of(volume.volumes_um3.reshape(-1)) / 200.0**3


def _grid(
    series: MeasuredSeries, moves: Displacements, structure_id: Int64, hemisphere_id: Int64
) -> tuple[Float64, Float64]:
    """Return the sums of the grid's rows, as placed (rows, 3) and moved (rows, draws, 3)."""
    index = LabelIndex.of(series.labels, series.ontology)
    codes = np.searchsorted(index.label_ids, series.labels).astype(np.int64) * 2 + (series.hemisphere - 1)
    codes[~series.covered | (series.labels == 0)] = -1
    count = 2 * len(index.label_ids)
    moved = redraw_grid(
        series.sums, codes, count, series.grid, series.alignment3d, moves, series.z_smoothing_um
    )
    inside = codes >= 0
    arrays = list(series.sums.arrays().values())[:3]
    placed = [np.bincount(codes[inside], np.asarray(a, np.float64)[inside], count) for a in arrays]
    rows = _Rows(index, structure_id, hemisphere_id)
    return rows.of(np.stack(placed, axis=1)), rows.of(np.moveaxis(moved, 0, 1))


def _apart(
    by_section: Float64, structure_id: Int64, hemisphere_id: Int64, ontology: Ontology
) -> tuple[Float64, Float64]:
    """Return pixels and expression by section of structures that hold no other, both hemispheres."""
    parents = {s.parent_id for s in ontology.structures}
    leaf = np.array([s not in parents for s in structure_id.tolist()], np.bool_)
    chosen = leaf & (hemisphere_id == BOTH)
    return by_section[chosen][..., PIXELS], by_section[chosen][..., BRIGHT]
